//! Devices whose critical errors cannot be had, or not yet.

use std::collections::BTreeSet;

use monitoring::gpu::GpuMonitor;

use super::rig::{Sim, poll_until};

/// Two devices that have errors all the time, the first with `errors` of calls.
fn two(errors: &str) -> String {
    const GPU: &str = "[[gpus]]\nmodel = \"l4\"\n[[gpus.xids]]\ncode = 31\nevery_seconds = 0.02\n";
    format!("{GPU}[gpus.errors]\n{errors}{GPU}")
}

/// Waits until so many more errors have come, and says of which devices they are.
fn poll_devices(monitor: &GpuMonitor, count: usize) -> BTreeSet<u32> {
    let mut devices = BTreeSet::new();
    let mut left = count;
    poll_until("events", || {
        let taken = monitor.take_xid_events();
        left = left.saturating_sub(taken.events.len());
        devices.extend(taken.events.iter().map(|event| event.device_id));
        (left == 0).then_some(())
    });
    devices
}

/// Whether errors come of all devices, and of no session but the first.
fn poll_both(monitor: &GpuMonitor) {
    poll_until("errors of both", || {
        (poll_devices(monitor, 4).len() == 2).then_some(())
    });
    assert_eq!(monitor.latest().unwrap().sessions, 1);
}

#[test]
fn a_device_without_events_does_not_hide_the_others() {
    let sim = Sim::new(&two("nvmlDeviceRegisterEvents = \"NOT_SUPPORTED\"\n"));
    let monitor = sim.builder().poll().unwrap();
    assert_eq!(poll_devices(&monitor, 20), BTreeSet::from([1]));
}

#[test]
fn a_registration_that_fails_is_tried_again() {
    let sim = Sim::new(&two("nvmlDeviceRegisterEvents = \"UNKNOWN\"\n"));
    let monitor = sim.builder().poll().unwrap();
    assert_eq!(poll_devices(&monitor, 20), BTreeSet::from([1]));
    sim.rewrite(&two(""));
    poll_both(&monitor);
}

#[test]
fn a_set_that_cannot_be_made_is_tried_again() {
    let fails = "[errors]\nnvmlEventSetCreate = \"UNKNOWN\"\n";
    let sim = Sim::new(&format!("{fails}{}", two("")));
    let monitor = sim.builder().poll().unwrap();
    poll_until("some polls", || {
        monitor.latest().ok().filter(|poll| poll.number > 5)
    });
    assert!(monitor.take_xid_events().events.is_empty());
    sim.rewrite(&two(""));
    poll_both(&monitor);
}
