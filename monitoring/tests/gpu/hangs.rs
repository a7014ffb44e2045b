//! Calls that do not come back, and calls that come back late.

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use monitoring::gpu::{GpuError, GpuMonitor};

use super::rig::{Sim, poll_until};

const GPU: &str = "[[gpus]]\nmodel = \"l4\"\n";
const SAMPLED: &str = "[[gpus]]\nmodel = \"h200\"\n";
const INSTANCE: &str = "[[gpus.mig]]\ngpu_instance_id = 7\n";
/// What a call may take. Calls that do not hang take far less, even on a busy machine.
const DEADLINE: Duration = Duration::from_secs(1);
/// What nobody may wait for: a hang lasts longer by far.
const LONG: Duration = Duration::from_secs(20);

fn hang(call: &str) -> String {
    format!("[[hangs]]\ncall = \"{call}\"\nseconds = 300\n")
}

fn hanging(call: &str) -> String {
    format!("{GPU}{}", hang(call))
}

fn is_hanging(error: &GpuError, want: &str) -> bool {
    matches!(error, GpuError::Hanging { call, for_ } if *call == want && *for_ >= DEADLINE)
}

fn poll_hang(monitor: &GpuMonitor, call: &str) {
    poll_until(&format!("{call} hangs"), || {
        let error = monitor.latest().err()?;
        is_hanging(&error, call).then_some(())
    });
}

/// Waits until there are polls that have begun after this.
fn poll_anew(monitor: &GpuMonitor) {
    let poll = poll_until("a poll", || monitor.latest().ok());
    poll_until("new polls", || {
        let newest = monitor.latest().ok()?;
        (newest.number > poll.number + 1).then_some(())
    });
}

fn poll_unloaded(sim: &Sim) {
    let path = sim.library.to_str().unwrap();
    poll_until("the library is unloaded", || {
        let maps = fs::read_to_string("/proc/self/maps").unwrap();
        (!maps.contains(path)).then_some(())
    });
}

#[test]
fn what_was_read_before_a_hang_is_as_old_as_that() {
    let sim = Sim::new(&GPU.repeat(2));
    let monitor = sim.builder().call_deadline(DEADLINE).open().unwrap();
    let before = monitor.latest().unwrap().number;
    let call = "nvmlDeviceGetTemperature";
    sim.rewrite(&format!("{}{}gpu = 1\n", GPU.repeat(2), hang(call)));
    let error = poll_until("the hang", || monitor.collect_all().err());
    assert!(is_hanging(&error, call));
    let hung = Instant::now();
    sim.rewrite(&GPU.repeat(2));
    // Nobody asks for another one.
    let poll = poll_until("the poll", || {
        let poll = monitor.latest().ok()?;
        (poll.devices.len() == 2 && poll.number > before).then_some(poll)
    });
    assert!(poll.at + DEADLINE <= hung);
}

#[test]
fn a_hang_is_told_and_over_when_it_is_over() {
    let call = "nvmlDeviceGetTemperature";
    let sim = Sim::new(GPU);
    let monitor = sim.builder().call_deadline(DEADLINE).poll().unwrap();
    let before = poll_until("a poll", || monitor.latest().ok());
    sim.rewrite(&hanging(call));
    poll_hang(&monitor, call);
    let begun = Instant::now();
    assert!(is_hanging(&monitor.latest().unwrap_err(), call));
    assert!(is_hanging(&monitor.collect_all().unwrap_err(), call));
    assert!(is_hanging(&monitor.device(0).unwrap_err(), call));
    assert!(begun.elapsed() < LONG);
    sim.rewrite(GPU);
    let after = poll_until("a poll again", || monitor.latest().ok());
    poll_anew(&monitor);
    assert!(after.number >= before.number);
    poll_until("a reading", || monitor.collect_all().ok());
}

#[test]
fn who_waits_is_told() {
    let call = "nvmlDeviceGetPowerUsage";
    let sim = Sim::new(GPU);
    let builder = sim.builder().call_deadline(DEADLINE);
    let monitor = poll_until("a monitor", || builder.clone().open().ok());
    sim.rewrite(&hanging(call));
    let begun = Instant::now();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                poll_until("the hang", || {
                    let error = monitor.collect_all().err()?;
                    is_hanging(&error, call).then_some(())
                });
            });
        }
    });
    assert!(begun.elapsed() < LONG);
    sim.rewrite(GPU);
    assert!(poll_until("a reading", || monitor.collect_all().ok()).contains_key(&0));
}

#[test]
fn many_slow_calls_are_told() {
    // None takes longer than it may, but all together do.
    let calls = [
        "nvmlDeviceGetUtilizationRates",
        "nvmlDeviceGetTemperature",
        "nvmlDeviceGetMemoryInfo_v2",
        "nvmlDeviceGetPowerUsage",
        "nvmlDeviceGetClockInfo",
    ];
    let slow = |call: &str| format!("[[hangs]]\ncall = \"{call}\"\nseconds = 0.5\n");
    let sick = GPU.repeat(4) + &calls.map(slow).concat();
    let sim = Sim::new(&sick);
    let monitor = sim.builder().call_deadline(DEADLINE).poll().unwrap();
    let begun = Instant::now();
    let error = poll_until("it is told", || {
        let error = monitor.collect_all().err()?;
        is_hanging(&error, "the calls of one poll").then_some(error)
    });
    assert!(error.to_string().contains("the calls of one poll for 6 s"));
    assert!(begun.elapsed() < LONG);
    sim.rewrite(&GPU.repeat(4));
    poll_anew(&monitor);
}

#[test]
fn a_hang_at_the_beginning() {
    let sim = Sim::new(&hanging("nvmlInit_v2"));
    let begun = Instant::now();
    let error = sim.builder().call_deadline(DEADLINE).open().unwrap_err();
    assert!(is_hanging(&error, "nvmlInit_v2"));
    assert!(begun.elapsed() < LONG);
}

#[test]
fn a_hang_of_what_is_not_a_reading_is_told() {
    for (before, after, call) in [
        (SAMPLED.to_owned(), SAMPLED.to_owned(), "nvmlGpmSampleGet"),
        // The instance's samples are given back when it is gone.
        (
            format!("{SAMPLED}{INSTANCE}"),
            SAMPLED.to_owned(),
            "nvmlGpmSampleFree",
        ),
        // The session ends when the driver does.
        (
            GPU.to_owned(),
            format!("driver_loaded = false\n{GPU}"),
            "nvmlEventSetFree",
        ),
        (
            GPU.to_owned(),
            format!("driver_loaded = false\n{GPU}"),
            "nvmlShutdown",
        ),
    ] {
        let sim = Sim::new(&before);
        let monitor = sim.builder().call_deadline(DEADLINE).poll().unwrap();
        // The first sample of an instance is taken at a poll that has ended.
        poll_anew(&monitor);
        sim.rewrite(&format!("{after}{}", hang(call)));
        poll_hang(&monitor, call);
        sim.rewrite(&before);
        poll_anew(&monitor);
    }
}

#[test]
fn waiting_for_events_may_hang() {
    let call = "nvmlEventSetWait_v2";
    let hangs = hanging(call);
    let errors = format!("{GPU}[[gpus.xids]]\ncode = 31\nevery_seconds = 0.02\n");
    let sim = Sim::new(GPU);
    // Its deadline is far longer than it takes to give the thread up.
    let monitor = sim.builder().poll().unwrap();
    poll_anew(&monitor);
    sim.rewrite(&hangs);
    // Readings do not wait for events.
    poll_anew(&monitor);
    // Nor does the end of a session, for long.
    for session in 2..4 {
        sim.rewrite(&format!("driver_loaded = false\n{hangs}"));
        poll_until("no driver", || monitor.latest().err());
        sim.rewrite(&hangs);
        let begun = Instant::now();
        let poll = poll_until("a poll", || monitor.latest().ok());
        assert!(poll.sessions >= session);
        assert!(begun.elapsed() < LONG);
    }
    // When it comes back there are events again, and the thread gives back what it had.
    sim.rewrite(&errors);
    poll_until("errors", || {
        let poll = monitor.latest().ok()?;
        (!poll.xid_errors.is_empty()).then_some(())
    });
    drop(monitor);
    poll_unloaded(&sim);
}

#[test]
fn nobody_waits_for_a_hang_at_the_end() {
    for call in [
        "nvmlDeviceGetTemperature",
        "nvmlEventSetWait_v2",
        "nvmlShutdown",
    ] {
        let sim = Sim::new(GPU);
        let monitor = sim.builder().call_deadline(DEADLINE).poll().unwrap();
        poll_anew(&monitor);
        sim.rewrite(&hanging(call));
        if call == "nvmlDeviceGetTemperature" {
            poll_hang(&monitor, call);
        } else {
            poll_anew(&monitor);
        }
        let begun = Instant::now();
        drop(monitor);
        let took = begun.elapsed();
        assert!(took < Duration::from_secs(5), "{call}: it took {took:?}");
        // The thread ends by itself; the library must not be gone under it before.
        sim.rewrite(GPU);
        poll_unloaded(&sim);
    }
}

#[test]
fn the_end_is_quick() {
    let sim = Sim::new(GPU);
    let ends = (0..5).map(|_| {
        let monitor = sim.builder().poll().unwrap();
        poll_until("a poll", || monitor.latest().ok());
        let begun = Instant::now();
        drop(monitor);
        begun.elapsed()
    });
    // On a busy machine one may take longer. After a second nobody waits any more.
    let quickest = ends.min().unwrap();
    assert!(
        quickest < Duration::from_millis(900),
        "the quickest end took {quickest:?}"
    );
}

#[test]
fn a_monitor_that_has_not_read_says_so() {
    let sim = Sim::new(&hanging("nvmlInit_v2"));
    let monitor = sim.builder().poll().unwrap();
    assert!(matches!(monitor.latest(), Err(GpuError::Starting)));
    sim.rewrite(GPU);
    poll_until("a poll", || monitor.latest().ok());
}
