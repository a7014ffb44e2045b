//! What the source `trace` makes of all that the kernel tells: spans under their parents, of their
//! processes, in Unix time, each counted once.

mod counted;
mod failed;
mod processes;
mod received;

use std::{
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use monitoring::Tracer;
use monitoring_agent::config::Config;
use monitoring_common::trace::TRACE_PLACES;

use self::received::{Received, Receiver};
use super::ring::{only_system_calls, traced};
use crate::{
    block::disk::{Data, Disk},
    node::{ME, Node},
    poll::poll_until,
};

/// How long a disk is held up.
const HELD: Duration = Duration::from_millis(200);

/// The thread that reads from it.
const READER: &str = "held-reader";

/// Traces the calls of these names, and all disk requests.
fn node(calls: &[&str], change: impl FnOnce(&mut Config)) -> Node {
    Node::with(&["process", "block", "syscalls", "trace"], |config| {
        traced(config, |config| {
            only_system_calls(calls, config);
            config.sources.trace.slow_disk_request = Some(Duration::ZERO);
            change(config);
        });
    })
}

/// What a thread measured of its own read.
struct Measured {
    began_unix: Duration,
    lasted: Duration,
    ended_unix: Duration,
}

/// Has a thread of its own read from a disk that is held up meanwhile, `within` something.
fn read_held(
    disk: &Disk,
    within: impl FnOnce(&dyn Fn() -> Measured) -> Measured + Send,
) -> Measured {
    let read = || {
        let mut data = Data::new();
        let began_unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let began = Instant::now();
        disk.read(&mut data, 4_096, 8_192).unwrap();
        let lasted = began.elapsed();
        let ended_unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        Measured {
            began_unix,
            lasted,
            ended_unix,
        }
    };
    thread::scope(|scope| {
        let held_up = disk.backing.hold();
        let reader = thread::Builder::new().name(READER.to_owned());
        let reader = reader.spawn_scoped(scope, move || within(&read)).unwrap();
        disk.backing.wait_until_held();
        let held = Instant::now();
        poll_until("the disk was held up", || {
            (held.elapsed() >= HELD).then_some(())
        });
        drop(held_up);
        reader.join().unwrap()
    })
}

/// The call and the request of a read that was measured.
fn check_read(call: &Received, request: &Received, measured: &Measured) {
    let lasted = call.lasted();
    let tolerance = measured.lasted.mul_f64(0.05) + Duration::from_micros(50);
    assert!(
        lasted.abs_diff(measured.lasted) <= tolerance,
        "the call lasted {lasted:?}, by the reader's own clock {:?}",
        measured.lasted
    );
    assert!(request.lasted() >= HELD && request.lasted() <= lasted);
    // The wall's clock may be slewed meanwhile, but not by that.
    let slack = Duration::from_millis(1);
    assert!(call.began() + slack >= measured.began_unix, "in Unix time");
    assert!(call.ended() <= measured.ended_unix + slack, "in Unix time");
    assert_eq!(request.span.trace_id, call.span.trace_id);
    assert_eq!(request.span.parent_span_id, call.span.span_id);
    assert!(call.began() <= request.began() && request.ended() <= call.ended());
    assert_eq!(request.text("disk.io.direction").as_deref(), Some("read"));
    assert_eq!(
        request.text("stratoswarm.disk.bytes").as_deref(),
        Some("4096")
    );
    for span in [call, request] {
        assert_eq!(span.text("thread.name").as_deref(), Some(READER));
        assert_eq!(span.of_resource("service.name").as_deref(), Some(ME));
        let pid = std::process::id().to_string();
        assert_eq!(span.of_resource("process.pid"), Some(pid));
        let file = std::env::current_exe().unwrap();
        let path = span.of_resource("process.executable.path");
        assert_eq!(path.as_deref(), file.to_str());
    }
}

#[test]
fn a_read_is_a_root_a_call_and_a_request() {
    let disk = Disk::new();
    let mut node = node(&["pread64"], |_| ());
    let mut receiver = Receiver::of(&node);
    let measured = read_held(&disk, |read| read());
    let call = receiver.wait_for("pread64", READER);
    let request = receiver.wait_for("disk read", READER);
    check_read(&call, &request, &measured);
    assert_eq!(request.text("system.device"), Some(disk.name()));
    node.stop("trace");
    let root = receiver.wait_where("the root", |span| span.scope == "stratoswarm.trace");
    assert_eq!(root.span.trace_id, call.span.trace_id);
    assert_eq!(root.span.span_id, call.span.parent_span_id);
    assert!(root.span.parent_span_id.is_empty());
    assert!(root.began() <= call.began() && call.ended() <= root.ended());
    let file = std::env::current_exe().unwrap();
    assert_eq!(file.file_name().unwrap().to_str(), Some(&*root.span.name));
}

#[test]
fn the_span_of_a_program_its_call_and_its_disk_are_one_trace() {
    let disk = Disk::new();
    let node = node(&["pread64"], |_| ());
    let places = aya::maps::Map::HashMap(node.map(TRACE_PLACES));
    let places: aya::maps::HashMap<_, u32, monitoring_common::trace::Place> =
        places.try_into().unwrap();
    poll_until("it is known where this program publishes its spans", || {
        places.get(&std::process::id(), 0).ok()
    });
    let mut receiver = Receiver::of(&node);
    let tracer = Tracer::builder("kernel-suite")
        .sample_rate(1.0)
        .build()
        .unwrap();
    let span = tracer.start_span("request");
    let context = span.context();
    let measured = read_held(&disk, |read| {
        let _current = span.enter();
        read()
    });
    let call = receiver.wait_for("pread64", READER);
    let request = receiver.wait_for("disk read", READER);
    check_read(&call, &request, &measured);
    assert_eq!(call.span.trace_id, context.trace_id().to_bytes());
    assert_eq!(call.span.parent_span_id, context.span_id().to_bytes());
}
