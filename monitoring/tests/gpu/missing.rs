//! Devices that are missing while others are there.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use monitoring::gpu::{GpuError, GpuMonitor, Poll, XidErrors};

use super::rig::{Sim, poll_until};

const TWO: &str = "[[gpus]]\nmodel = \"l4\"\n[[gpus]]\nmodel = \"l4\"\n";
const LOST: &str = "[[gpus]]\nmodel = \"l4\"\n[[gpus]]\nmodel = \"l4\"\nlost = true\n";
const INTERVAL: Duration = Duration::from_millis(20);

fn poll_latest(monitor: &GpuMonitor, what: &str, is: impl Fn(&Poll) -> bool) -> Arc<Poll> {
    poll_until(what, || monitor.latest().ok().filter(|poll| is(poll)))
}

/// Looks at what there is for so long.
fn watch(monitor: &GpuMonitor, time: Duration, check: impl Fn(&Poll)) {
    let begun = Instant::now();
    poll_until("the time has passed", || {
        check(&monitor.latest().unwrap());
        (begun.elapsed() >= time).then_some(())
    });
}

#[test]
fn one_that_is_lost_for_ever_hardly_disturbs_the_others() {
    let sim = Sim::new(TWO);
    let monitor = sim
        .builder()
        .poll_interval(Duration::from_millis(5))
        .retry_interval(INTERVAL)
        .poll()
        .unwrap();
    poll_latest(&monitor, "both", |poll| poll.devices.len() == 2);
    sim.rewrite(LOST);
    let begun = Instant::now();
    poll_latest(&monitor, "one is lost", |poll| poll.lost.len() == 1);
    watch(&monitor, INTERVAL * 100, |poll| {
        assert!(poll.devices[&0].memory.is_some());
        assert!(matches!(poll.lost[&1], GpuError::Lost { device_id: 1, .. }));
    });
    let sessions = monitor.latest().unwrap().sessions;
    // After n new sessions as many waits have passed as 2 to the n, less one.
    let intervals = begun.elapsed().as_micros() / INTERVAL.as_micros() + 2;
    assert!(sessions > 2, "it was never looked for");
    assert!(
        sessions <= 1 + u64::from(intervals.ilog2()),
        "{sessions} sessions in {intervals} intervals"
    );
    sim.rewrite(TWO);
    poll_latest(&monitor, "both again", |poll| poll.devices.len() == 2);
}

#[test]
fn one_that_is_refused_is_no_reason_for_another_session() {
    for error in ["NO_PERMISSION", "INSUFFICIENT_POWER", "IRQ_ISSUE"] {
        let refused = format!("{TWO}[gpus.errors]\nnvmlDeviceGetHandleByIndex_v2 = \"{error}\"\n");
        let sim = Sim::new(&refused);
        let monitor = sim.builder().retry_interval(INTERVAL).poll().unwrap();
        poll_latest(&monitor, "one", |poll| poll.devices.len() == 1);
        watch(&monitor, INTERVAL * 20, |poll| {
            assert_eq!((poll.devices.len(), poll.sessions), (1, 1), "{error}");
        });
        sim.rewrite(TWO);
        let poll = poll_latest(&monitor, "both", |poll| poll.devices.len() == 2);
        assert_eq!(poll.sessions, 1, "{error}");
    }
}

#[test]
fn one_that_was_taken_out_is_given_up() {
    let interval = Duration::from_millis(5);
    let longest = interval * 64;
    let sim = Sim::new(TWO);
    let monitor = sim
        .builder()
        .poll_interval(interval)
        .retry_interval(interval)
        .poll()
        .unwrap();
    poll_latest(&monitor, "both", |poll| poll.devices.len() == 2);
    sim.rewrite(&LOST.replace("lost", "absent"));
    poll_latest(&monitor, "seven new sessions", |poll| poll.sessions == 8);
    watch(&monitor, longest * 3, |poll| {
        assert_eq!((poll.devices.len(), poll.lost.len()), (1, 0));
        assert_eq!(poll.sessions, 8);
    });
}

#[test]
fn a_library_that_is_not_the_driver_s_is_not_loaded_for_one() {
    let sim = Sim::new(TWO);
    let monitor = sim.builder().retry_interval(INTERVAL).poll().unwrap();
    poll_latest(&monitor, "both", |poll| poll.devices.len() == 2);
    // Another version is installed, and the driver of before goes on.
    let mismatch = "[errors]\nnvmlInit_v2 = \"LIB_RM_VERSION_MISMATCH\"\n";
    sim.install(&format!("{mismatch}{TWO}"));
    sim.rewrite(&format!("{mismatch}{LOST}"));
    poll_latest(&monitor, "one is lost", |poll| poll.lost.len() == 1);
    watch(&monitor, INTERVAL * 20, |poll| {
        assert_eq!((poll.devices.len(), poll.sessions), (1, 1));
    });
}

#[test]
fn errors_of_a_lost_device_are_told() {
    const ERRORS: usize = 200;
    let errors = "[[gpus.xids]]\ncode = 79\n".repeat(ERRORS);
    let sim = Sim::new(TWO);
    // The session ends as soon as one is lost, with the errors still on their way.
    let monitor = sim
        .builder()
        .poll_interval(Duration::from_millis(1))
        .retry_interval(Duration::from_millis(1))
        .poll()
        .unwrap();
    let before = poll_latest(&monitor, "both", |poll| poll.devices.len() == 2);
    assert!(before.xid_errors.is_empty());
    let uuid = before.devices[&1].identity.uuid.clone();
    sim.rewrite(&format!("{LOST}{errors}"));
    let want = XidErrors::from([(79, ERRORS as u64)]);
    let all = BTreeMap::from([(uuid.clone(), want.clone())]);
    poll_latest(&monitor, "the errors", |poll| {
        poll.lost.len() == 1 && poll.xid_errors == all
    });
    let mut events = Vec::new();
    poll_until("the events", || {
        events.extend(monitor.take_xid_events().events);
        (events.len() == ERRORS).then_some(())
    });
    assert!(events.iter().all(|it| it.uuid == uuid && it.xid == 79));
    sim.rewrite(&format!("{TWO}{errors}"));
    let poll = poll_latest(&monitor, "both again", |poll| poll.devices.len() == 2);
    assert_eq!(poll.xid_errors, all);
    assert_eq!(poll.devices[&1].xid_errors, want);
}
