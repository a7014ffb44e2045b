//! Family `block`: requests to a disk of the test's own are counted, exactly.

mod backing;
mod disk;

use std::{
    io,
    os::{fd::AsRawFd as _, unix::process::ExitStatusExt as _},
    process::ExitStatus,
};

use monitoring_agent::{config::AgentRule, source::Batch};

use self::{
    backing::{Behaviour, WELL},
    disk::{Data, Disk},
};
use crate::{
    node::{ME, Node, counter, losses, me, sample},
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
    let after = disk.stats();
    let batch = node.collect(SOURCE);
    assert_eq!(losses(&batch), []);
    let name = disk.name();
    assert_eq!(bytes(&batch, &name, "write", ME), 100 * (4096 + 64 * 1024));
    assert_eq!(bytes(&batch, &name, "read", ME), 50 * 8192);
    assert_eq!(bytes(&batch, &name, "write", "other"), 0);
    assert_eq!(requests(&batch, &name, "write"), 200);
    assert_eq!(requests(&batch, &name, "read"), 50);
    assert_eq!(errors(&batch, &name, "read"), 0);
    println!("{before:?} {after:?}");
}
