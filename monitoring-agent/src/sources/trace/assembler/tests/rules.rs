//! Parents, traces, processes.

use std::collections::HashSet;

use monitoring_common::trace::{Header, kind};
use opentelemetry_proto::tonic::trace::v1::Span;

use super::rig::{MINUTE, Rig, process, text_of};
use crate::sources::trace::{
    assembler::HOLD_NS,
    testing::{call, cuda, disk, header, joined, process as ended},
};

const START: u64 = 10 * MINUTE;

/// A span's trace and parent.
fn place(span: &Span) -> (Vec<u8>, Vec<u8>) {
    (span.trace_id.clone(), span.parent_span_id.clone())
}

/// The trace and the root of a process's minute.
fn root(rig: &mut Rig, pid: u32, minute: u64) -> (Vec<u8>, Vec<u8>) {
    let ids = &rig.assembler().ids;
    let trace = ids.root_trace(process(pid), minute);
    let span = ids.root_span(process(pid), minute);
    (trace.to_be_bytes().into(), span.to_be_bytes().into())
}

#[test]
fn a_disk_request_is_within_its_call_whichever_is_told_of_first() {
    for call_first in [false, true] {
        let mut rig = Rig::new();
        let call = call(header(7, "reader"), START, START + 100);
        let disk = disk(header(7, "reader"), (START + 10, START + 90), START, 5);
        let records = if call_first {
            [call, disk]
        } else {
            [disk, call]
        };
        for record in &records {
            rig.take(record, START + 200);
        }
        let sent = rig.sent();
        let span = |name| sent.iter().find(|sent| sent.span.name == name).unwrap();
        let (call, disk) = (span("read"), span("disk read"));
        assert_eq!(place(&call.span), root(&mut rig, 7, 10));
        let within_call = (call.span.trace_id.clone(), call.span.span_id.clone());
        assert_eq!(place(&disk.span), within_call);
        assert_eq!(
            (call.scope, disk.scope),
            ("stratoswarm.syscalls", "stratoswarm.block")
        );
        assert_eq!(rig.assembler().held(), 0);
    }
}

#[test]
fn requests_that_began_at_once_are_different_spans() {
    let mut rig = Rig::new();
    for sector in [1, 2] {
        rig.take(
            &disk(header(7, "reader"), (START, START + 9), 0, sector),
            START,
        );
    }
    let sent = rig.sent();
    assert_ne!(sent[0].span.span_id, sent[1].span.span_id);
}

#[test]
fn windows_that_began_at_once_are_different_traces() {
    let mut rig = Rig::new();
    // A stream is waited for, and then its device, which has more streams since the same launch.
    for (launched, ended) in [(START, START + 50), (START + 20, START + 90)] {
        let thread = header(7, "trainer");
        let window = cuda(thread, kind::CUDA_WINDOW, (START, ended), START);
        let launch = cuda(thread, kind::CUDA_LAUNCH, (launched, launched + 1), START);
        for record in [window, launch] {
            rig.take(&record, ended);
        }
    }
    let sent = rig.sent();
    let ids: HashSet<_> = sent.iter().map(|sent| &sent.span.span_id).collect();
    let traces: HashSet<_> = sent.iter().map(|sent| &sent.span.trace_id).collect();
    assert_eq!((ids.len(), traces.len()), (4, 2));
    for pair in sent.chunks(2) {
        let [window, launch] = [0, 1].map(|number| &pair[number].span);
        assert!(window.parent_span_id.is_empty());
        let within = (window.trace_id.clone(), window.span_id.clone());
        assert_eq!(place(launch), within);
    }
}

#[test]
fn a_call_that_is_not_told_of_is_waited_for_and_no_longer() {
    let mut rig = Rig::new();
    rig.take(
        &disk(header(7, "reader"), (START, START + 9), START - 1, 5),
        START,
    );
    rig.turn(START + HOLD_NS - 1);
    assert!(rig.sent().is_empty());
    rig.turn(START + HOLD_NS);
    let sent = rig.sent_one("disk read");
    assert_eq!(place(&sent.span), root(&mut rig, 7, 10));
    // Within the application's span, if there is one.
    let thread = joined(header(7, "reader"), 0xaa, 0xbb);
    rig.take(&disk(thread, (START, START + 9), START - 1, 6), START);
    rig.turn(START + HOLD_NS);
    let disk = rig.sent_one("disk read");
    assert_eq!(place(&disk.span), (vec![0xaa; 16], vec![0xbb; 8]));
}

#[test]
fn a_thread_of_the_same_times_is_another_ones() {
    let mut rig = Rig::new();
    rig.take(&call(header(8, "other"), START, START + 100), START);
    rig.take(
        &disk(header(7, "reader"), (START, START + 9), START, 5),
        START,
    );
    rig.turn(START + HOLD_NS);
    let disk = rig.sent_one("disk read");
    assert_eq!(place(&disk.span), root(&mut rig, 7, 10));
}

#[test]
fn the_application_the_call_and_the_disk_are_one_trace() {
    let mut rig = Rig::new();
    let thread = joined(header(7, "reader"), 0xaa, 0xbb);
    rig.take(&disk(thread, (START + 10, START + 90), START, 5), START);
    rig.take(&call(thread, START, START + 100), START);
    let sent = rig.sent();
    let [call, disk] = &sent[..] else {
        panic!("{} spans", sent.len());
    };
    assert_eq!(place(&call.span), (vec![0xaa; 16], vec![0xbb; 8]));
    assert_eq!(disk.span.trace_id, vec![0xaa; 16]);
    assert_eq!(disk.span.parent_span_id, call.span.span_id);
    rig.end(START + MINUTE);
    assert!(rig.sent().is_empty(), "a root that nothing hangs under");
}

#[test]
fn a_root_covers_its_minute_of_a_process_that_lives_on() {
    let mut rig = Rig::new();
    for minute in [10, 11] {
        let start = minute * MINUTE + 5;
        rig.take(&call(header(7, "reader"), start, start + 100), start);
    }
    rig.turn(11 * MINUTE + 2 * HOLD_NS - 1);
    assert_eq!(rig.sent().len(), 2);
    rig.turn(11 * MINUTE + 2 * HOLD_NS);
    let first = rig.sent_one("reader");
    let (trace, span) = root(&mut rig, 7, 10);
    assert_eq!((&first.span.trace_id, &first.span.span_id), (&trace, &span));
    assert_eq!(first.span.start_time_unix_nano, 10 * MINUTE);
    assert_eq!(first.span.end_time_unix_nano, 11 * MINUTE);
    assert!(first.span.parent_span_id.is_empty() && first.span.links.is_empty());
    rig.turn(12 * MINUTE + 2 * HOLD_NS);
    let second = rig.sent_one("reader");
    let link = &second.span.links[0];
    assert_eq!((&link.trace_id, &link.span_id), (&trace, &span));
}

#[test]
fn a_root_is_not_longer_than_its_process() {
    let mut rig = Rig::new();
    let born = Header {
        process_start_ns: START + 50,
        ..header(7, "short")
    };
    rig.take(&call(born, START + 60, START + 100), START);
    rig.take(&ended(born, START + 120), START);
    rig.turn(START + 120 + 2 * HOLD_NS);
    let root = rig.sent_one("short").span;
    assert_eq!(root.start_time_unix_nano, START + 50);
    assert_eq!(root.end_time_unix_nano, START + 120);

    // One of which nobody saw the end: at least to its last span.
    rig.take(&call(header(8, "gone"), START + 60, START + 100), START);
    let assembler = rig.assembler.as_mut().unwrap();
    assembler.turn(START + MINUTE + 2 * HOLD_NS, |_| false);
    let root = rig.sent_one("gone").span;
    assert_eq!(root.end_time_unix_nano, START + 100);
}

#[test]
fn a_root_is_told_of_once_even_if_another_reader_begins() {
    let mut rig = Rig::new();
    rig.take(&call(header(7, "reader"), START, START + 100), START);
    rig.end(START + 200);
    let sent = rig.sent();
    let roots = sent.iter().filter(|sent| sent.span.name == "reader");
    assert_eq!((sent.len(), roots.count()), (2, 1));
    rig.begin();
    rig.take(&call(header(7, "reader"), START + 300, START + 400), START);
    rig.end(START + 500);
    assert_eq!(rig.sent().len(), 1);
}

#[test]
fn spans_wait_for_a_look_at_their_process_and_not_for_ever() {
    let mut rig = Rig::new();
    rig.looks = false;
    rig.take(&call(header(7, "reader"), START, START + 100), START);
    rig.turn(START + 1);
    assert_eq!((rig.sent().len(), rig.assembler().held()), (0, 1));
    rig.assembler().processes.found(process(7), None);
    rig.turn(START + 2);
    assert_eq!(rig.sent_one("read").service, "reader");
    rig.take(&call(header(8, "stuck"), START, START + 100), START);
    rig.turn(START + HOLD_NS - 1);
    assert!(rig.sent().is_empty());
    rig.turn(START + HOLD_NS);
    assert_eq!(rig.sent_one("read").service, "stuck");
}

#[test]
fn the_next_process_of_a_number_has_its_own_root_and_name() {
    let mut rig = Rig::new();
    rig.take(&call(header(7, "first"), START, START + 100), START);
    let next = Header {
        process_start_ns: START + 150,
        ..header(7, "next")
    };
    rig.take(&call(next, START + 200, START + 300), START);
    let sent = rig.sent();
    let services: Vec<_> = sent.iter().map(|sent| sent.service.as_str()).collect();
    assert_eq!(services, ["first", "next"]);
    assert_ne!(sent[0].span.trace_id, sent[1].span.trace_id);
    rig.end(START + MINUTE);
    let mut roots: Vec<_> = rig.sent().into_iter().map(|sent| sent.span.name).collect();
    roots.sort_unstable();
    assert_eq!(roots, ["first", "next"]);
}

#[test]
fn a_failed_call_says_so_and_an_interrupted_one_does_not() {
    let mut rig = Rig::new();
    let mut check = |code, want: Option<&str>| {
        let header = Header {
            code,
            ..header(7, "reader")
        };
        rig.take(&call(header, START, START + 100), START);
        let span = rig.sent_one("read").span;
        assert_eq!(text_of(&span.attributes, "error.type").as_deref(), want);
        let status = span.status.map(|status| status.code);
        assert_eq!(status, want.map(|_| 2));
    };
    check(0, None);
    check(libc::EIO, Some("EIO"));
    check(512, None);
}

#[test]
fn spans_say_on_which_thread_what_happened() {
    let mut rig = Rig::new();
    let thread = Header {
        tid: 9,
        agent: 1,
        ..header(7, "io")
    };
    rig.take(&disk(thread, (START, START + 2_000), 0, 5), START);
    let sent = rig.sent_one("disk read");
    assert_eq!(sent.service, "planner");
    let check = |key: &str, want: &str| {
        let got = text_of(&sent.span.attributes, key);
        assert_eq!(got.as_deref(), Some(want), "{key}");
    };
    check("thread.id", "9");
    check("thread.name", "io");
    check("system.device", "vda");
    check("disk.io.direction", "read");
    check("stratoswarm.disk.bytes", "4096");
    check("stratoswarm.disk.sector", "5");
    assert_eq!(sent.span.flags, 0x101);
    let labels = [("device", "vda"), ("operation", "read")];
    let metric = "block_io_duration_seconds";
    let exemplar = rig.exemplars.get(metric, &labels, 0.0, 1.0).unwrap();
    assert_eq!(exemplar.trace_id.to_be_bytes()[..], sent.span.trace_id);
    assert_eq!(exemplar.span_id.to_be_bytes()[..], sent.span.span_id);
}

#[test]
fn a_process_of_which_there_is_but_its_life_has_its_root_soon() {
    let mut rig = Rig::new();
    let header = Header {
        process_start_ns: 10 * MINUTE,
        ..header(7, "make")
    };
    let ended_ns = 10 * MINUTE + 50;
    rig.take(&ended(header, ended_ns), ended_ns);
    assert_eq!(rig.sent_one("process").scope, "stratoswarm.process");
    assert_eq!(rig.assembler().open_roots(), 1);
    rig.turn(ended_ns + 2 * HOLD_NS);
    assert_eq!(rig.assembler().open_roots(), 0);
    assert_eq!(rig.sent_one("make").scope, "stratoswarm.trace");
}

#[test]
fn zeros_are_no_context() {
    for (trace, span, is_context) in [(1, 2, true), (0, 2, false), (1, 0, false), (0, 0, false)] {
        let mut rig = Rig::new();
        let header = joined(header(7, "reader"), trace, span);
        rig.take(&call(header, 10 * MINUTE, 10 * MINUTE + 9), 10 * MINUTE + 9);
        assert_eq!(rig.assembler().open_roots(), usize::from(!is_context));
        let sent = rig.sent_one("read").span;
        assert_eq!(sent.trace_id == [trace; 16], is_context);
        assert_ne!(sent.trace_id, [0; 16]);
        assert_ne!(sent.parent_span_id, [0; 8]);
    }
}
