//! Calls that do not come back.

use std::{
    thread,
    time::{Duration, Instant},
};

use monitoring::gpu::GpuError;

use super::rig::{Sim, poll_until};

const GPU: &str = "[[gpus]]\nmodel = \"l4\"\n";
/// What a hanging call may take, and what nobody may wait for.
const DEADLINE: Duration = Duration::from_millis(100);
const LONG: Duration = Duration::from_secs(20);

fn hanging(call: &str) -> String {
    format!("{GPU}[[hangs]]\ncall = \"{call}\"\nseconds = 300\n")
}

fn is_hanging(error: &GpuError, want: &str) -> bool {
    matches!(error, GpuError::Hanging { call, for_ } if *call == want && *for_ >= DEADLINE)
}

#[test]
fn a_hang_is_told_and_over_when_it_is_over() {
    let call = "nvmlDeviceGetTemperature";
    let sim = Sim::new(GPU);
    let monitor = sim.builder().call_deadline(DEADLINE).poll().unwrap();
    let before = poll_until("a poll", || monitor.latest().ok());
    sim.rewrite(&hanging(call));
    poll_until("the hang", || {
        monitor
            .latest()
            .err()
            .filter(|error| is_hanging(error, call))
    });
    let begun = Instant::now();
    assert!(is_hanging(&monitor.latest().unwrap_err(), call));
    assert!(is_hanging(&monitor.collect_all().unwrap_err(), call));
    assert!(is_hanging(&monitor.device(0).unwrap_err(), call));
    assert!(begun.elapsed() < LONG);
    sim.rewrite(GPU);
    let after = poll_until("a poll again", || monitor.latest().ok());
    poll_until("new polls", || {
        monitor
            .latest()
            .ok()
            .filter(|poll| poll.number > after.number)
    });
    assert!(after.number >= before.number);
    assert!(monitor.collect_all().is_ok());
}

#[test]
fn who_waits_is_told() {
    let call = "nvmlDeviceGetPowerUsage";
    let sim = Sim::new(GPU);
    let monitor = sim.builder().call_deadline(DEADLINE).open().unwrap();
    sim.rewrite(&hanging(call));
    let begun = Instant::now();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let error = poll_until("an error", || monitor.collect_all().err());
                assert!(is_hanging(&error, call));
            });
        }
    });
    assert!(begun.elapsed() < LONG);
    sim.rewrite(GPU);
    assert!(poll_until("a reading", || monitor.collect_all().ok()).contains_key(&0));
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
fn nobody_waits_for_a_hang_at_the_end() {
    let sim = Sim::new(GPU);
    let monitor = sim.builder().call_deadline(DEADLINE).poll().unwrap();
    poll_until("a poll", || monitor.latest().ok());
    sim.rewrite(&hanging("nvmlDeviceGetTemperature"));
    poll_until("the hang", || monitor.latest().err());
    let begun = Instant::now();
    drop(monitor);
    assert!(begun.elapsed() < LONG);
    // The thread ends by itself; the library must not be gone under it before.
    sim.rewrite(GPU);
}

#[test]
fn the_end_is_quick() {
    let sim = Sim::new(GPU);
    for _ in 0..5 {
        let monitor = sim.builder().poll().unwrap();
        poll_until("a poll", || monitor.latest().ok());
        let begun = Instant::now();
        drop(monitor);
        assert!(
            begun.elapsed() < Duration::from_secs(1),
            "it took {:?}",
            begun.elapsed()
        );
    }
}

#[test]
fn a_monitor_that_has_not_read_says_so() {
    let sim = Sim::new(&hanging("nvmlInit_v2"));
    let monitor = sim.builder().poll().unwrap();
    assert!(matches!(monitor.latest(), Err(GpuError::Starting)));
    sim.rewrite(GPU);
    poll_until("a poll", || monitor.latest().ok());
}
