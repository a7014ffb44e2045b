//! Calls that fail for a while: what they tell comes back.

use monitoring::gpu::{GpuError, GpuMetrics};

use super::rig::{Sim, named, poll_until};

/// It counts what goes over its link, so that no call has to measure it.
const GPU: &str = "[[gpus]]\nmodel = \"rtx4090\"\n[gpus.values]\n\
    pcie_tx_bytes = 0\npcie_rx_bytes = 0\n";

fn failing(calls: &[&str], error: &str) -> String {
    let errors = calls.iter().map(|call| format!("{call} = \"{error}\"\n"));
    let errors: Vec<_> = errors.collect();
    format!("{GPU}[gpus.errors]\n{}", errors.concat())
}

/// What is read once, as long as it does not fail.
const ONCE: [&str; 10] = [
    "nvmlDeviceGetName",
    "nvmlDeviceGetVbiosVersion",
    "nvmlDeviceGetPciInfo_v3",
    "nvmlDeviceGetMaxClockInfo",
    "nvmlDeviceGetTemperatureThreshold",
    "nvmlDeviceGetSupportedClocksThrottleReasons",
    "nvmlDeviceGetNumFans",
    "nvmlDeviceGetMaxPcieLinkGeneration",
    "nvmlDeviceGetMaxPcieLinkWidth",
    "nvmlGpmQueryDeviceSupport",
];

fn once(metrics: &GpuMetrics) -> [bool; 6] {
    let identity = &metrics.identity;
    [
        !identity.name.is_empty(),
        !identity.vbios.is_empty(),
        !identity.pci_bus_id.is_empty(),
        metrics.clocks_max_hertz.len() == 4,
        named(&metrics.temperature_thresholds_celsius, "shutdown").is_some(),
        !metrics.fan_speed_ratios.is_empty(),
    ]
}

#[test]
fn what_is_read_once_is_read_in_the_end() {
    for error in ["UNKNOWN", "TIMEOUT", "NO_PERMISSION", "INVALID_ARGUMENT"] {
        let sim = Sim::new(&failing(&ONCE, error));
        let monitor = sim.open();
        assert_eq!(once(&monitor.device(0).unwrap()), [false; 6], "{error}");
        sim.rewrite(GPU);
        poll_until(error, || {
            let metrics = monitor.device(0).unwrap();
            (once(&metrics) == [true; 6]).then_some(())
        });
    }
}

#[test]
fn what_was_read_stays_when_it_fails_later() {
    let sim = Sim::new(GPU);
    let monitor = sim.open();
    let before = monitor.device(0).unwrap();
    sim.rewrite(&failing(&ONCE, "UNKNOWN"));
    // Longer than anything is kept without being read again.
    for _ in 0..100 {
        let metrics = monitor.device(0).unwrap();
        assert_eq!(metrics.identity, before.identity);
        assert_eq!(metrics.clocks_max_hertz, before.clocks_max_hertz);
        assert_eq!(
            metrics.fan_speed_ratios.len(),
            before.fan_speed_ratios.len()
        );
    }
}

#[test]
fn thresholds_can_be_set() {
    let sim = Sim::new(&format!("{GPU}threshold_acoustic_current = 70\n"));
    let monitor = sim.open();
    let threshold = || {
        let thresholds = monitor.device(0).unwrap().temperature_thresholds_celsius;
        named(&thresholds, "acoustic_current")
    };
    assert_eq!(threshold(), Some(70.0));
    sim.rewrite(&format!("{GPU}threshold_acoustic_current = 75\n"));
    poll_until("the new one", || (threshold() == Some(75.0)).then_some(()));
}

#[test]
fn what_is_refused_is_tried_again() {
    for error in ["NO_PERMISSION", "INVALID_ARGUMENT"] {
        let calls = ["nvmlDeviceGetTemperature", "nvmlDeviceGetFieldValues"];
        let sim = Sim::new(&failing(&calls, error));
        let monitor = sim.open();
        let metrics = monitor.device(0).unwrap();
        assert_eq!(metrics.temperature.get(), None);
        assert!(metrics.unsupported.contains(&calls[0]), "{error}");
        sim.rewrite(GPU);
        poll_until(error, || {
            let metrics = monitor.device(0).unwrap();
            let here = calls.iter().all(|call| !metrics.unsupported.contains(call));
            (here && metrics.temperature.get().is_some()).then_some(())
        });
    }
}

#[test]
fn a_device_without_its_uuid_is_not_found_yet() {
    let sim = Sim::new(&failing(&["nvmlDeviceGetUUID"], "UNKNOWN"));
    let monitor = sim.open();
    let error = monitor.device(0).unwrap_err();
    assert!(
        matches!(error, GpuError::Lost { device_id: 0, .. }),
        "{error}"
    );
    sim.rewrite(GPU);
    let metrics = poll_until("the device", || monitor.device(0).ok());
    assert_ne!(metrics.identity.uuid, "");
}

#[test]
fn a_library_that_lacks_another_lacks_one_reading() {
    let sim = Sim::new(&failing(&["nvmlDeviceGetTemperature"], "LIBRARY_NOT_FOUND"));
    let monitor = sim.open();
    let metrics = monitor.device(0).unwrap();
    assert_eq!(metrics.temperature.get(), None);
    assert!(metrics.power_watts.is_some());
}

#[test]
fn links_that_are_down_hide_no_others() {
    let errors = |replays: &str| {
        format!("[[gpus]]\nmodel = \"v100\"\n[gpus.values]\nnvlink_replay_errors = {replays}\n")
    };
    let sim = Sim::new(&errors("[1, \"NOT_SUPPORTED\", 3, 4, 5, 6]"));
    let monitor = sim.open();
    let replays = || named(&monitor.device(0).unwrap().nvlink.errors, "replay");
    assert_eq!(replays(), Some(19));
    // What a link counted stays when it goes down, and what one counts that comes up is there.
    sim.rewrite(&errors("[\"NOT_SUPPORTED\", 2, 3, 4, 5, 6]"));
    poll_until("the other link", || (replays() == Some(21)).then_some(()));
}

#[test]
fn fields_whose_numbers_are_not_known_are_not_read() {
    let field = "NVML_FI_DEV_CLOCKS_EVENT_REASON_HW_THERM_SLOWDOWN";
    let told = |errors: &str| {
        let script =
            format!("driver_version = \"580.95.05\"\n{errors}[[gpus]]\nmodel = \"v100\"\n");
        let metrics = Sim::new(&script).open().device(0).unwrap();
        metrics.unsupported.contains(&field)
    };
    assert!(told(""), "it was asked for");
    assert!(!told(
        "[errors]\nnvmlSystemGetDriverVersion = \"UNKNOWN\"\n"
    ));
}
