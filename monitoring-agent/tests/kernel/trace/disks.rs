//! Disk requests: who submitted them, within which system call, and what became of them. On kernels
//! that tell of every submission and as on those that do not.

use std::time::{Duration, Instant};

use monitoring_agent::config::Config;
use monitoring_common::trace::{
    DiskDetail, Record, SystemCallDetail, TraceCounts, flags,
    kind::{DISK_REQUEST, SYSTEM_CALL},
};

use super::ring::{Spans, header, only_system_calls, traced};
use crate::{
    block::{
        backing::{Behaviour, WELL},
        disk::{Data, Disk},
    },
    node::Node,
    poll::poll_until,
};

type Request = Record<DiskDetail>;

/// `REQ_OP_READ` and `REQ_OP_WRITE`, which no kernel has numbered otherwise.
const READ: u32 = 0;
const WRITE: u32 = 1;

/// The kernel as it is, and as it is before 6.5.
const KERNELS: [&[&str]; 2] = [&[], &["block_io_start"]];

fn node(hidden: &'static [&'static str], change: impl FnOnce(&mut Config)) -> (Node, Spans) {
    let node = Node::lacking(hidden, &["process", "block", "syscalls"], |config| {
        traced(config, |config| {
            only_system_calls(&[], config);
            config.sources.trace.slow_disk_request = Some(Duration::ZERO);
            change(config);
        });
    });
    let spans = Spans::of(&node);
    (node, spans)
}

/// Candidates and what was not in the sample; nothing was lost, and there is no other kind.
fn counted(spans: &Spans) -> (u64, u64) {
    let mut counts = spans.counts();
    let requests = (
        std::mem::take(&mut counts.generated[DISK_REQUEST]),
        std::mem::take(&mut counts.sampled_out[DISK_REQUEST]),
    );
    assert_eq!(counts, TraceCounts::EMPTY);
    requests
}

fn disk_name(request: &Request) -> String {
    let bytes = request.detail.disk.map(u64::to_ne_bytes).concat();
    let end = bytes.iter().position(|byte| *byte == 0).unwrap();
    String::from_utf8(bytes[..end].to_vec()).unwrap()
}

fn is_own_thread(request: &Request) -> bool {
    let header = &request.header;
    // SAFETY: the call has no preconditions.
    let tid = unsafe { libc::gettid() }.cast_unsigned();
    (header.pid, header.tid, header.agent) == (std::process::id(), tid, 1)
}

#[test]
fn requests_are_told_with_the_system_call_that_they_are_of() {
    for hidden in KERNELS {
        let disk = Disk::new();
        let mut data = Data::new();
        let (_node, mut spans) = node(hidden, |config| only_system_calls(&["pread64"], config));
        for number in 0..20 {
            disk.read(&mut data, 8_192, number * 8_192).unwrap();
        }
        let records = spans.take();
        let of_kind = |kind: usize| {
            let of_kind = move |record: &&Vec<u8>| usize::from(header(record).kind) == kind;
            records.iter().filter(of_kind)
        };
        let decode = monitoring_agent::ring::decode::<Record<SystemCallDetail>>;
        let calls: Vec<_> = of_kind(SYSTEM_CALL)
            .map(|call| decode(call).unwrap())
            .collect();
        let decode = monitoring_agent::ring::decode::<Request>;
        let requests: Vec<_> = of_kind(DISK_REQUEST)
            .map(|one| decode(one).unwrap())
            .collect();
        assert_eq!((calls.len(), requests.len()), (20, 20), "{hidden:?}");
        for ((call, request), number) in calls.iter().zip(&requests).zip(0..) {
            assert!(is_own_thread(request));
            assert_eq!(request.header.call_start_ns, call.header.start_ns);
            assert_eq!(
                request.header.process_start_ns,
                call.header.process_start_ns
            );
            assert_eq!(request.header.comm, call.header.comm);
            assert!(call.header.start_ns <= request.header.start_ns);
            assert!(request.header.start_ns <= request.detail.issued_ns);
            assert!(request.detail.issued_ns < request.header.end_ns);
            assert!(request.header.end_ns < call.header.end_ns);
            assert_eq!((request.header.flags, request.header.code), (0, 0));
            assert_eq!(request.detail.sector, number * 16);
            assert_eq!(
                (request.detail.bytes, request.detail.operation),
                (8_192, READ)
            );
            assert_eq!(disk_name(request), disk.name());
        }
        let counts = spans.counts();
        assert_eq!(counts.generated[DISK_REQUEST], 20);
        assert_eq!(counts.generated[SYSTEM_CALL], 20);
        assert_eq!(counts.capped + counts.ring_full, 0);
    }
}

#[test]
fn time_before_the_device_is_part_of_it() {
    for hidden in KERNELS {
        let disk = Disk::new();
        let mut data = Data::new();
        let (_node, mut spans) = node(hidden, |config| {
            config.sources.trace.slow_disk_request = Some(Duration::from_millis(500));
        });
        disk.read(&mut data, 4_096, 0).unwrap();
        let waited = std::thread::scope(|scope| {
            let held_up = disk.backing.hold();
            scope.spawn(|| disk.read(&mut Data::new(), 4_096, 4_096).unwrap());
            disk.backing.wait_until_held();
            let held = Instant::now();
            poll_until("600 ms have passed", || {
                (held.elapsed() >= Duration::from_millis(600)).then_some(())
            });
            drop(held_up);
            held.elapsed()
        });
        assert_eq!(counted(&spans), (1, 0), "{hidden:?}");
        let requests: Vec<Request> = spans.of_kind(DISK_REQUEST);
        assert_eq!(requests.len(), 1);
        let header = &requests[0].header;
        assert!(u128::from(header.end_ns - header.start_ns) >= waited.as_nanos());
        assert_eq!(requests[0].detail.sector, 8);
        // A thread of the test's, and not this one.
        assert_eq!(header.pid, std::process::id());
        assert!(!is_own_thread(&requests[0]));
    }
}

#[test]
fn failures_are_told_whatever_is_drawn() {
    for hidden in KERNELS {
        let disk = Disk::new();
        let mut data = Data::new();
        let (_node, mut spans) = node(hidden, |config| {
            config.trace_sample_rate = 0.0;
            config.sources.trace.errors = vec![libc::EIO.unsigned_abs()];
        });
        disk.backing.behave(Behaviour {
            fails_from: 0,
            ..WELL
        });
        for _ in 0..5 {
            assert!(disk.read(&mut data, 4_096, 0).is_err());
        }
        disk.backing.behave(WELL);
        disk.read(&mut data, 4_096, 0).unwrap();
        assert_eq!(counted(&spans), (6, 1), "{hidden:?}");
        let requests: Vec<Request> = spans.of_kind(DISK_REQUEST);
        assert_eq!(requests.len(), 5);
        for request in &requests {
            let header = &request.header;
            assert_eq!(header.flags, flags::FAILED | flags::FOR_FAILURE);
            assert_ne!(header.code, 0);
            assert!(is_own_thread(request));
        }
    }
}

#[test]
fn a_request_completed_by_parts_is_one_span() {
    for hidden in KERNELS {
        let disk = Disk::new();
        let mut data = Data::new();
        disk.complete_by_parts();
        let (_node, mut spans) = node(hidden, |_| ());
        disk.backing.behave(Behaviour {
            read_bytes: 12 * 1024,
            ..WELL
        });
        let read = disk.read(&mut data, 64 * 1024, 128 * 1024).unwrap();
        assert_eq!(read, 64 * 1024);
        assert_eq!(counted(&spans), (1, 0), "{hidden:?}");
        let requests: Vec<Request> = spans.of_kind(DISK_REQUEST);
        let detail = requests[0].detail;
        assert_eq!((detail.sector, detail.bytes), (256, 64 * 1024));
    }
}

#[test]
fn a_write_that_forces_its_data_out_is_its_submitters() {
    for hidden in KERNELS {
        let disk = Disk::new();
        let data = Data::new();
        let (_node, mut spans) = node(hidden, |_| ());
        for _ in 0..10 {
            disk.write_through(&data, 4_096);
        }
        let requests: Vec<Request> = spans.of_kind(DISK_REQUEST);
        let writes = requests
            .iter()
            .filter(|request| (request.detail.operation, request.detail.bytes) == (WRITE, 4_096));
        assert_eq!(writes.clone().count(), 10, "{hidden:?}");
        assert!(writes.clone().all(is_own_thread), "{hidden:?}");
        // The flushes, which the kernel makes, are about no sector.
        let flushes = requests
            .iter()
            .filter(|request| request.detail.operation > WRITE);
        assert!(flushes.clone().all(|flush| flush.detail.sector == u64::MAX));
    }
}
