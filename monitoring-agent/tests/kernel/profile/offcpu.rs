//! What threads wait for: known times and known reasons.

use std::time::{Duration, Instant};

use monitoring_agent::profile::session::{Kind, SessionOptions};
use monitoring_common::{
    profile::{mode::KERNEL, status::ERROR},
    sched::reason::{LOCK, PREEMPTED, RUNQUEUE, SLEEP},
};

use super::{
    recorder::{Recorder, cpu},
    worker::{Task, Worker},
};

/// How long a worker waits.
const HELD_NS: libc::c_long = 600_000_000;

fn options() -> SessionOptions {
    SessionOptions {
        kind: Kind::OffCpu,
        ..cpu(1)
    }
}

fn sleep() {
    let time = libc::timespec {
        tv_sec: 0,
        tv_nsec: HELD_NS,
    };
    // SAFETY: the request lives across the call; no remainder is asked for.
    unsafe { libc::syscall(libc::SYS_nanosleep, &raw const time, std::ptr::null::<u8>()) };
}

fn wait_for_futex() {
    let word = 0_u32;
    let time = libc::timespec {
        tv_sec: 0,
        tv_nsec: HELD_NS,
    };
    // SAFETY: the word and the time live across the call.
    unsafe {
        let operation = libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG;
        libc::syscall(
            libc::SYS_futex,
            &raw const word,
            operation,
            0,
            &raw const time,
        );
    }
}

#[test]
fn time_is_counted_by_reason_with_the_stack_that_waits() {
    let mut worker = Worker::start();
    let mut recorder = Recorder::start(&SessionOptions {
        pid: Some(worker.pid()),
        ..options()
    });
    for (work, reason) in [(sleep as fn(), SLEEP), (wait_for_futex, LOCK)] {
        // Until it sleeps for its order, its time is another's.
        worker.rests();
        recorder.end_window();
        recorder.sums.clear();
        // Windows end in the middle of the wait: its stack is told in each.
        worker.begins(Task::Other(work));
        recorder.listen(Duration::from_millis(200));
        recorder.end_window();
        recorder.until_done(&mut worker);
        worker.rests();
        recorder.end_window();
        // Of the waits for orders none is so long and over.
        let waits = recorder.of(&worker);
        let wanted = HELD_NS as f64;
        let held = waits.iter().find(|(key, sum, _)| {
            let value = sum.value as f64;
            // Its time runs from the call on, and it leaves the CPU a little later.
            let is_held = value >= wanted * 0.98 && value <= wanted * 1.2;
            key.reason == reason && sum.samples == 1 && is_held
        });
        let (key, _, stack) = held.unwrap_or_else(|| panic!("{reason}: {waits:?}"));
        assert_eq!(key.mode, KERNEL);
        assert!(
            !stack.user.is_empty() && stack.kernel.len() > 3,
            "{stack:?}"
        );
        assert_eq!(&stack.comm[..12], super::worker::NAME.as_bytes());
    }
    assert_eq!(recorder.losses(), []);
}

#[test]
fn all_time_of_a_thread_is_on_a_cpu_or_counted() {
    let mut worker = Worker::start();
    let mut other = Worker::start();
    worker.rests();
    let before = Instant::now();
    let mut recorder = Recorder::start(&options());
    let begun = Instant::now();
    other.begins(Task::Split { milliseconds: 300 });
    worker.begins(Task::Calls { milliseconds: 300 });
    while !worker.is_done() {
        recorder.end_window();
    }
    worker.rests();
    // Time is counted up to somewhere within the end of a window.
    let least = begun.elapsed().as_secs_f64();
    recorder.end_window();
    let most = before.elapsed().as_secs_f64();
    let pid = worker.pid();
    let away = recorder.sum(|key| key.process == pid).value as f64 / 1e9;
    let all = away + worker.seconds();
    assert!(
        all >= least * 0.98 && all <= most * 1.02,
        "{away} s away and {} s on a CPU of {least} to {most}",
        worker.seconds()
    );
    let strange = recorder
        .sum(|key| key.process == pid && ![PREEMPTED, RUNQUEUE, SLEEP].contains(&key.reason));
    assert_eq!(strange.value, 0);
    assert_eq!(recorder.losses(), []);
}

#[test]
fn a_thread_that_has_waited_since_before_has_time_and_no_frames() {
    let worker = Worker::start();
    worker.rests();
    let mut recorder = Recorder::start(&options());
    let begun = Instant::now();
    recorder.end_window();
    recorder.sums.clear();
    recorder.listen(Duration::from_millis(300));
    recorder.end_window();
    let elapsed = begun.elapsed().as_secs_f64();
    let all = recorder.of(&worker);
    let [(key, sum, stack)] = &all[..] else {
        panic!("{all:?}");
    };
    assert_eq!((key.status, key.reason, sum.samples), (ERROR, SLEEP, 0));
    let away = sum.value as f64 / 1e9;
    assert!(away <= elapsed + 0.05 && away >= 0.3, "{away} of {elapsed}");
    assert_eq!(&stack.process_comm[..12], super::worker::NAME.as_bytes());
}
