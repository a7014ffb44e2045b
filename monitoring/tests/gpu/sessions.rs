//! Libraries, drivers and devices that go, and come back.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use monitoring::gpu::{GpuError, GpuMonitor, Poll};

use super::rig::{Sim, poll_until};

const TWO: &str = "[[gpus]]\nmodel = \"l4\"\n[[gpus]]\nmodel = \"l4\"\n";
const UNLOADED: &str = "driver_loaded = false\n";

fn poll_latest(monitor: &GpuMonitor, what: &str, is: impl Fn(&Poll) -> bool) -> Arc<Poll> {
    poll_until(what, || monitor.latest().ok().filter(|poll| is(poll)))
}

fn poll_error(monitor: &GpuMonitor, what: &str, is: impl Fn(&GpuError) -> bool) -> GpuError {
    poll_until(what, || monitor.latest().err().filter(|error| is(error)))
}

fn uuids(poll: &Poll) -> Vec<&str> {
    poll.devices
        .values()
        .map(|device| device.identity.uuid.as_str())
        .collect()
}

#[test]
fn no_library() {
    let sim = Sim::absent();
    assert!(matches!(sim.builder().open(), Err(GpuError::NoLibrary(_))));
    let monitor = sim.builder().poll().unwrap();
    poll_error(&monitor, "no library", |error| {
        matches!(error, GpuError::NoLibrary(_))
    });
    assert!(matches!(monitor.collect_all(), Err(GpuError::NoLibrary(_))));
    sim.install(TWO);
    let poll = poll_latest(&monitor, "the library is found", |poll| {
        poll.devices.len() == 2
    });
    assert!(poll.lost.is_empty());
}

#[test]
fn a_file_that_is_no_library() {
    let sim = Sim::absent();
    std::fs::write(&sim.library, "no library").unwrap();
    assert!(matches!(sim.builder().open(), Err(GpuError::NoLibrary(_))));
}

#[test]
fn a_driver_that_comes_goes_and_comes() {
    let sim = Sim::new(UNLOADED);
    assert!(matches!(sim.builder().open(), Err(GpuError::NoDriver(_))));
    let monitor = sim.builder().poll().unwrap();
    poll_error(&monitor, "no driver", |error| {
        matches!(error, GpuError::NoDriver(_))
    });
    for _ in 0..3 {
        sim.rewrite(TWO);
        poll_latest(&monitor, "the driver is there", |poll| {
            poll.devices.len() == 2
        });
        sim.rewrite(&format!("{UNLOADED}{TWO}"));
        poll_error(&monitor, "the driver is gone", |error| {
            matches!(error, GpuError::NoDriver(_))
        });
    }
}

#[test]
fn retries_keep_their_interval() {
    let sim = Sim::new(UNLOADED);
    let interval = Duration::from_millis(500);
    let begun = Instant::now();
    let monitor = sim.builder().retry_interval(interval).poll().unwrap();
    poll_error(&monitor, "no driver", |error| {
        matches!(error, GpuError::NoDriver(_))
    });
    sim.rewrite(TWO);
    poll_latest(&monitor, "the driver is there", |poll| {
        poll.devices.len() == 2
    });
    assert!(begun.elapsed() >= interval);
}

#[test]
fn a_driver_that_is_gone_is_looked_for_when_somebody_asks() {
    let sim = Sim::new(TWO);
    let monitor = sim
        .builder()
        .retry_interval(Duration::from_hours(1))
        .open()
        .unwrap();
    sim.rewrite(UNLOADED);
    poll_until("the driver is gone", || monitor.collect_all().err());
    sim.rewrite(TWO);
    poll_until("the driver is there", || monitor.collect_all().ok());
}

#[test]
fn a_replaced_library_is_loaded() {
    let with = |version: &str| format!("driver_version = \"{version}\"\n{TWO}");
    let sim = Sim::new(&with("570.1"));
    let monitor = sim.builder().poll().unwrap();
    let version = |poll: &Poll| poll.devices[&0].identity.driver_version.clone();
    let poll = poll_latest(&monitor, "the first", |poll| poll.devices.len() == 2);
    assert_eq!(version(&poll), "570.1");
    // The old library, still loaded, is not the new driver's.
    let mismatch = "LIB_RM_VERSION_MISMATCH";
    sim.rewrite(&format!(
        "[errors]\nnvmlDeviceGetCount_v2 = \"{mismatch}\"\n{TWO}"
    ));
    poll_error(&monitor, "the mismatch", |error| {
        matches!(error, GpuError::NoDriver(_))
    });
    let old = mapped_inodes(&sim);
    sim.install(&with("580.95.05"));
    let poll = poll_latest(&monitor, "the second", |poll| poll.devices.len() == 2);
    assert_eq!(version(&poll), "580.95.05");
    let new = mapped_inodes(&sim);
    assert_eq!(new.len(), 1, "only the new library is loaded");
    assert_ne!(old, new);
}

/// The inodes of all libraries of this simulator's folder that are loaded.
fn mapped_inodes(sim: &Sim) -> Vec<String> {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let path = sim.library.to_str().unwrap();
    let lines = maps.lines().filter(|line| line.contains(path));
    let mut inodes: Vec<_> = lines
        .map(|line| line.split_whitespace().nth(4).unwrap().to_owned())
        .collect();
    inodes.dedup();
    inodes
}

#[test]
fn fields_of_newer_drivers() {
    for version in ["580.65.06", "580.82.07", "590.1"] {
        let script = format!(
            "driver_version = \"{version}\"\n[[gpus]]\nmodel = \"h200\"\n[gpus.values]\n\
             throttled_sw_thermal_ns = 1500000000\nthrottled_hw_thermal_ns = 2000000000\n\
             throttled_hw_power_brake_ns = 3250000000\n"
        );
        let sim = Sim::new(&script);
        let reasons = sim.open().device(0).unwrap().throttle_reasons;
        let time = |reason| {
            reasons
                .iter()
                .find(|it| it.reason == reason)
                .unwrap()
                .seconds
        };
        assert_eq!(time("sw_thermal_slowdown"), Some(1.5), "{version}");
        assert_eq!(time("hw_thermal_slowdown"), Some(2.0), "{version}");
        assert_eq!(time("hw_power_brake_slowdown"), Some(3.25), "{version}");
    }
}

#[test]
fn versions_that_come_late() {
    let gpu = "[[gpus]]\nmodel = \"h200\"\n[gpus.values]\nthrottled_sw_thermal_ns = 1500000000\n";
    let script = |errors: &str| format!("driver_version = \"590.1\"\n{errors}{gpu}");
    let sim = Sim::new(&script(
        "[errors]\nnvmlSystemGetDriverVersion = \"UNKNOWN\"\n\
         nvmlSystemGetCudaDriverVersion_v2 = \"UNKNOWN\"\n",
    ));
    let monitor = sim.open();
    let read = || {
        let metrics = monitor.device(0).unwrap();
        let mut reasons = metrics.throttle_reasons.into_iter();
        let slowdown = reasons.find(|it| it.reason == "sw_thermal_slowdown");
        (metrics.identity, slowdown.unwrap().seconds)
    };
    let (identity, seconds) = read();
    assert_eq!(identity.driver_version, "");
    assert_eq!(identity.cuda_version, "");
    // What the driver has under the old number is something else.
    assert_eq!(seconds, None);
    sim.rewrite(&script(""));
    let (identity, seconds) = poll_until("the versions", || {
        Some(read()).filter(|(identity, _)| !identity.driver_version.is_empty())
    });
    assert_eq!(identity.driver_version, "590.1");
    assert_eq!(identity.cuda_version, "12.8");
    assert_eq!(seconds, Some(1.5));
}

#[test]
fn a_lost_device_ends_and_comes_back_alone() {
    let lost = "[[gpus]]\nmodel = \"l4\"\n[[gpus]]\nmodel = \"l4\"\nlost = true\n";
    let sim = Sim::new(TWO);
    let monitor = sim.builder().poll().unwrap();
    let before = poll_latest(&monitor, "both", |poll| poll.devices.len() == 2);
    sim.rewrite(lost);
    let poll = poll_latest(&monitor, "one is lost", |poll| poll.lost.len() == 1);
    assert_eq!(uuids(&poll), uuids(&before)[..1]);
    assert!(matches!(poll.lost[&1], GpuError::Lost { device_id: 1, .. }));
    assert!(matches!(
        monitor.device(1),
        Err(GpuError::Lost { device_id: 1, .. })
    ));
    assert!(monitor.device(0).is_ok());
    assert!(matches!(
        monitor.device(2),
        Err(GpuError::NoDevice {
            device_id: 2,
            count: 2
        })
    ));
    sim.rewrite(TWO);
    let poll = poll_latest(&monitor, "both again", |poll| poll.devices.len() == 2);
    assert_eq!(uuids(&poll), uuids(&before));
    assert!(poll.lost.is_empty());
}

#[test]
fn a_device_that_answers_nothing_is_lost() {
    let calls: Vec<_> = DEVICE_CALLS
        .map(|call| format!("{call} = \"UNKNOWN\"\n"))
        .into();
    let script = |errors: &str| {
        format!("[[gpus]]\nmodel = \"l4\"\n[gpus.errors]\n{errors}[[gpus]]\nmodel = \"l4\"\n")
    };
    let sim = Sim::new(&script(""));
    let monitor = sim
        .builder()
        .retry_interval(Duration::from_hours(1))
        .poll()
        .unwrap();
    poll_latest(&monitor, "both", |poll| poll.devices.len() == 2);
    sim.rewrite(&script(&calls.concat()));
    let poll = poll_latest(&monitor, "one is lost", |poll| poll.lost.len() == 1);
    assert_eq!(poll.devices.keys().copied().collect::<Vec<_>>(), [1]);
    sim.rewrite(&script(""));
    poll_latest(&monitor, "both again", |poll| poll.devices.len() == 2);
}

/// Calls that the monitor makes for each poll of such a device.
const DEVICE_CALLS: [&str; 23] = [
    "nvmlDeviceGetFieldValues",
    "nvmlDeviceGetUtilizationRates",
    "nvmlDeviceGetMPSComputeRunningProcesses_v3",
    "nvmlDeviceGetEncoderUtilization",
    "nvmlDeviceGetDecoderUtilization",
    "nvmlDeviceGetTemperature",
    "nvmlDeviceGetMemoryInfo_v2",
    "nvmlDeviceGetPowerUsage",
    "nvmlDeviceGetEnforcedPowerLimit",
    "nvmlDeviceGetTotalEnergyConsumption",
    "nvmlDeviceGetClockInfo",
    "nvmlDeviceGetFanSpeed_v2",
    "nvmlDeviceGetCurrPcieLinkGeneration",
    "nvmlDeviceGetCurrPcieLinkWidth",
    "nvmlDeviceGetPcieReplayCounter",
    "nvmlDeviceGetPcieThroughput",
    "nvmlDeviceGetCurrentClocksThrottleReasons",
    "nvmlDeviceGetTotalEccErrors",
    "nvmlDeviceGetMemoryErrorCounter",
    "nvmlDeviceGetMigMode",
    "nvmlDeviceGetComputeRunningProcesses_v3",
    "nvmlDeviceGetGraphicsRunningProcesses_v3",
    "nvmlDeviceGetProcessUtilization",
];

#[test]
fn a_removed_device_comes_back() {
    let removed =
        "[[gpus]]\nmodel = \"l4\"\nabsent = true\n[[gpus]]\nmodel = \"l4\"\nlost = true\n";
    let sim = Sim::new(TWO);
    let monitor = sim.builder().poll().unwrap();
    let before = poll_latest(&monitor, "both", |poll| poll.devices.len() == 2);
    // Something is lost, and at the next initialisation the other is not there any more.
    sim.rewrite(removed);
    poll_latest(&monitor, "one is counted", |poll| {
        poll.devices.is_empty() && poll.lost.len() == 1
    });
    sim.rewrite(&removed.replace("lost = true", ""));
    let poll = poll_latest(&monitor, "one is there", |poll| poll.devices.len() == 1);
    assert_eq!(uuids(&poll), uuids(&before)[1..]);
    sim.rewrite(TWO);
    let poll = poll_latest(&monitor, "both again", |poll| poll.devices.len() == 2);
    assert_eq!(uuids(&poll), uuids(&before));
}

#[test]
fn a_device_without_a_handle_does_not_hide_the_others() {
    let script = "[[gpus]]\nmodel = \"l4\"\n[gpus.errors]\n\
                  nvmlDeviceGetHandleByIndex_v2 = \"INSUFFICIENT_POWER\"\n[[gpus]]\nmodel = \"l4\"\n";
    let sim = Sim::new(script);
    let metrics = sim.open().collect_all().unwrap();
    assert_eq!(metrics.keys().copied().collect::<Vec<_>>(), [1]);
}
