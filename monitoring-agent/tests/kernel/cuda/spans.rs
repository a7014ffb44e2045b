//! Windows and calls as spans: what goes up the ring, against what this process did.

use std::{collections::BTreeMap, sync::PoisonError, thread, time::Duration};

use monitoring_agent::{config::Config, ring::decode};
use monitoring_common::trace::{
    KINDS, Record, TraceCounts,
    cuda::{
        CudaDetail, KEPT,
        flags::{BYTES, DEPTH, DEVICE_WIDE, DIRECTION, INCOMPLETE, SHAPE, SHARED, STREAM},
    },
    flags::{FAILED, FOR_FAILURE},
    kind::{CUDA_CALL, CUDA_COPY, CUDA_LAUNCH, CUDA_MEMORY, CUDA_WINDOW},
};

use super::{
    library::{
        DEVICE, allocate, copy_3d, free, launch, launch_shaped, record, wait_for_device,
        wait_for_event, wait_for_stream,
    },
    watched_with,
};
use crate::{
    poll::poll_until,
    trace::ring::{Spans, traced},
};

type Span = Record<CudaDetail>;

/// What has been told since the last time.
fn told(spans: &mut Spans) -> Vec<Span> {
    let records = spans.take();
    let spans = records.iter().map(|record| decode(record));
    spans.map(|span| span.expect("a record of CUDA")).collect()
}

/// Each wait becomes a span, and nothing is left out.
fn all(config: &mut Config) {
    traced(config, |config| {
        config.sources.trace.cuda_wait = Some(Duration::ZERO);
        config.sources.trace.joined_minimum = Duration::ZERO;
    });
    config.sources.cuda.overhead_budget = 100.0;
}

/// Waits become spans that last longer than any call here does by itself.
fn only_long_waits(config: &mut Config) {
    all(config);
    config.sources.trace.cuda_wait = Some(Duration::from_millis(200));
    config.sources.trace.joined_minimum = Duration::from_millis(200);
}

fn of_kind(spans: &[Span], kind: usize) -> Vec<Span> {
    let all = spans.iter().copied();
    all.filter(|span| usize::from(span.header.kind) == kind)
        .collect()
}

fn now_ns() -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the result lives across the call.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    let [seconds, nanoseconds] =
        [time.tv_sec, time.tv_nsec].map(|part| u64::try_from(part).unwrap());
    seconds * 1_000_000_000 + nanoseconds
}

/// A thread that waits for a stream until the device is let go.
fn wait_long(stream: usize) {
    let busy = DEVICE.lock().unwrap_or_else(PoisonError::into_inner);
    thread::scope(|scope| {
        let waiting = scope.spawn(|| wait_for_stream(stream));
        let begun = now_ns();
        poll_until("it is late enough", || {
            (now_ns() - begun > 300_000_000).then_some(())
        });
        drop(busy);
        waiting.join().unwrap();
    });
}

#[test]
fn a_window_has_the_launches_that_were_waited_for() {
    let (node, _driver, _alone) = watched_with(only_long_waits);
    let mut reader = Spans::of(&node);
    let stream = 0x1234_5670;
    let begun_ns = now_ns();
    for number in 1..=5_u32 {
        let shape = [[number, 2, 3], [4, 5, number]];
        launch_shaped(
            0x1000 * number as usize,
            shape,
            64 * number as usize,
            stream,
        );
    }
    let kept = allocate(4_096);
    let waits_ns = now_ns();
    wait_long(stream);
    let ended_ns = now_ns();
    free(kept);
    let spans = told(&mut reader);
    let windows = of_kind(&spans, CUDA_WINDOW);
    let [window] = windows.as_slice() else {
        panic!("{spans:?}");
    };
    let header = window.header;
    assert!(begun_ns < header.start_ns && header.end_ns < ended_ns);
    assert_eq!(header.window_start_ns, header.start_ns);
    assert_eq!(header.pid, std::process::id());
    assert_eq!(header.flags, 0);
    let detail = window.detail;
    assert_eq!((detail.launches, detail.left_out), (5, 0));
    assert_eq!((detail.stream, detail.flags), (stream as u64, STREAM));
    assert!(waits_ns < detail.waited_from_ns);
    let waits = of_kind(&spans, CUDA_CALL);
    let [wait] = waits.as_slice() else {
        panic!("{spans:?}");
    };
    assert_eq!(wait.header.start_ns, detail.waited_from_ns);
    assert_eq!(wait.header.window_start_ns, header.start_ns);
    assert!(wait.header.end_ns - wait.header.start_ns > 290_000_000);
    let launches = of_kind(&spans, CUDA_LAUNCH);
    assert_eq!(launches.len(), 5);
    let mut last = header.start_ns;
    for (number, launch) in (1_u32..).zip(&launches) {
        let (header, detail) = (launch.header, launch.detail);
        assert_eq!(header.window_start_ns, window.header.start_ns);
        assert!(last <= header.start_ns && header.start_ns <= header.end_ns);
        last = header.end_ns;
        assert_eq!(detail.object, 0x1000 * u64::from(number));
        assert_eq!(
            (detail.grid, detail.block),
            ([number, 2, 3], [4, 5, number])
        );
        assert_eq!(detail.shared_bytes, 64 * number);
        assert_eq!(detail.flags, STREAM | SHAPE | DEPTH | SHARED);
        assert_eq!(detail.stream, stream as u64);
        assert_ne!(header.comm, [0; 16]);
    }
    assert!(last < waits_ns);
    let memory = of_kind(&spans, CUDA_MEMORY);
    let [memory] = memory.as_slice() else {
        panic!("what was freed was freed behind the window: {spans:?}");
    };
    assert_eq!(memory.detail.object, kept as u64);
    assert_eq!((memory.detail.bytes, memory.detail.flags), (4_096, BYTES));
    assert_eq!(spans.len(), 1 + 1 + 5 + 1);
}

#[test]
fn a_device_is_waited_for_as_a_whole_and_counted_to_the_bound() {
    let (node, _driver, _alone) = watched_with(all);
    let mut reader = Spans::of(&node);
    // What was begun before belongs to nobody here.
    wait_for_device();
    told(&mut reader);
    let many = KEPT + 10;
    for number in 0..many {
        launch(1 + number, 0x10 + 0x10 * (number % 2));
    }
    wait_for_device();
    let spans = told(&mut reader);
    let windows = of_kind(&spans, CUDA_WINDOW);
    let [window] = windows.as_slice() else {
        panic!("{windows:?}");
    };
    let detail = window.detail;
    assert_eq!(detail.flags, DEVICE_WIDE);
    assert_eq!((detail.launches as usize, detail.left_out), (many, 10));
    let launches = of_kind(&spans, CUDA_LAUNCH);
    let mut objects: Vec<_> = launches.iter().map(|launch| launch.detail.object).collect();
    objects.sort_unstable();
    objects.dedup();
    assert_eq!((launches.len(), objects.len()), (KEPT, KEPT));
    let starts = launches.iter().map(|launch| launch.header.window_start_ns);
    assert!(
        starts
            .into_iter()
            .all(|start| start == window.header.start_ns)
    );
    // Beyond the bound of one stream.
    for number in 0..many {
        launch(1 + number, 0x10);
    }
    wait_for_stream(0x10);
    let spans = told(&mut reader);
    assert_eq!(of_kind(&spans, CUDA_LAUNCH).len(), KEPT);
    let window = of_kind(&spans, CUDA_WINDOW)[0];
    let detail = window.detail;
    assert_eq!((detail.launches as usize, detail.left_out), (many, 10));
    // And the next one is whole again.
    launch(1, 0x10);
    wait_for_stream(0x10);
    let spans = told(&mut reader);
    let window = of_kind(&spans, CUDA_WINDOW)[0];
    assert_eq!((window.detail.launches, window.detail.left_out), (1, 0));
    assert_eq!(of_kind(&spans, CUDA_LAUNCH).len(), 1);
}

#[test]
fn what_was_launched_behind_an_event_is_of_the_next_window() {
    let (node, _driver, _alone) = watched_with(all);
    let mut reader = Spans::of(&node);
    wait_for_device();
    told(&mut reader);
    let stream = 0x70;
    for number in 1..=6 {
        launch(number, stream);
        record(0x1000 + number, stream);
        if number > 1 {
            wait_for_event(0x1000 + number - 1);
        }
    }
    wait_for_stream(stream);
    let spans = told(&mut reader);
    let windows = of_kind(&spans, CUDA_WINDOW);
    assert_eq!(windows.len(), 6);
    for (number, window) in (1..).zip(windows) {
        assert_eq!(window.detail.flags, STREAM, "window {number}");
        assert_eq!(window.detail.launches, 1, "window {number}");
        let launches: Vec<_> = of_kind(&spans, CUDA_LAUNCH)
            .into_iter()
            .filter(|launch| launch.header.window_start_ns == window.header.start_ns)
            .map(|launch| launch.detail.object)
            .collect();
        assert_eq!(launches, [number]);
    }
}

#[test]
fn failures_are_told_of_though_nothing_is_in_the_sample() {
    let (node, _driver, _alone) = watched_with(|config| {
        all(config);
        config.trace_sample_rate = 0.0;
    });
    let mut reader = Spans::of(&node);
    wait_for_device();
    launch_shaped(0, [[7, 1, 1], [32, 2, 3]], 0, 0x70);
    launch(1, 0x70);
    wait_for_stream(0x70);
    let spans = told(&mut reader);
    let [span] = spans.as_slice() else {
        panic!("{spans:?}");
    };
    let (header, detail) = (span.header, span.detail);
    assert_eq!(usize::from(header.kind), CUDA_LAUNCH);
    assert_eq!((header.flags, header.code), (FAILED | FOR_FAILURE, 1));
    assert_eq!((detail.object, detail.stream), (0, 0x70));
    assert_eq!((detail.grid, detail.block), ([7, 1, 1], [32, 2, 3]));
    assert_eq!(detail.flags, STREAM | SHAPE | DEPTH);
}

#[test]
fn copies_and_memory_have_their_bytes() {
    let (node, _driver, _alone) = watched_with(all);
    let mut reader = Spans::of(&node);
    wait_for_device();
    told(&mut reader);
    // Words of `cudaMemcpy3DParms`: the extent from the 16th on, then the direction.
    let mut words = [0_usize; 20];
    words[16..20].copy_from_slice(&[10, 20, 30, 1]);
    launch(1, 0x10);
    copy_3d(words.as_ptr() as usize);
    let pointer = allocate(8_192);
    free(pointer);
    wait_for_stream(0x10);
    let spans = told(&mut reader);
    let [copy] = of_kind(&spans, CUDA_COPY)[..] else {
        panic!("{spans:?}");
    };
    assert_eq!((copy.detail.bytes, copy.detail.direction), (6_000, 1));
    assert_eq!(copy.detail.flags, BYTES | DIRECTION);
    let [allocated, freed] = of_kind(&spans, CUDA_MEMORY)[..] else {
        panic!("{spans:?}");
    };
    for memory in [allocated, freed] {
        assert_eq!(memory.detail.object, pointer as u64);
        assert_eq!((memory.detail.bytes, memory.detail.flags), (8_192, BYTES));
    }
    let window = of_kind(&spans, CUDA_WINDOW)[0].header.start_ns;
    assert!(
        spans
            .iter()
            .all(|span| span.header.window_start_ns == window)
    );
}

/// All counts of spans of CUDA.
fn by_kind(counts: &TraceCounts) -> (u64, u64) {
    let kinds = [CUDA_WINDOW, CUDA_LAUNCH, CUDA_COPY, CUDA_MEMORY, CUDA_CALL];
    let all = [counts.generated, counts.sampled_out];
    let others = (0..KINDS).filter(|kind| !kinds.contains(kind));
    assert!(
        others
            .clone()
            .all(|kind| all.iter().all(|counts| counts[kind] == 0))
    );
    let [generated, sampled_out] = all.map(|counts| kinds.iter().map(|kind| counts[*kind]).sum());
    (generated, sampled_out)
}

const THREADS: usize = 3;
const WINDOWS: usize = 400;
const LAUNCHES: usize = 5;

/// What is told while threads launch on streams of their own and wait for them.
fn told_of_work(reader: &mut Spans) -> Vec<Span> {
    let mut spans = told(reader);
    let work = |thread: usize| {
        for number in 0..WINDOWS {
            let stream = 0x1000 * (1 + thread) + 0x10 * (number % 2);
            for launched in 0..LAUNCHES {
                launch(1 + launched, stream);
            }
            wait_for_stream(stream);
        }
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..THREADS)
            .map(|thread| scope.spawn(move || work(thread)))
            .collect();
        poll_until("all is done", || {
            spans.extend(told(reader));
            let mut workers = workers.iter();
            let is_done = workers.all(thread::ScopedJoinHandle::is_finished);
            is_done.then_some(())
        });
    });
    spans.extend(told(reader));
    spans
}

/// Asserts that windows have all of their launches.
fn assert_whole(spans: &[Span]) {
    let mut launches: BTreeMap<(u64, u32), usize> = BTreeMap::new();
    for span in of_kind(spans, CUDA_LAUNCH) {
        let window = (span.header.window_start_ns, span.header.tid);
        *launches.entry(window).or_default() += 1;
    }
    for window in of_kind(spans, CUDA_WINDOW) {
        let key = (window.header.start_ns, window.header.tid);
        assert_eq!(launches.get(&key), Some(&LAUNCHES));
        assert_eq!(window.detail.flags & INCOMPLETE, 0);
    }
}

#[test]
fn candidates_are_counted_once_and_windows_are_whole() {
    const NO_CAP: u32 = 100_000;
    for (rate, cap) in [(0.01, NO_CAP), (0.5, NO_CAP), (1.0, NO_CAP), (1.0, 1_000)] {
        let (node, _driver, _alone) = watched_with(|config| {
            all(config);
            config.trace_sample_rate = rate;
            config.sources.trace.spans_per_second = cap;
        });
        let mut reader = Spans::of(&node);
        wait_for_device();
        let spans = told_of_work(&mut reader);
        let counts = reader.counts();
        let (generated, sampled_out) = by_kind(&counts);
        let lost = counts.capped + counts.ring_full;
        let told = spans.len() as u64;
        assert_eq!(generated, told + sampled_out + lost, "{rate}: {counts:?}");
        let windows = counts.generated[CUDA_WINDOW];
        assert_eq!(windows, (THREADS * WINDOWS) as u64, "{rate}");
        let chosen = windows - counts.sampled_out[CUDA_WINDOW];
        let expected = rate * windows as f64;
        let deviation = 6.0 * (windows as f64 * rate * (1.0 - rate)).sqrt();
        let off = (chosen as f64 - expected).abs();
        assert!(off <= deviation, "{chosen} at {rate}");
        assert_eq!(counts.capped > 0, cap < NO_CAP, "{counts:?}");
        if lost == 0 {
            // Each with its wait and its launches. What was held up by itself is of no window.
            let of_windows = spans.iter().filter(|span| span.header.window_start_ns != 0);
            let of_windows = of_windows.count() as u64;
            assert_eq!(
                of_windows,
                chosen * (2 + LAUNCHES as u64),
                "{rate}: {counts:?}"
            );
            assert_whole(&spans);
        }
    }
}
