//! GPUs.

use std::collections::HashSet;

use super::{ROWS, name};
use crate::monitor::{change::Change, snapshot::Wanted};

/// Reasons for lower clocks that are no trouble.
const NO_TROUBLE: [&str; 3] = [
    "gpu_idle",
    "applications_clocks_setting",
    "display_clock_setting",
];

/// A GPU.
#[derive(Debug)]
pub(in crate::monitor) struct Gpu {
    /// NVML's number.
    pub(in crate::monitor) number: String,
    pub(in crate::monitor) name: Option<String>,
    /// It does not answer.
    pub(in crate::monitor) is_lost: bool,
    /// Share of time in which a kernel ran.
    pub(in crate::monitor) utilization: Option<f64>,
    /// Share of its multiprocessors that had work.
    pub(in crate::monitor) sm_activity: Option<f64>,
    pub(in crate::monitor) memory_used: Option<f64>,
    pub(in crate::monitor) memory_total: Option<f64>,
    pub(in crate::monitor) celsius: Option<f64>,
    /// Where it slows down.
    pub(in crate::monitor) celsius_limit: Option<f64>,
    pub(in crate::monitor) watts: Option<f64>,
    pub(in crate::monitor) watts_limit: Option<f64>,
    pub(in crate::monitor) clock_hertz: Option<f64>,
    /// What makes it slower, apart from what is no trouble. Nothing if it tells none.
    pub(in crate::monitor) throttled: Option<Vec<String>>,
    /// Critical errors of the driver, since the agent started.
    pub(in crate::monitor) xids: Option<f64>,
    /// Uncorrected errors of memory, since the driver was loaded.
    pub(in crate::monitor) ecc: Option<f64>,
    pub(in crate::monitor) pcie_bytes: Option<f64>,
}

/// All GPUs, in the order of their numbers.
pub(super) fn of(change: &Change<'_>) -> Vec<Gpu> {
    let (mut known, mut seen) = (Vec::new(), HashSet::new());
    for family in ["gpu_info", "gpu_lost", "gpu_memory_total_bytes"] {
        for metric in change.new.metrics(family) {
            let gpu = (metric.label("device_id"), metric.label("uuid"));
            if seen.insert(gpu) {
                known.push(gpu);
            }
        }
    }
    known.sort_by_key(|(number, _): &(&str, &str)| number.parse::<u32>().unwrap_or(u32::MAX));
    known.truncate(ROWS);
    known
        .into_iter()
        .map(|(number, uuid)| gpu(change, number, uuid))
        .collect()
}

fn gpu(change: &Change<'_>, number: &str, uuid: &str) -> Gpu {
    let new = change.new;
    let wanted: Wanted<'_> = &[("device_id", number), ("uuid", uuid)];
    let with = |key, label| [wanted[0], wanted[1], (key, label)];
    let value = |family: &str| new.value(family, wanted);
    let first = new.with("gpu_info", wanted).next();
    Gpu {
        number: name(number),
        name: first.map(|info| name(info.label("name"))),
        is_lost: value("gpu_lost").is_some_and(|lost| lost > 0.0),
        utilization: value("gpu_utilization_ratio"),
        sm_activity: value("gpu_sm_activity_ratio"),
        memory_used: value("gpu_memory_used_bytes"),
        memory_total: value("gpu_memory_total_bytes"),
        celsius: new.value("gpu_temperature_celsius", &with("sensor", "gpu")),
        celsius_limit: new.value(
            "gpu_temperature_threshold_celsius",
            &with("threshold", "slowdown"),
        ),
        watts: value("gpu_power_watts"),
        watts_limit: value("gpu_power_limit_watts"),
        clock_hertz: new.value("gpu_clock_hertz", &with("clock", "sm")),
        throttled: throttled(change, wanted),
        xids: value("gpu_xid_errors_total"),
        ecc: new.value(
            "gpu_ecc_errors_total",
            &[
                wanted[0],
                wanted[1],
                ("kind", "uncorrected"),
                ("scope", "volatile"),
            ],
        ),
        pcie_bytes: value("gpu_pcie_bytes_per_second"),
    }
}

fn throttled(change: &Change<'_>, wanted: Wanted<'_>) -> Option<Vec<String>> {
    let mut reasons = None;
    for metric in change.new.with("gpu_throttle_active", wanted).take(ROWS) {
        let reasons: &mut Vec<String> = reasons.get_or_insert_default();
        let reason = metric.label("reason");
        let is_active = metric.value == crate::scrape::family::Value::Number(1.0);
        if is_active && !NO_TROUBLE.contains(&reason) {
            reasons.push(name(reason));
        }
    }
    reasons
}
