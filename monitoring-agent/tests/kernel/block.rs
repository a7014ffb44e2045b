//! Family `block`: requests to a disk of the test's own are counted, exactly.

pub(crate) mod backing;
pub(crate) mod disk;
mod killed;
mod limits;
mod merged;

use std::{
    ffi::CStr,
    time::{Duration, Instant},
};

use monitoring_agent::{config::AgentRule, source::Batch};

use self::{
    backing::{Behaviour, WELL},
    disk::{Data, Disk, Stats},
};
use crate::{
    node::{ME, Node, counter, losses, me, sample},
    poll::poll_until,
    work,
};

const SOURCE: &str = "block";

/// Bytes of one agent.
fn bytes(batch: &Batch, disk: &str, operation: &str, agent: &str) -> u64 {
    let labels = [("agent", agent), ("device", disk), ("operation", operation)];
    counter(batch, "block_io_bytes_total", &labels)
}

fn errors(batch: &Batch, disk: &str, operation: &str) -> u64 {
    let labels = [("device", disk), ("operation", operation)];
    counter(batch, "block_io_errors_total", &labels)
}

/// Count and sum in seconds of a histogram.
fn durations(batch: &Batch, name: &str, disk: &str, operation: &str) -> (u64, f64) {
    let labels = [("device", disk), ("operation", operation)];
    sample(batch, name, &labels).map_or((0, 0.0), |metric| {
        let histogram = metric.get_histogram();
        (histogram.get_sample_count(), histogram.get_sample_sum())
    })
}

/// Requests that have a duration, which are as many as have a time in the queue.
fn requests(batch: &Batch, disk: &str, operation: &str) -> u64 {
    let (count, _) = durations(batch, "block_io_duration_seconds", disk, operation);
    let (queued, _) = durations(batch, "block_io_queue_seconds", disk, operation);
    assert_eq!(count, queued, "{operation}");
    count
}

/// Entries of the map of requests on their way.
fn in_flight(batch: &Batch) -> u64 {
    let map = batch.maps.iter().find(|map| map.name == "IN_FLIGHT");
    map.unwrap().entries.unwrap()
}

/// Waits until no request is on its way; other disks may have some for a moment.
fn nothing_is_left(node: &mut Node) {
    poll_until("no request is on its way", || {
        (in_flight(&node.collect(SOURCE)) == 0).then_some(())
    });
}

#[test]
fn reads_and_writes_are_counted_by_size() {
    let disk = Disk::new();
    let mut data = Data::new();
    let mut node = Node::start(&["process", SOURCE]);
    let before = disk.stats();
    for _ in 0..100 {
        disk.write(&data, 4096).unwrap();
        disk.write(&data, 64 * 1024).unwrap();
    }
    for number in 0..50 {
        disk.read(&mut data, 8192, number * 8192).unwrap();
    }
    let moved = disk.stats().since(&before);
    let batch = node.collect(SOURCE);
    assert_eq!(losses(&batch), []);
    assert!(batch.programs.iter().all(|program| program.attached));
    let name = disk.name();
    assert_eq!(bytes(&batch, &name, "write", ME), 100 * (4096 + 64 * 1024));
    assert_eq!(bytes(&batch, &name, "read", ME), 50 * 8192);
    assert_eq!(requests(&batch, &name, "write"), 200);
    assert_eq!(requests(&batch, &name, "read"), 50);
    assert_eq!(errors(&batch, &name, "read"), 0);
    // The kernel's own numbers say the same.
    let expected = Stats {
        reads: 50,
        read_bytes: 50 * 8192,
        writes: 200,
        written_bytes: 100 * (4096 + 64 * 1024),
        ..Stats::default()
    };
    assert_eq!(moved, expected);
}

#[test]
fn discards_and_flushes_are_operations_of_their_own() {
    let disk = Disk::new();
    let data = Data::new();
    let mut node = Node::start(&["process", SOURCE]);
    let before = disk.stats();
    for _ in 0..10 {
        disk.discard(1024 * 1024);
        disk.write(&data, 4096).unwrap();
        disk.file().sync_all().unwrap();
    }
    let moved = disk.stats().since(&before);
    let batch = node.collect(SOURCE);
    assert_eq!(losses(&batch), []);
    let name = disk.name();
    assert_eq!(bytes(&batch, &name, "discard", ME), 10 * 1024 * 1024);
    assert_eq!(requests(&batch, &name, "discard"), moved.discards);
    assert_eq!(moved.discarded_bytes, 10 * 1024 * 1024);
    assert_eq!(requests(&batch, &name, "flush"), 10);
    assert_eq!(moved.flushes, 10);
    // A flush is asked for by an empty write, which never gets to the device.
    assert_eq!(requests(&batch, &name, "write"), 10);
    assert_eq!(bytes(&batch, &name, "write", ME), 10 * 4096);
    for agent in [ME, "other"] {
        assert_eq!(bytes(&batch, &name, "flush", agent), 0);
    }
    nothing_is_left(&mut node);
}

#[test]
fn a_write_that_forces_its_data_out_is_counted_once() {
    let disk = Disk::new();
    let data = Data::new();
    let mut node = Node::start(&["process", SOURCE]);
    let before = disk.stats();
    for _ in 0..10 {
        // The device cannot do that at once: the kernel makes of it a write and a flush.
        disk.write_through(&data, 4096);
    }
    let moved = disk.stats().since(&before);
    let batch = node.collect(SOURCE);
    assert_eq!(losses(&batch), []);
    let name = disk.name();
    assert_eq!(bytes(&batch, &name, "write", ME), 10 * 4096);
    assert_eq!(requests(&batch, &name, "write"), 10);
    assert_eq!(requests(&batch, &name, "flush"), moved.flushes);
    assert!(moved.flushes >= 10, "{moved:?}");
    nothing_is_left(&mut node);
}

#[test]
fn time_at_the_device_is_part_of_a_duration() {
    let disk = Disk::new();
    let mut node = Node::start(&["process", SOURCE]);
    let name = disk.name();
    let (begun, waited) = std::thread::scope(|scope| {
        let held_up = disk.backing.hold();
        let begun = Instant::now();
        scope.spawn(|| disk.read(&mut Data::new(), 4096, 0).unwrap());
        disk.backing.wait_until_held();
        let held = Instant::now();
        assert!(in_flight(&node.collect(SOURCE)) > 0);
        poll_until("50 ms have passed", || {
            (held.elapsed() >= Duration::from_millis(50)).then_some(())
        });
        drop(held_up);
        (begun, held.elapsed())
    });
    let all = begun.elapsed().as_secs_f64();
    let batch = node.collect(SOURCE);
    assert_eq!(losses(&batch), []);
    let (count, seconds) = durations(&batch, "block_io_duration_seconds", &name, "read");
    let (_, queue_seconds) = durations(&batch, "block_io_queue_seconds", &name, "read");
    assert_eq!(count, 1);
    assert!(
        (waited.as_secs_f64()..all).contains(&seconds),
        "{seconds} s of {all} s, {waited:?} of them held up"
    );
    assert!(
        queue_seconds < all - waited.as_secs_f64(),
        "{queue_seconds}"
    );
    nothing_is_left(&mut node);
}

#[test]
fn a_request_that_fails_is_an_error_and_has_no_bytes() {
    let disk = Disk::new();
    let mut data = Data::new();
    let mut node = Node::start(&["process", SOURCE]);
    disk.backing.behave(Behaviour {
        fails_from: 1024 * 1024,
        ..WELL
    });
    for _ in 0..5 {
        assert!(disk.read(&mut data, 4096, 2 * 1024 * 1024).is_err());
        disk.read(&mut data, 4096, 0).unwrap();
    }
    disk.backing.behave(Behaviour {
        fails_from: 0,
        ..WELL
    });
    for _ in 0..7 {
        assert!(disk.write(&data, 4096).is_err());
    }
    let batch = node.collect(SOURCE);
    assert_eq!(losses(&batch), []);
    let name = disk.name();
    assert_eq!(errors(&batch, &name, "read"), 5);
    assert_eq!(errors(&batch, &name, "write"), 7);
    assert_eq!(bytes(&batch, &name, "read", ME), 5 * 4096);
    assert_eq!(bytes(&batch, &name, "write", ME), 0);
    // A failure takes its time, too.
    assert_eq!(requests(&batch, &name, "read"), 10);
    assert_eq!(requests(&batch, &name, "write"), 7);
    nothing_is_left(&mut node);
}

#[test]
fn a_request_completed_by_parts_is_one_request() {
    let disk = Disk::new();
    let mut data = Data::new();
    disk.complete_by_parts();
    let mut node = Node::start(&["process", SOURCE]);
    let before = disk.stats();
    disk.backing.behave(Behaviour {
        read_bytes: 12 * 1024,
        ..WELL
    });
    let read = disk.read(&mut data, 64 * 1024, 0).unwrap();
    assert_eq!(read, 64 * 1024);
    let issues_of_parts = node.collect(SOURCE);
    disk.backing.behave(Behaviour {
        fails_from: 32 * 1024,
        read_bytes: 32 * 1024,
    });
    // The first half is read, then the rest fails.
    assert!(disk.read(&mut data, 64 * 1024, 0).unwrap_or(0) < 64 * 1024);
    let moved = disk.stats().since(&before);
    let batch = node.collect(SOURCE);
    assert_eq!(losses(&batch), []);
    let name = disk.name();
    assert_eq!(requests(&issues_of_parts, &name, "read"), 1);
    assert_eq!(bytes(&issues_of_parts, &name, "read", ME), 64 * 1024);
    assert_eq!(errors(&issues_of_parts, &name, "read"), 0);
    assert_eq!(requests(&batch, &name, "read"), 2);
    assert_eq!(bytes(&batch, &name, "read", ME), (64 + 32) * 1024);
    assert_eq!(errors(&batch, &name, "read"), 1);
    // The kernel's own numbers have the bytes that failed, too.
    assert_eq!((moved.reads, moved.read_bytes), (2, 2 * 64 * 1024));
    nothing_is_left(&mut node);
}

#[test]
fn a_request_from_before_the_start_has_bytes_and_no_duration() {
    let disk = Disk::new();
    let name = disk.name();
    let mut node = std::thread::scope(|scope| {
        let held_up = disk.backing.hold();
        scope.spawn(|| disk.read(&mut Data::new(), 8192, 0).unwrap());
        disk.backing.wait_until_held();
        let node = Node::start(&["process", SOURCE]);
        drop(held_up);
        node
    });
    let batch = node.collect(SOURCE);
    assert_eq!(losses(&batch), []);
    assert_eq!(bytes(&batch, &name, "read", "other"), 8192);
    assert_eq!(bytes(&batch, &name, "read", ME), 0);
    assert_eq!(requests(&batch, &name, "read"), 0);
    disk.read(&mut Data::new(), 4096, 0).unwrap();
    let batch = node.collect(SOURCE);
    assert_eq!(bytes(&batch, &name, "read", ME), 4096);
    assert_eq!(requests(&batch, &name, "read"), 1);
    nothing_is_left(&mut node);
}

#[test]
fn bytes_belong_to_the_agent_that_submitted_them() {
    const CHILD: &CStr = c"block-child";
    let disk = Disk::new();
    let data = Data::new();
    let mut node = Node::with(&["process", SOURCE], |config| {
        let name = CHILD.to_str().unwrap();
        let rule = AgentRule {
            name: name.to_owned(),
            comm: vec![glob::Pattern::new(name).unwrap()],
            ..AgentRule::default()
        };
        config.agents = vec![rule, me()];
    });
    let child = work::Child::start(|ready| {
        // SAFETY: the name lives across the call.
        unsafe { libc::prctl(libc::PR_SET_NAME, CHILD.as_ptr()) };
        ready();
        for _ in 0..60 {
            let _ = disk.write(&data, 4096);
        }
    });
    node.labels.scan().unwrap();
    assert_eq!(
        node.labels.agent_of(child.pid()).as_deref(),
        CHILD.to_str().ok()
    );
    child.go();
    for _ in 0..40 {
        disk.write(&data, 16 * 1024).unwrap();
    }
    assert_eq!(child.wait(), 0);
    let batch = node.collect(SOURCE);
    assert_eq!(losses(&batch), []);
    let name = disk.name();
    assert_eq!(bytes(&batch, &name, "write", ME), 40 * 16 * 1024);
    assert_eq!(bytes(&batch, &name, "write", "block-child"), 60 * 4096);
    assert_eq!(requests(&batch, &name, "write"), 100);
}

#[test]
fn a_device_that_is_gone_keeps_its_name() {
    let mut disk = Disk::new();
    let mut node = Node::start(&["process", SOURCE]);
    disk.write(&Data::new(), 4096).unwrap();
    let name = disk.name();
    disk.remove();
    let batch = node.collect(SOURCE);
    assert_eq!(losses(&batch), []);
    assert_eq!(bytes(&batch, &name, "write", ME), 4096);
    assert_eq!(requests(&batch, &name, "write"), 1);
    nothing_is_left(&mut node);
}
