//! Histories of GPUs that are bounded, and whose they are.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use monitoring::gpu::{GpuIdentity, GpuProcess, ThrottleReason};

use super::*;

fn gpu(number: u32, pids: &[u32], reasons: &[&'static str]) -> GpuMetrics {
    let process = |pid: &u32| GpuProcess {
        pid: *pid,
        mig: None,
        memory_bytes: None,
        sm_utilization_ratio: None,
    };
    let reason = |reason: &&'static str| ThrottleReason {
        reason,
        active: Some(true),
        seconds: None,
    };
    GpuMetrics {
        device_id: number,
        identity: Arc::new(GpuIdentity {
            uuid: format!("GPU-{number}"),
            name: "H200".to_owned(),
            ..GpuIdentity::default()
        }),
        utilization: 50.0.into(),
        processes: pids.iter().map(process).collect(),
        throttle_reasons: reasons.iter().map(reason).collect(),
        ..GpuMetrics::default()
    }
}

fn poll(number: u64, gpus: Vec<GpuMetrics>) -> Poll {
    Poll {
        at: Instant::now(),
        devices: gpus.into_iter().map(|gpu| (gpu.device_id, gpu)).collect(),
        lost: BTreeMap::new(),
        xid_errors: BTreeMap::new(),
        number,
        sessions: 1,
    }
}

#[test]
fn a_process_has_the_gpu_that_it_alone_can_mean() {
    let states = GpuStates::default();
    assert_eq!((states.begin(), states.of_process(7)), (1, None));
    states.polled_at(1, &poll(1, vec![gpu(0, &[], &[])]), 10);
    let number = |pid| states.of_process(pid).map(|gpu| gpu.number);
    assert_eq!(number(7), Some(0), "there is no other");
    let both = vec![gpu(0, &[7, 8], &[]), gpu(1, &[8, 9], &[])];
    states.polled_at(1, &poll(2, both), 20);
    assert_eq!([7, 8, 9, 10].map(number), [Some(0), None, Some(1), None]);
    // One that has gone is nobody's, and the other is the only one again.
    states.polled_at(1, &poll(3, vec![gpu(1, &[9], &[])]), 30);
    assert_eq!([7, 9].map(number), [Some(1); 2]);
}

#[test]
fn a_window_has_the_state_before_it_and_what_changed() {
    let states = GpuStates::default();
    states.begin();
    for (number, reasons) in [
        (1, vec!["gpu_idle"]),
        (2, vec!["sw_power_cap"]),
        (3, vec!["sw_power_cap", "hw_slowdown"]),
        (4, vec!["hw_slowdown", "gpu_idle"]),
    ] {
        let poll = poll(number, vec![gpu(0, &[], &reasons)]);
        states.polled_at(1, &poll, number * 100);
        states.polled_at(1, &poll, number * 100 + 50);
    }
    let short = |changes: Vec<Change>| -> Vec<String> {
        let short = changes.iter().map(|change| match change {
            Change::State(state) => format!("{} {}", state.at_ns, state.throttled.join("+")),
            Change::Throttled(at_ns, reason) => format!("{at_ns} begun {reason}"),
            Change::Released(at_ns, reason) => format!("{at_ns} ended {reason}"),
            Change::Xid(at_ns, code) => format!("{at_ns} {code}"),
        });
        short.collect()
    };
    let between = |start, end| short(states.between("GPU-0", start, end));
    assert_eq!(between(0, 50), [""; 0]);
    assert_eq!(between(110, 190), ["100 "]);
    assert_eq!(between(210, 290), ["200 sw_power_cap"]);
    assert_eq!(
        between(210, 400),
        [
            "200 sw_power_cap",
            "300 begun hw_slowdown",
            "300 hw_slowdown+sw_power_cap",
            "400 ended sw_power_cap",
            "400 hw_slowdown"
        ]
    );
    assert_eq!(states.between("GPU-1", 0, 900), []);
}

#[test]
fn errors_are_of_their_time_and_bounded() {
    let states = GpuStates::default();
    let now = clock::monotonic_ns();
    let event = |uuid: &str, seconds: u64, xid| XidEvent {
        device_id: 0,
        uuid: uuid.to_owned(),
        xid,
        mig: None,
        at: SystemTime::now() - Duration::from_secs(seconds),
        pid: None,
        process: None,
    };
    states.failed(&[
        event("GPU-0", 5, 79),
        event("GPU-0", 1, 31),
        event("", 1, 1),
    ]);
    let second = 1_000_000_000;
    let from =
        |ago: u64, until: u64| states.between("GPU-0", now - ago * second, now - until * second);
    let codes = |changes: Vec<Change>| -> Vec<u64> {
        let codes = changes.into_iter().map(|change| match change {
            Change::Xid(_, code) => code,
            other => panic!("{other:?}"),
        });
        codes.collect()
    };
    assert_eq!(codes(from(6, 4)), [79]);
    assert_eq!(codes(from(6, 0)), [79, 31]);
    assert_eq!(codes(from(4, 2)), [0; 0]);
    let many: Vec<_> = (0..2 * KEPT as u64)
        .map(|xid| event("GPU-0", 0, xid))
        .collect();
    states.failed(&many);
    assert_eq!(states.lock()["GPU-0"].xids.len(), KEPT);
    for number in 0..2 * MOST_GPUS {
        states.failed(&[event(&format!("GPU-x{number}"), 0, 1)]);
    }
    assert_eq!(states.lock().len(), MOST_GPUS);
}

#[test]
fn polls_that_are_numbered_anew_are_new() {
    let states = GpuStates::default();
    let first = states.begin();
    let both = vec![gpu(0, &[7], &[]), gpu(1, &[9], &[])];
    for number in 1..=100 {
        states.polled_at(first, &poll(number, both.clone()), number);
    }
    // The source begins again, and finds one of them only.
    let second = states.begin();
    let number = |pid| states.of_process(pid).map(|gpu| gpu.number);
    states.polled_at(second, &poll(1, vec![gpu(1, &[8], &[])]), 200);
    assert_eq!([7, 8, 9].map(number), [Some(1); 3], "there is no other");
    // What the one before still had to say is of no use.
    states.polled_at(first, &poll(101, both), 210);
    assert_eq!(number(7), Some(1));
    // Its number is that of a poll that was taken in before.
    states.polled_at(
        second,
        &poll(100, vec![gpu(1, &[8], &["sw_power_cap"])]),
        300,
    );
    let at = |change: &Change| change.at_ns();
    let last = states.between("GPU-1", 300, 300);
    assert_eq!(last.last().map(at), Some(300));
}

#[test]
fn a_gpu_of_which_there_was_but_an_error_is_nobodys() {
    let states = GpuStates::default();
    states.failed(&[XidEvent {
        device_id: 0,
        uuid: "GPU-0".to_owned(),
        xid: 79,
        mig: None,
        at: SystemTime::now(),
        pid: None,
        process: None,
    }]);
    assert_eq!(states.of_process(7), None);
}
