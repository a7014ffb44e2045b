//! Processes that end, or become others, while they hold something.

use std::{
    ffi::c_char,
    io::{Read as _, pipe},
    os::fd::AsRawFd as _,
    ptr,
};

use prometheus::proto::MetricFamily;

use super::{
    BYTES, SOURCE, held,
    library::{DEVICE, allocate, launch, wait_for_stream},
    watched,
};
use crate::{
    node::{ME, Node, count, losses, sample},
    poll::poll_until,
    work,
};

const LAUNCHES: u64 = 7;

/// What the child does: its functions make no system calls, and take no locks but the device's,
/// which is free.
fn work() {
    allocate(BYTES);
    for _ in 0..LAUNCHES {
        launch(work as *const () as usize, 0);
    }
}

fn launches(node: &mut Node) -> u64 {
    let batch = node.collect(SOURCE);
    assert!(losses(&batch).is_empty(), "{:?}", losses(&batch));
    let families = batch.families.iter();
    let launches = families.filter(|family| family.name() == "gpu_kernel_launches_total");
    let metrics = launches.flat_map(MetricFamily::get_metric);
    metrics.map(count).sum()
}

#[test]
fn what_a_process_held_ends_with_it() {
    let (mut node, _driver, _alone) = watched();
    for ends in 1..=3 {
        let (mut reader, writer) = pipe().unwrap();
        let (wait, go) = pipe().unwrap();
        let child = work::fork(|| {
            work();
            say(&writer);
            listen(&wait);
        });
        drop(writer);
        reader.read_exact(&mut [0]).unwrap();
        assert_eq!(held(&node.collect(SOURCE), "0"), Some(BYTES as u64));
        say(&go);
        assert_eq!(work::wait_for(child), 0);
        assert_eq!(held(&node.collect(SOURCE), "0"), None);
        // What it launched stays, though its place is given to others.
        for _ in 0..3 {
            assert_eq!(launches(&mut node), ends * LAUNCHES);
        }
    }
}

#[test]
fn what_a_process_held_ends_when_it_executes_another_program() {
    let (mut node, _driver, _alone) = watched();
    let (mut reader, writer) = pipe().unwrap();
    let arguments: [*const c_char; 3] = [c"sleep".as_ptr(), c"60".as_ptr(), ptr::null()];
    let child = work::fork(|| {
        work();
        say(&writer);
        // SAFETY: the program's name and its arguments end with zeros.
        unsafe { libc::execv(c"/bin/sleep".as_ptr(), arguments.as_ptr()) };
    });
    drop(writer);
    reader.read_exact(&mut [0]).unwrap();
    poll_until("it holds nothing", || {
        held(&node.collect(SOURCE), "0").is_none().then_some(())
    });
    assert_eq!(launches(&mut node), LAUNCHES);
    // It was not its end: it sleeps.
    // SAFETY: no memory is involved.
    assert_eq!(unsafe { libc::kill(child, 0) }, 0);
    // SAFETY: as above; the child is this test's own.
    unsafe { libc::kill(child, libc::SIGKILL) };
    work::wait_for(child);
}

#[test]
fn a_thread_that_is_killed_in_a_call_waits_no_longer() {
    let (mut node, _driver, _alone) = watched();
    let busy = DEVICE.lock().unwrap();
    let child = work::fork(|| wait_for_stream(1));
    let waited = |node: &mut Node| {
        let batch = node.collect(SOURCE);
        let waited = sample(&batch, "cuda_sync_wait_seconds_total", &[("agent", ME)]);
        waited.map_or(0.0, |metric| metric.get_counter().get_value())
    };
    poll_until("the wait is seen", || {
        (waited(&mut node) > 0.0).then_some(())
    });
    // SAFETY: no memory is involved; the child is this test's own.
    unsafe { libc::kill(child, libc::SIGKILL) };
    work::wait_for(child);
    drop(busy);
    let first = waited(&mut node);
    let second = waited(&mut node);
    assert!((first - second).abs() < 1e-9, "{first} s, then {second} s");
}

/// One byte for whoever listens.
fn say(pipe: &std::io::PipeWriter) {
    // SAFETY: reads one byte of a constant.
    unsafe { libc::write(pipe.as_raw_fd(), [0_u8].as_ptr().cast(), 1) };
}

fn listen(pipe: &std::io::PipeReader) {
    // SAFETY: writes one byte into a buffer of its own.
    unsafe { libc::read(pipe.as_raw_fd(), [0_u8].as_mut_ptr().cast(), 1) };
}
