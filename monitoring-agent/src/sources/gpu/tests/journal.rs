//! What the log says of GPUs that come and go: each thing once.

use std::{
    io,
    sync::{Mutex, MutexGuard},
};

use tracing_subscriber::fmt::MakeWriter;

use super::super::limit::{MOST_LINES, WINDOW};
use super::*;

/// Where a test's log goes.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

struct Line<'a>(MutexGuard<'a, Vec<u8>>);

impl io::Write for Line<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line(self.0.lock().unwrap())
    }
}

/// The lines that are logged meanwhile.
pub(super) fn logged(speak: impl FnOnce()) -> Vec<String> {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt()
        .with_writer(log.clone())
        .with_ansi(false)
        .without_time()
        .with_target(false)
        .finish();
    tracing::subscriber::with_default(subscriber, speak);
    let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    text.lines().map(|line| line.trim().to_owned()).collect()
}

/// What the journal writes of these polls, one after the other.
fn said(polls: &[Poll]) -> Vec<String> {
    let mut journal = Journal::default();
    logged(|| {
        for (poll, number) in polls.iter().zip(1..) {
            let poll = Poll {
                number,
                ..poll.clone()
            };
            journal.look_at(&poll, Instant::now());
            // A collection that finds no newer poll.
            journal.look_at(&poll, Instant::now());
        }
    })
}

fn check(polls: &[Poll], want: &[&[&str]]) {
    let said = said(polls);
    assert_eq!(said.len(), want.len(), "{said:#?}");
    for (line, parts) in said.iter().zip(want) {
        for part in *parts {
            assert!(line.contains(part), "{line:?} lacks {part:?}");
        }
    }
}

/// A poll in which these devices answer and those do not.
fn poll_with(devices: &[(u32, &str)], lost: &[u32]) -> Poll {
    let mut poll = poll(devices.iter().map(|(number, uuid)| silent(*number, uuid)));
    for device_id in lost {
        let reason = "it fell off the bus".to_owned();
        let device_id = *device_id;
        poll.lost
            .insert(device_id, GpuError::Lost { device_id, reason });
    }
    poll
}

#[test]
fn a_lost_gpu_is_said_once_and_once_more_when_it_is_back() {
    let (both, one_lost) = (
        poll_with(&[(0, "A"), (1, "B")], &[]),
        poll_with(&[(0, "A")], &[1]),
    );
    let lost = &[
        "WARN",
        "metrics end",
        "fell off the bus",
        "device_id=1",
        "uuid=\"B\"",
    ][..];
    let back = &["INFO", "is back", "device_id=1", "uuid=\"B\""][..];
    check(&[both.clone(), both.clone()], &[]);
    check(&[both.clone(), one_lost.clone(), one_lost.clone()], &[lost]);
    check(
        &[both.clone(), one_lost.clone(), both.clone(), one_lost, both],
        &[lost, back, lost, back],
    );
}

#[test]
fn gpus_are_told_apart_by_their_uuid() {
    // The first of two is taken out: the second gets its number.
    let both = poll_with(&[(0, "A"), (1, "B")], &[]);
    let second = poll_with(&[(0, "B")], &[]);
    let gone = &["uuid=\"A\"", "does not list it any more"][..];
    let back = &["is back", "uuid=\"A\""][..];
    check(&[both.clone(), second.clone(), second, both], &[gone, back]);
}

#[test]
fn gpus_of_one_uuid_or_none_are_two() {
    let with = |names: &[&'static str], device_id, uuid| GpuMetrics {
        unsupported: names.into(),
        ..silent(device_id, uuid)
    };
    for uuid in ["", "A"] {
        let both = poll([with(&["a"], 0, uuid), with(&["b"], 1, uuid)]);
        let one = poll([with(&["a"], 0, uuid)]);
        let first = &["support a;", "device_id=0"][..];
        let second = &["support b;", "device_id=1"][..];
        let gone = &["metrics end", "device_id=1"][..];
        check(&[both.clone(), both.clone(), one], &[first, second, gone]);
    }
}

#[test]
fn what_is_found_unsupported_anew_is_not_said_again() {
    let with = |names: &[&'static str]| {
        poll([GpuMetrics {
            unsupported: names.into(),
            ..silent(0, "A")
        }])
    };
    check(
        &[
            with(&["a", "b"]),
            with(&["a"]),
            with(&[]),
            with(&["a", "b"]),
        ],
        &[&["support a, b;"]],
    );
}

#[test]
fn a_gpu_that_never_answered_is_known_by_its_number() {
    let lost = poll_with(&[(0, "A")], &[1]);
    let both = poll_with(&[(0, "A"), (1, "B")], &[]);
    check(
        &[lost.clone(), lost, both],
        &[&["device_id=1", "fell off"], &["is back", "uuid=\"B\""]],
    );
}

#[test]
fn what_is_not_supported_is_said_once_and_by_name() {
    let with = |names: &[&'static str]| {
        poll([GpuMetrics {
            unsupported: names.into(),
            ..silent(0, "A")
        }])
    };
    let lost = poll_with(&[], &[0]);
    let first = &[
        "INFO",
        "nvmlDeviceGetFanSpeed_v2, nvmlDeviceGetSerial",
        "uuid=\"A\"",
    ][..];
    let (two, three) = (
        with(&["nvmlDeviceGetFanSpeed_v2", "nvmlDeviceGetSerial"]),
        with(&["a", "nvmlDeviceGetFanSpeed_v2", "nvmlDeviceGetSerial"]),
    );
    check(
        &[two.clone(), two.clone(), lost, two, three],
        &[
            first,
            &["metrics end"],
            &["is back"],
            &["does not support a;"],
        ],
    );
}

#[test]
fn many_arguments_of_one_call_are_said_as_a_number() {
    let few = ["a(1)", "a(2)", "a(3)", "a(4)", "b", "c"];
    let many = [&few[..], &["c(1)", "a(5)"]].concat();
    let with = |names: &[&'static str]| {
        poll([GpuMetrics {
            unsupported: names.into(),
            ..silent(0, "A")
        }])
    };
    let of_few = &["support a(1), a(2), a(3), a(4), b, c; what"][..];
    check(&[with(&few)], &[of_few]);
    check(
        &[with(&many)],
        &[&["support a (5 kinds), b, c, c(1); what"]],
    );
}

#[test]
fn hostile_names_do_not_break_the_log() {
    let polls = [poll_with(&[(0, "A\n\x1b[31m")], &[]), poll_with(&[], &[0])];
    check(&polls, &[&["u{1b}"]]);
}

#[test]
fn a_driver_gone_mad_fills_no_memory() {
    let named = |number: u32| poll_with(&[(0, &number.to_string())], &[]);
    let polls: Vec<_> = (0..1000).map(named).collect();
    let mut journal = Journal::default();
    for (poll, number) in polls.into_iter().zip(1..) {
        journal.look_at(&Poll { number, ..poll }, Instant::now());
    }
    assert_eq!(journal.remembered(), super::super::journal::MOST_DEVICES);
}

#[test]
fn a_gpu_that_comes_and_goes_does_not_flood_the_log() {
    let (here, gone) = (poll_with(&[(0, "A")], &[]), poll_with(&[], &[0]));
    let mut journal = Journal::default();
    let begun = Instant::now();
    let polls = |journal: &mut Journal, numbers: std::ops::Range<u64>, now| {
        logged(|| {
            for number in numbers {
                let poll = if number % 2 == 0 { &gone } else { &here };
                let poll = Poll {
                    number,
                    ..poll.clone()
                };
                journal.look_at(&poll, now);
            }
        })
    };
    let most = usize::try_from(MOST_LINES).unwrap();
    assert_eq!(polls(&mut journal, 1..102, begun).len(), most);
    let later = polls(&mut journal, 102..103, begun + WINDOW);
    assert_eq!(later.len(), 2, "{later:#?}");
    let left_out = 100 - most;
    let line = format!(" {left_out} more lines on GPUs");
    assert!(later[0].contains(&line), "{later:#?}");
    assert!(later[1].contains("metrics end"), "{later:#?}");
    assert!(polls(&mut journal, 104..105, begun + 2 * WINDOW).is_empty());
}
