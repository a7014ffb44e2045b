//! What devices say that is no number or no text, and calls that fail.

use monitoring::gpu::{GpuError, GpuMetrics, Reading};

use super::rig::{Sim, named};

fn read(model: &str, rest: &str) -> GpuMetrics {
    let sim = Sim::new(&format!("[[gpus]]\nmodel = \"{model}\"\n{rest}"));
    sim.open().device(0).unwrap()
}

#[test]
fn all_bits_set_is_absent() {
    let rest = "[gpus.values]\nutilization_gpu = 4294967295\ntemperature = 4294967295\n\
                power_usage_mw = 4294967295\nenergy_mj = -1\nclock_sm_mhz = 4294967295\n\
                memory_temperature = 4294967295\npcie_replays = 4294967295\n\
                ecc_corrected_volatile_sram = -1\nencoder_utilization = 4294967295\n\
                nvlink_tx_kib = -1\nthrottled_power_ns = -1\n";
    let metrics = read("h200", rest);
    assert_eq!(metrics.utilization, Reading::ABSENT);
    assert_eq!(metrics.temperature, Reading::ABSENT);
    assert_eq!(metrics.power_watts, None);
    assert_eq!(metrics.energy_joules, None);
    assert_eq!(named(&metrics.clocks_hertz, "sm"), None);
    assert_eq!(named(&metrics.clocks_hertz, "memory"), Some(3201e6));
    assert_eq!(metrics.memory_temperature_celsius, None);
    assert_eq!(metrics.pcie.replays, None);
    assert_eq!(metrics.encoder_utilization_ratio, None);
    assert_eq!(metrics.nvlink.transmitted_bytes, None);
    let on_chip = |location| {
        let errors = metrics.ecc_errors.iter();
        errors.filter(|it| it.location == location).count()
    };
    // What is wrong once is no reason to count elsewhere.
    assert_eq!(["sram", "l2_cache", "all"].map(on_chip), [3, 0, 0]);
}

#[test]
fn more_devices_than_there_can_be_are_none() {
    let sim = Sim::new(&"[[gpus]]\nmodel = \"l4\"\n".repeat(129));
    let monitor = sim.builder().open();
    let error = monitor
        .and_then(|monitor| monitor.collect_all())
        .unwrap_err();
    assert!(
        matches!(&error, GpuError::NoDriver(why) if why.contains("129")),
        "{error}"
    );
}

#[test]
fn impossible_numbers_are_absent() {
    let rest = "[gpus.values]\nutilization_gpu = 101\nutilization_memory = 4000000000\n\
                memory_used = 999999999999999\nmemory_temperature = nan\nfan_speed = [30, 4294967295]\n";
    let metrics = read("rtx4090", rest);
    assert_eq!(metrics.utilization, Reading::ABSENT);
    assert_eq!(metrics.memory_utilization_ratio, None);
    assert_eq!(metrics.memory, None);
    assert_eq!(metrics.memory_used_mb(), Reading::ABSENT);
    assert_eq!(metrics.memory_temperature_celsius, None);
    assert_eq!(metrics.fan_speed_ratios, [] as [f64; 0]);
}

#[test]
fn names_are_given_as_they_are() {
    let name = "name = [65, 34, 92, 10, 255, 66]";
    let metrics = read("l4", &format!("[gpus.values]\n{name}\nserial = \"\"\n"));
    assert_eq!(metrics.identity.name, "A\"\\\n\u{fffd}B");
    assert_eq!(metrics.identity.serial, "");
}

#[test]
fn unsupported_calls_are_absent_and_named() {
    let rest = "[gpus.errors]\nnvmlDeviceGetTemperature = \"NOT_SUPPORTED\"\n\
                nvmlDeviceGetPowerUsage = \"NO_PERMISSION\"\n\
                nvmlDeviceGetMemoryInfo_v2 = \"FUNCTION_NOT_FOUND\"\n\
                nvmlDeviceGetFieldValues = \"NOT_SUPPORTED\"\n";
    let metrics = read("v100", rest);
    assert_eq!(metrics.temperature, Reading::ABSENT);
    assert_eq!(metrics.power_watts, None);
    let memory = metrics.memory.unwrap();
    assert_eq!(memory.reserved_bytes, None, "the older call does not tell");
    assert!(memory.total_bytes > 0);
    for call in [
        "nvmlDeviceGetTemperature",
        "nvmlDeviceGetPowerUsage",
        "nvmlDeviceGetMemoryInfo_v2",
        "nvmlDeviceGetFieldValues",
        "NVML_FI_DEV_MEMORY_TEMP",
    ] {
        assert!(metrics.unsupported.contains(&call), "{call}");
    }
    // What the fields do not have, other calls may.
    assert_eq!(named(&metrics.retired_pages, "double_bit"), Some(0));
    assert_eq!(named(&metrics.nvlink.errors, "replay"), Some(0));
    let power = metrics
        .throttle_reasons
        .iter()
        .find(|it| it.reason == "sw_power_cap")
        .unwrap();
    assert_eq!(power.seconds, Some(0.0));
}

#[test]
fn what_is_unsupported_is_not_tried_again() {
    let errors = "[[gpus]]\nmodel = \"l4\"\n[gpus.errors]\n\
                  nvmlDeviceGetTemperature = \"NOT_SUPPORTED\"\n";
    let sim = Sim::new(errors);
    let monitor = sim.open();
    sim.rewrite(
        "[[gpus]]\nmodel = \"l4\"\n[gpus.values]\ntemperature = 50\npower_usage_mw = 1000\n",
    );
    let metrics = super::rig::poll_until("the new script", || {
        let metrics = monitor.device(0).unwrap();
        (metrics.power_watts == Some(1.0)).then_some(metrics)
    });
    assert_eq!(metrics.temperature, Reading::ABSENT);
    // A new session tries again.
    let monitor = sim.open();
    assert_eq!(monitor.device(0).unwrap().temperature.get(), Some(50.0));
}

#[test]
fn one_failed_call_costs_one_reading() {
    for error in ["UNKNOWN", "TIMEOUT", "NO_DATA", "IN_USE", "NOT_READY"] {
        let script = format!(
            "[[gpus]]\nmodel = \"l4\"\n[gpus.values]\npower_usage_mw = 5000\n\
             [gpus.errors]\nnvmlDeviceGetTemperature = \"{error}\"\n"
        );
        let sim = Sim::new(&script);
        let monitor = sim.open();
        let metrics = monitor.device(0).unwrap();
        assert_eq!(metrics.temperature, Reading::ABSENT, "{error}");
        assert_eq!(metrics.power_watts, Some(5.0), "{error}");
        assert!(
            !metrics.unsupported.contains(&"nvmlDeviceGetTemperature"),
            "{error}"
        );
        sim.rewrite("[[gpus]]\nmodel = \"l4\"\n");
        super::rig::poll_until("it comes back", || {
            monitor.device(0).unwrap().temperature.get()
        });
    }
}

#[test]
fn throttle_reasons_that_hold_now() {
    // Power cap and hardware slowdown hold; the device cannot tell of sync boost.
    let rest = "[gpus.values]\nthrottle_reasons = 12\nthrottle_reasons_supported = 495\n";
    let metrics = read("l4", rest);
    let active = |reason| {
        let reasons = &metrics.throttle_reasons;
        reasons
            .iter()
            .find(|it| it.reason == reason)
            .and_then(|it| it.active)
    };
    for (reason, want) in [
        ("sw_power_cap", Some(true)),
        ("hw_slowdown", Some(true)),
        ("sw_thermal_slowdown", Some(false)),
        ("hw_thermal_slowdown", Some(false)),
        ("hw_power_brake_slowdown", Some(false)),
        ("gpu_idle", Some(false)),
        ("applications_clocks_setting", Some(false)),
        ("display_clock_setting", Some(false)),
        ("sync_boost", None),
        ("board_limit", None),
    ] {
        assert_eq!(active(reason), want, "{reason}");
    }
}
