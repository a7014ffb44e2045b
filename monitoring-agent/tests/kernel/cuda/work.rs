//! Devices, bytes and waits: what single calls are counted as.

use std::{
    sync::{atomic::Ordering::Relaxed, mpsc},
    thread,
    time::Instant,
};

use super::{
    BYTES, SOURCE, held,
    library::{
        DEVICE, FREEING, allocate, allocate_at, choose, copy_3d, copy_batch, create,
        create_context, driver_copy_2d, driver_copy_3d, free, free_late, launch, pop, record,
        release, retain, set_2d, set_halves, wait_for_device, wait_for_event, wait_for_stream,
    },
    watched,
};
use crate::{
    node::{ME, Node, counter, losses, sample},
    poll::poll_until,
};

#[test]
fn memory_is_on_the_device_of_the_context() {
    let (mut node, _driver, _alone) = watched();
    let worker = thread::spawn(|| {
        let mut pointers = vec![allocate(BYTES)];
        choose(retain(3));
        pointers.push(allocate(2 * BYTES));
        // On top of the third device's.
        create_context(1);
        pointers.push(allocate(3 * BYTES));
        pop(0);
        pointers.push(allocate(4 * BYTES));
        // Nobody has seen where this context comes from.
        choose(77);
        pointers.push(allocate(5 * BYTES));
        pointers
    });
    let pointers = worker.join().unwrap();
    let batch = node.collect(SOURCE);
    let bytes = BYTES as u64;
    let on = ["0", "3", "1"].map(|device| held(&batch, device));
    assert_eq!(on, [Some(bytes), Some(11 * bytes), Some(3 * bytes)]);
    pointers.into_iter().for_each(free);
    let batch = node.collect(SOURCE);
    let on = ["0", "3", "1"].map(|device| held(&batch, device));
    assert_eq!(on, [Some(0); 3]);
    assert!(losses(&batch).is_empty(), "{:?}", losses(&batch));
}

#[test]
fn a_handle_may_be_the_same_number_as_a_pointer() {
    let (mut node, _driver, _alone) = watched();
    let handle = create(BYTES);
    // Pointers count up in pages.
    let pointers: Vec<_> = (0..2).map(|_| allocate(BYTES)).collect();
    free(handle);
    release(handle);
    // Somebody has retained it, perhaps.
    release(handle);
    let batch = node.collect(SOURCE);
    let me = [("agent", ME)];
    let among = u64::from(pointers.contains(&handle));
    let freed = counter(&batch, "cuda_free_bytes_total", &me);
    assert_eq!(freed, (1 + among) * BYTES as u64);
    if among == 0 {
        assert_eq!(counter(&batch, "cuda_unknown_frees_total", &me), 1);
    }
    assert_eq!(counter(&batch, "cuda_double_frees_total", &me), 0);
}

#[test]
fn an_address_may_be_given_again_before_the_free_of_it_returns() {
    let (mut node, _driver, _alone) = watched();
    let place = 0x5000;
    allocate_at(place, 100);
    free_late(place, true);
    assert_eq!(held(&node.collect(SOURCE), "0"), Some(100));
    let busy = DEVICE.lock().unwrap();
    let other = thread::spawn(move || free_late(place, false));
    poll_until("the free is under way", || {
        (FREEING.load(Relaxed) > 0).then_some(())
    });
    allocate_at(place, 300);
    drop(busy);
    other.join().unwrap();
    let batch = node.collect(SOURCE);
    assert_eq!(held(&batch, "0"), Some(300));
    // What is given once more was freed by what nobody follows.
    allocate_at(place, 500);
    assert_eq!(held(&node.collect(SOURCE), "0"), Some(500));
    free_late(place, false);
    free_late(place, false);
    let batch = node.collect(SOURCE);
    let me = |metric| counter(&batch, metric, &[("agent", ME)]);
    assert_eq!(me("cuda_free_bytes_total"), 600);
    assert_eq!(me("cuda_double_frees_total"), 1);
    assert_eq!(me("cuda_unknown_frees_total"), 0);
    assert_eq!(held(&batch, "0"), Some(0));
    assert!(losses(&batch).is_empty(), "{:?}", losses(&batch));
}

#[test]
fn copies_by_structures_have_their_bytes() {
    let (mut node, _driver, _alone) = watched();
    // Words of `cudaMemcpy3DParms`: the extent from the 16th on, then the direction.
    let mut runtime = [0_usize; 20];
    runtime[16..20].copy_from_slice(&[10, 20, 30, 1]);
    copy_3d(runtime.as_ptr() as usize);
    // Of arrays nobody knows how large an element is.
    runtime[8] = 1;
    copy_3d(runtime.as_ptr() as usize);
    // Words of `CUDA_MEMCPY2D`: from the device (third) to the host (tenth), the extent behind.
    let mut two = [0_usize; 16];
    (two[2], two[9]) = (2, 1);
    two[14..16].copy_from_slice(&[7, 11]);
    driver_copy_2d(two.as_ptr() as usize);
    // Words of `CUDA_MEMCPY3D`: from the device (fifth) to an array (16th).
    let mut three = [0_usize; 25];
    (three[4], three[15]) = (2, 3);
    three[22..25].copy_from_slice(&[2, 3, 5]);
    driver_copy_3d(three.as_ptr() as usize, 0);
    let sizes = [100_usize, 200, 300];
    copy_batch(0, 0, sizes.as_ptr() as usize, sizes.len());
    set_2d(0, 512, 0, 100, 10);
    set_halves(0, 0, 100);
    let batch = node.collect(SOURCE);
    let copied = |direction| {
        let labels = [("agent", ME), ("direction", direction)];
        counter(&batch, "cuda_memcpy_bytes_total", &labels)
    };
    let all = ["h2d", "d2h", "d2d", "unknown"].map(copied);
    assert_eq!(all, [6_000, 77, 30, 600]);
    let set = counter(&batch, "cuda_memset_bytes_total", &[("agent", ME)]);
    assert_eq!(set, 1_200);
    assert_eq!(losses(&batch), [("unsized_copy", 1)]);
}

/// Windows that have ended.
fn windows(node: &mut Node) -> u64 {
    let batch = node.collect(SOURCE);
    assert!(losses(&batch).is_empty(), "{:?}", losses(&batch));
    let windows = sample(&batch, "gpu_kernel_execution_seconds", &[("agent", ME)]);
    windows.map_or(0, |metric| metric.get_histogram().get_sample_count())
}

#[test]
fn windows_end_with_what_waited_for_their_launches() {
    let (mut node, _driver, _alone) = watched();
    let (one, two, event) = (0x10, 0x20, 0x30);
    let mut expect = |count, what: &str| assert_eq!(windows(&mut node), count, "{what}");
    wait_for_stream(one);
    wait_for_device();
    expect(0, "nothing was launched");
    launch(1, one);
    launch(1, one);
    launch(1, two);
    wait_for_stream(one);
    wait_for_stream(one);
    expect(1, "one stream");
    wait_for_device();
    expect(2, "the other one, by the device");
    wait_for_stream(two);
    expect(2, "which was waited for already");
    launch(1, one);
    record(event, one);
    launch(1, one);
    wait_for_event(event);
    expect(3, "what was before the event");
    wait_for_stream(one);
    expect(4, "what was behind it");
    wait_for_device();
    wait_for_event(event);
    expect(4, "all was waited for");
}

#[test]
fn a_wait_for_one_device_is_none_for_another() {
    let (mut node, _driver, _alone) = watched();
    let (first, second) = (retain(0), retain(1));
    // The default stream, of which each device has one.
    choose(first);
    launch(1, 0);
    choose(second);
    launch(1, 0);
    wait_for_device();
    assert_eq!(windows(&mut node), 1);
    choose(first);
    wait_for_stream(0);
    assert_eq!(windows(&mut node), 2);
    wait_for_device();
    assert_eq!(windows(&mut node), 2);
    // Leaves this thread as it was.
    choose(retain(0));
}

/// How long this process has waited, in seconds.
fn waited(node: &mut Node) -> f64 {
    let batch = node.collect(SOURCE);
    let waited = sample(&batch, "cuda_sync_wait_seconds_total", &[("agent", ME)]);
    waited.map_or(0.0, |metric| metric.get_counter().get_value())
}

#[test]
fn a_wait_counts_while_it_lasts() {
    let (mut node, _driver, _alone) = watched();
    let busy = DEVICE.lock().unwrap();
    let (done, ended) = mpsc::channel();
    let waiter = thread::spawn(move || {
        wait_for_stream(1);
        done.send(()).unwrap();
    });
    let first = poll_until("the wait is seen", || {
        Some(waited(&mut node)).filter(|waited| *waited > 0.0)
    });
    let second = poll_until("the wait goes on", || {
        Some(waited(&mut node)).filter(|waited| *waited > first + 0.05)
    });
    assert!(ended.try_recv().is_err());
    drop(busy);
    waiter.join().unwrap();
    let last = waited(&mut node);
    assert!(last >= second, "{last} s after {second} s");
    assert!(
        (waited(&mut node) - last).abs() < 1e-9,
        "nobody waits any more"
    );
}

#[test]
fn the_oldest_allocation_has_an_age() {
    let (mut node, _driver, _alone) = watched();
    let oldest = |node: &mut Node| {
        let batch = node.collect(SOURCE);
        let labels = [("agent", ME), ("device_id", "0")];
        let age = sample(&batch, "cuda_oldest_allocation_age_seconds", &labels);
        age.map(|metric| metric.get_gauge().get_value())
    };
    let begun = Instant::now();
    let old = allocate(BYTES);
    let between = Instant::now();
    let young = allocate(BYTES);
    let (age, least) = poll_until("the oldest is looked for", || {
        let least = between.elapsed().as_secs_f64();
        Some((oldest(&mut node)?, least))
    });
    let most = begun.elapsed().as_secs_f64();
    assert!(
        (least..=most).contains(&age),
        "{age} s, of {least} s to {most} s"
    );
    free(old);
    free(young);
    poll_until("nothing is left to have an age", || {
        oldest(&mut node).is_none().then_some(())
    });
}
