//! Every reading of every model that the simulator has, with a number of its own in each.
//!
//! What a model's file does not mention is not supported by it, and must be absent.

use std::fmt::Write;

use monitoring::gpu::{GpuMetrics, GpuMonitor};
use toml::{Table, Value};

use super::rig::{Sim, assert_close, named, poll_until};

macro_rules! models {
    ($($model:ident),*) => {$(
        #[test]
        fn $model() {
            let file = concat!("../../../sim/nvml/src/models/", stringify!($model), ".toml");
            check(stringify!($model), include_str!(concat!(
                "../../../sim/nvml/src/models/", stringify!($model), ".toml"
            )), file);
        }
    )*};
}

models!(a100, b200, h100, h200, l4, rtx4090, t4, v100);

/// Values that say what a device is, or whose numbers are limited.
const KEPT: [&str; 13] = [
    "architecture",
    "brand",
    "event_types",
    "fan_speed",
    "gpm_supported",
    "mig_max",
    "mig_mode",
    "mig_mode_pending",
    "nvlink_active",
    "nvlink_links",
    "sample_period_us",
    "throttle_reasons",
    "throttle_reasons_supported",
];

fn check(model: &str, file: &str, name: &str) {
    let mut values: Table = file
        .parse()
        .unwrap_or_else(|error| panic!("{name}: {error}"));
    let mut script = format!("[[gpus]]\nmodel = \"{model}\"\n[gpus.values]\n");
    for (number, (key, value)) in values.iter_mut().enumerate() {
        if KEPT.contains(&key.as_str()) || key.starts_with("memory_") && key != "memory_temperature"
        {
            continue;
        }
        // Between 1 and 16, so that it may be a share, a width or a generation.
        let small = i64::try_from(number % 16).unwrap() + 1;
        let new = match value {
            Value::Integer(_) | Value::Table(_) => Value::Integer(match key.as_str() {
                key if is_small(key) => small,
                _ => 1_000_000 + i64::try_from(number).unwrap(),
            }),
            Value::Float(_) => Value::Float(f64::from(u32::try_from(small).unwrap()) + 0.5),
            _ => continue,
        };
        writeln!(script, "{key} = {new}").unwrap();
        *value = new;
    }
    let sim = Sim::new(&script);
    let monitor = sim.open();
    let metrics = settled(&monitor, &values);
    let expected = Expected {
        values: &values,
        metrics: &metrics,
    };
    expected.check_levels();
    expected.check_memory();
    expected.check_link();
    expected.check_throttling();
    expected.check_errors();
    expected.check_nvlink();
    expected.check_activity();
    expected.check_identity(model);
}

fn is_small(key: &str) -> bool {
    let shares = key.contains("utilization") && !key.contains("throttled");
    shares || key.starts_with("pcie_generation") || key.starts_with("pcie_width")
}

/// The first reading with what is measured between two polls.
fn settled(monitor: &GpuMonitor, values: &Table) -> GpuMetrics {
    poll_until("rates", || {
        let metrics = monitor.device(0).unwrap();
        let sampled = !values.contains_key("gpm_sm") || metrics.activity.sm_ratio.is_some();
        let rated = metrics.pcie.transmitted_bytes_per_second.is_some();
        (sampled && rated).then_some(metrics)
    })
}

struct Expected<'a> {
    values: &'a Table,
    metrics: &'a GpuMetrics,
}

impl Expected<'_> {
    #[allow(clippy::cast_precision_loss)]
    fn number(&self, key: &str) -> Option<f64> {
        match self.values.get(key)? {
            Value::Integer(number) => Some(*number as f64),
            Value::Float(number) => Some(*number),
            other => panic!("{key} is {other}"),
        }
    }

    fn count(&self, key: &str) -> Option<u64> {
        let number = self.values.get(key)?.as_integer();
        Some(
            number
                .and_then(|number| u64::try_from(number).ok())
                .unwrap(),
        )
    }

    fn same(&self, key: &str, factor: f64, got: Option<f64>) {
        assert_close(key, got, self.number(key).map(|number| number * factor));
    }

    fn check_levels(&self) {
        let metrics = self.metrics;
        self.same("utilization_gpu", 1.0, metrics.utilization.get());
        self.same("utilization_memory", 0.01, metrics.memory_utilization_ratio);
        self.same(
            "encoder_utilization",
            0.01,
            metrics.encoder_utilization_ratio,
        );
        self.same(
            "decoder_utilization",
            0.01,
            metrics.decoder_utilization_ratio,
        );
        self.same("temperature", 1.0, metrics.temperature.get());
        self.same(
            "memory_temperature",
            1.0,
            metrics.memory_temperature_celsius,
        );
        self.same("power_usage_mw", 1e-3, metrics.power_watts);
        self.same("enforced_power_limit_mw", 1e-3, metrics.power_limit_watts);
        self.same("energy_mj", 1e-3, metrics.energy_joules);
        for clock in ["graphics", "sm", "memory", "video"] {
            let now = named(&metrics.clocks_hertz, clock);
            self.same(&format!("clock_{clock}_mhz"), 1e6, now);
            let most = named(&metrics.clocks_max_hertz, clock);
            self.same(&format!("clock_max_{clock}_mhz"), 1e6, most);
        }
        for threshold in [
            "shutdown",
            "slowdown",
            "memory_max",
            "gpu_max",
            "acoustic_min",
            "acoustic_current",
            "acoustic_max",
            "gps_current",
        ] {
            let got = named(&metrics.temperature_thresholds_celsius, threshold);
            self.same(&format!("threshold_{threshold}"), 1.0, got);
        }
        let fans = match self.values.get("fan_speed") {
            Some(Value::Array(fans)) => fans.iter().filter_map(Value::as_integer).collect(),
            Some(fan) => vec![fan.as_integer().unwrap()],
            None => vec![],
        };
        let fans: Vec<_> = fans
            .into_iter()
            .map(|fan| f64::from(i32::try_from(fan).unwrap()) / 100.0)
            .collect();
        assert_eq!(metrics.fan_speed_ratios, fans);
    }

    fn check_memory(&self) {
        let memory = self.metrics.memory.unwrap();
        let total = self.count("memory_total").unwrap();
        let used = self.count("memory_used").unwrap();
        let reserved = self.count("memory_reserved").unwrap();
        assert_eq!(memory.total_bytes, total);
        assert_eq!(memory.used_bytes, used);
        assert_eq!(memory.reserved_bytes, Some(reserved));
        assert_eq!(memory.free_bytes, total - used - reserved);
        #[allow(clippy::cast_precision_loss)]
        let (used, total) = (used as f64 / 1e6, total as f64 / 1e6);
        assert_eq!(self.metrics.memory_used_mb().get(), Some(used));
        assert_eq!(self.metrics.memory_total_mb().get(), Some(total));
    }

    fn check_link(&self) {
        let pcie = &self.metrics.pcie;
        assert_eq!(pcie.replays, self.count("pcie_replays"));
        assert_eq!(
            pcie.link_generation.map(u64::from),
            self.count("pcie_generation")
        );
        assert_eq!(pcie.link_width.map(u64::from), self.count("pcie_width"));
        let (transmitted, received) = (
            pcie.transmitted_bytes_per_second,
            pcie.received_bytes_per_second,
        );
        if self.values.contains_key("gpm_supported") {
            self.same("gpm_pcie_tx_mib", 1_048_576.0, transmitted);
            self.same("gpm_pcie_rx_mib", 1_048_576.0, received);
        } else if self.values.contains_key("pcie_tx_bytes") {
            assert_eq!((transmitted, received), (Some(0.0), Some(0.0)));
        } else {
            self.same("pcie_tx_kb_per_second", 1e3, transmitted);
            self.same("pcie_rx_kb_per_second", 1e3, received);
        }
    }

    fn check_throttling(&self) {
        let time = |reason: &str| {
            let reasons = &self.metrics.throttle_reasons;
            reasons
                .iter()
                .find(|it| it.reason == reason)
                .and_then(|it| it.seconds)
        };
        self.same("throttled_power_ns", 1e-9, time("sw_power_cap"));
        self.same("throttled_sync_boost_ns", 1e-9, time("sync_boost"));
        self.same("throttled_board_limit_ns", 1e-9, time("board_limit"));
        self.same(
            "throttled_low_utilization_ns",
            1e-9,
            time("low_utilization"),
        );
        self.same("throttled_reliability_ns", 1e-9, time("reliability"));
        self.same("throttled_hw_thermal_ns", 1e-9, time("hw_thermal_slowdown"));
        self.same(
            "throttled_hw_power_brake_ns",
            1e-9,
            time("hw_power_brake_slowdown"),
        );
        let renamed = self.values.contains_key("throttled_sw_thermal_ns");
        let thermal = if renamed {
            "throttled_sw_thermal_ns"
        } else {
            "throttled_thermal_ns"
        };
        self.same(thermal, 1e-9, time("sw_thermal_slowdown"));
    }

    fn check_errors(&self) {
        let metrics = self.metrics;
        let mut ecc = 0;
        for kind in ["corrected", "uncorrected"] {
            for scope in ["volatile", "aggregate"] {
                for (location, key) in [
                    ("all", ""),
                    ("l1_cache", "_l1_cache"),
                    ("l2_cache", "_l2_cache"),
                    ("device_memory", "_device_memory"),
                    ("register_file", "_register_file"),
                    ("texture_memory", "_texture_memory"),
                    ("shared_memory", "_texture_shm"),
                    ("cbu", "_cbu"),
                    ("sram", "_sram"),
                ] {
                    let got = metrics
                        .ecc_errors
                        .iter()
                        .find(|it| (it.kind, it.scope, it.location) == (kind, scope, location));
                    let counters = format!("ecc_{kind}_{scope}");
                    let has = |location| self.values.contains_key(&format!("{counters}{location}"));
                    // No error counts twice: sums exclude their parts.
                    let told = match location {
                        "all" => !has("_sram") && !has("_device_memory"),
                        "device_memory" | "sram" => true,
                        _ => !has("_sram"),
                    };
                    let key = format!("{counters}{key}");
                    let want = self.count(&key).filter(|_| told);
                    assert_eq!(got.map(|it| it.count), want, "{key}");
                    ecc += usize::from(got.is_some());
                }
            }
        }
        assert_eq!(metrics.ecc_errors.len(), ecc);
        for kind in ["correctable", "uncorrectable", "pending", "failure"] {
            let key = format!("remapped_rows_{kind}");
            assert_eq!(
                named(&metrics.remapped_rows, kind),
                self.count(&key),
                "{key}"
            );
        }
        for cause in ["single_bit", "double_bit"] {
            let key = format!("retired_pages_{cause}");
            assert_eq!(
                named(&metrics.retired_pages, cause),
                self.count(&key),
                "{key}"
            );
        }
    }

    fn check_nvlink(&self) {
        let nvlink = &self.metrics.nvlink;
        let bytes = |key| self.count(key).map(|kibibytes| kibibytes * 1024);
        assert_eq!(nvlink.transmitted_bytes, bytes("nvlink_tx_kib"));
        assert_eq!(nvlink.received_bytes, bytes("nvlink_rx_kib"));
        let links = self.count("nvlink_links");
        for error in ["crc_flit", "crc_data", "replay", "recovery"] {
            let key = format!("nvlink_{error}_errors");
            let want = self
                .count(&key)
                .zip(links)
                .map(|(count, links)| count * links);
            assert_eq!(named(&nvlink.errors, error), want, "{key}");
        }
    }

    fn check_activity(&self) {
        let activity = &self.metrics.activity;
        self.same("gpm_graphics", 0.01, activity.graphics_ratio);
        self.same("gpm_sm", 0.01, activity.sm_ratio);
        self.same("gpm_sm_occupancy", 0.01, activity.sm_occupancy_ratio);
        self.same("gpm_dram", 0.01, activity.dram_ratio);
        for kind in ["any", "dfma", "hmma", "imma"] {
            let got = named(&activity.tensor_ratios, kind);
            self.same(&format!("gpm_{kind}_tensor"), 0.01, got);
        }
        for format in ["fp64", "fp32", "fp16", "integer"] {
            let got = named(&activity.arithmetic_ratios, format);
            self.same(&format!("gpm_{format}"), 0.01, got);
        }
        let mebibyte = 1_048_576.0;
        let sent = activity.nvlink_transmitted_bytes_per_second;
        self.same("gpm_nvlink_tx_mib", mebibyte, sent);
        let received = activity.nvlink_received_bytes_per_second;
        self.same("gpm_nvlink_rx_mib", mebibyte, received);
        let sent = activity.pcie_transmitted_bytes_per_second;
        self.same("gpm_pcie_tx_mib", mebibyte, sent);
        let received = activity.pcie_received_bytes_per_second;
        self.same("gpm_pcie_rx_mib", mebibyte, received);
    }

    fn check_identity(&self, model: &str) {
        let identity = &self.metrics.identity;
        let text = |key: &str| self.values[key].as_str().unwrap();
        assert_eq!(identity.name, text("name"));
        assert_eq!(identity.vbios, text("vbios_version"));
        assert_eq!(identity.driver_version, "570.124.06");
        assert_eq!(identity.cuda_version, "12.8");
        assert_eq!(identity.uuid, "GPU-00000000-5107-4a7e-8d1e-000000000000");
        assert_eq!(identity.pci_bus_id, "00000000:19:00.0");
        let serial = self.values.contains_key("serial");
        assert_eq!(!identity.serial.is_empty(), serial, "{model}");
        assert_eq!(self.metrics.device_id, 0);
        assert!(self.metrics.mig.is_empty());
        assert!(self.metrics.processes.is_empty());
        assert!(self.metrics.xid_errors.is_empty());
    }
}
