//! Memory by kind, and descriptors.

use std::fs;

use monitoring_agent::source::Batch;

use super::{
    SOURCE, gauge, watch,
    worker::{AGENT, Worker},
};
use crate::{
    node::{Node, losses, sample},
    poll::poll_until,
};

const KINDS: [&str; 6] = ["rss", "anon", "file", "shmem", "heap", "stack"];

/// The agent's memory by kind, in the order of [`KINDS`].
fn exported(batch: &Batch) -> [f64; 6] {
    KINDS.map(|kind| {
        let labels = [("agent", AGENT), ("kind", kind)];
        let sample = sample(batch, "agent_memory_bytes", &labels);
        let sample = sample.unwrap_or_else(|| panic!("no {kind}"));
        sample.get_gauge().get_value()
    })
}

/// The same of one process as the kernel tells it.
fn told(pid: u32) -> [f64; 6] {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let smaps = fs::read_to_string(format!("/proc/{pid}/smaps")).unwrap();
    let bytes = |line: &str| {
        let number = line.trim().strip_suffix(" kB").unwrap();
        number.parse::<f64>().unwrap() * 1024.0
    };
    let of_status = |key: &str| {
        let mut lines = status.lines();
        bytes(lines.find_map(|line| line.strip_prefix(key)).unwrap())
    };
    let of_mapping = |name: &str| -> f64 {
        let (mut inside, mut sum) = (false, 0.0);
        for line in smaps.lines() {
            let first = line.split(' ').next().unwrap_or_default();
            if first.contains('-') {
                inside = line.ends_with(name);
            } else if let (true, Some(resident)) = (inside, line.strip_prefix("Rss:")) {
                sum += bytes(resident);
            }
        }
        sum
    };
    [
        of_status("VmRSS:"),
        of_status("RssAnon:"),
        of_status("RssFile:"),
        of_status("RssShmem:"),
        of_mapping(" [heap]"),
        of_mapping(" [stack]"),
    ]
}

/// Collects until all kinds are what the kernel says: the worker rests.
fn agreed(node: &mut Node, worker: &Worker) -> [f64; 6] {
    poll_until("the kernel and the source agree", || {
        let ours = exported(&node.collect(SOURCE));
        let theirs = told(worker.pid());
        let equal = ours
            .iter()
            .zip(theirs)
            .all(|(one, other)| (one - other).abs() < 0.5);
        equal.then_some(ours)
    })
}

#[test]
fn memory_by_kind_is_what_the_kernel_says() {
    const MIB: f64 = 1_048_576.0;
    let mut node = Node::with(&[SOURCE], watch);
    let batch = node.collect(SOURCE);
    assert!(
        exported(&batch).iter().all(|bytes| *bytes < 0.5),
        "no worker yet"
    );
    let mut worker = Worker::start(&node);
    let mut before = agreed(&mut node, &worker);
    // What grows, by the places of the kinds. Pages of a file count as shared memory where the
    // root file system is in memory.
    let cases: [(&str, f64, &[usize]); 4] = [
        ("anon 40", 40.0, &[1]),
        ("shmem 30", 30.0, &[3]),
        ("file 10", 10.0, &[2, 3]),
        ("heap 20", 20.0, &[4]),
    ];
    for (order, mebibytes, grows) in cases {
        worker.order(order);
        let after = agreed(&mut node, &worker);
        let growth: f64 = grows.iter().map(|kind| after[*kind] - before[*kind]).sum();
        // The worker's own doings are less than a MiB. Before 6.2 the kernel's counters lag behind
        // by up to 64 page faults of a thread, each of which maps up to 64 KiB of a file.
        assert!(
            (growth / MIB - mebibytes).abs() < 5.0,
            "{order}: {growth} bytes"
        );
        assert!(
            after[0] - before[0] > (mebibytes - 5.0) * MIB,
            "{order}: rss"
        );
        before = after;
    }
    assert!(before[5] > 0.0, "there is a stack");
    worker.end();
    let batch = node.collect(SOURCE);
    assert!(
        exported(&batch).iter().all(|bytes| *bytes < 0.5),
        "it ended"
    );
    assert_eq!(losses(&batch), []);
}

#[test]
fn memory_of_several_processes_adds_up() {
    let mut node = Node::with(&[SOURCE], watch);
    let mut one = Worker::start(&node);
    let mut two = Worker::start(&node);
    one.order("anon 8");
    two.order("heap 8");
    poll_until("the sums", || {
        let ours = exported(&node.collect(SOURCE));
        let theirs = told(one.pid()).into_iter().zip(told(two.pid()));
        let sums = theirs.map(|(one, two)| one + two);
        let equal = ours
            .iter()
            .zip(sums)
            .all(|(one, other)| (one - other).abs() < 0.5);
        equal.then_some(())
    });
}

#[test]
fn descriptors() {
    let mut node = Node::with(&[SOURCE], watch);
    assert!(gauge(&node.collect(SOURCE), "agent_open_fds", AGENT) < 0.5);
    let mut worker = Worker::start(&node);
    for _ in 0..2 {
        worker.order("files 300");
        let listed = fs::read_dir(format!("/proc/{}/fd", worker.pid())).unwrap();
        let listed = listed.count() as f64;
        assert!(listed > 300.0);
        // A collection that runs out of its time leaves a process for the next one.
        poll_until("the number of descriptors", || {
            let ours = gauge(&node.collect(SOURCE), "agent_open_fds", AGENT);
            ((ours - listed).abs() < 0.5).then_some(())
        });
    }
    assert_eq!(losses(&node.collect(SOURCE)), []);
}
