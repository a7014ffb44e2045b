//! Critical errors of the driver.

use monitoring::gpu::{GpuMonitor, XidErrors, XidEvent};

use super::rig::{Sim, poll_until};

fn script(xids: &[u64]) -> String {
    let entry = |code: &u64| format!("[[gpus.xids]]\ncode = {code}\n");
    let entries: String = xids.iter().map(entry).collect();
    format!("[[gpus]]\nmodel = \"l4\"\n[[gpus]]\nmodel = \"l4\"\n{entries}")
}

fn poll_counts(monitor: &GpuMonitor, want: &[(u64, u64)]) {
    let want: XidErrors = want.iter().copied().collect();
    poll_until(&format!("errors {want:?}"), || {
        let poll = monitor.latest().ok()?;
        let device = poll.devices.get(&1)?;
        (device.xid_errors == want).then_some(())
    });
    let none = monitor.latest().unwrap().devices[&0].xid_errors.clone();
    assert_eq!(none, XidErrors::new(), "the other device had none");
}

fn poll_events(monitor: &GpuMonitor, count: usize) -> Vec<XidEvent> {
    let mut events = Vec::new();
    poll_until("events", || {
        let taken = monitor.take_xid_events();
        assert_eq!(taken.dropped, 0);
        events.extend(taken.events);
        (events.len() >= count).then_some(())
    });
    events
}

#[test]
fn repeats_count_each() {
    let sim = Sim::new(&script(&[]));
    let monitor = sim.builder().poll().unwrap();
    poll_until("a poll", || monitor.latest().ok());
    sim.rewrite(&script(&[79, 31, 79]));
    poll_counts(&monitor, &[(31, 1), (79, 2)]);
    sim.rewrite(&script(&[79, 31, 79, 79, 13]));
    poll_counts(&monitor, &[(13, 1), (31, 1), (79, 3)]);
    let events = poll_events(&monitor, 5);
    let codes: Vec<_> = events.iter().map(|event| event.xid).collect();
    assert_eq!(codes, [79, 31, 79, 79, 13]);
    let uuid = &monitor.latest().unwrap().devices[&1].identity.uuid;
    assert!(
        events
            .iter()
            .all(|event| event.device_id == 1 && event.uuid == *uuid)
    );
    assert!(events.iter().all(|event| event.mig.is_none()));
}

#[test]
fn counts_outlive_the_driver() {
    let sim = Sim::new(&script(&[]));
    let monitor = sim.builder().poll().unwrap();
    poll_until("a poll", || monitor.latest().ok());
    sim.rewrite(&script(&[79]));
    poll_counts(&monitor, &[(79, 1)]);
    sim.rewrite(&format!("driver_loaded = false\n{}", script(&[79])));
    poll_until("the driver is gone", || monitor.latest().err());
    sim.rewrite(&script(&[79]));
    poll_counts(&monitor, &[(79, 1)]);
    sim.rewrite(&script(&[79, 31]));
    poll_counts(&monitor, &[(31, 1), (79, 1)]);
}

#[test]
fn events_name_the_instance() {
    let gpu = "[[gpus]]\nmodel = \"h200\"\n[[gpus.mig]]\ngpu_instance_id = 3\n";
    let sim = Sim::new(gpu);
    let monitor = sim.builder().poll().unwrap();
    poll_until("a poll", || monitor.latest().ok());
    sim.rewrite(&format!(
        "{gpu}[[gpus.xids]]\ncode = 94\ngpu_instance_id = 3\ncompute_instance_id = 0\n\
         [[gpus.xids]]\ncode = 95\ngpu_instance_id = 3\n"
    ));
    let events = poll_events(&monitor, 2);
    assert_eq!((events[0].xid, events[0].mig), (94, Some((3, Some(0)))));
    assert_eq!((events[1].xid, events[1].mig), (95, Some((3, None))));
}

#[test]
fn a_device_without_events_keeps_none_from_the_others() {
    let script = |xids: &str| {
        format!(
            "[[gpus]]\nmodel = \"l4\"\n{xids}[gpus.errors]\n\
             nvmlDeviceRegisterEvents = \"NOT_SUPPORTED\"\n[[gpus]]\nmodel = \"l4\"\n{xids}"
        )
    };
    let sim = Sim::new(&script(""));
    let monitor = sim.builder().poll().unwrap();
    poll_until("a poll", || monitor.latest().ok());
    sim.rewrite(&script("[[gpus.xids]]\ncode = 79\n"));
    poll_counts(&monitor, &[(79, 1)]);
    assert_eq!(poll_events(&monitor, 1)[0].device_id, 1);
}
