//! The columns of `nvidia-smi`, how it writes numbers, and the monitor's readings beside them.
//!
//! Knows nothing of how either is asked.

use monitoring::gpu::{GpuMetrics, Named};

/// A column of `nvidia-smi`, what the monitor has of it, and how far they may be apart: a share of
/// the greater, and beyond that a number, in the column's own unit.
pub(crate) type Column = (&'static str, fn(&GpuMetrics) -> Option<f64>, f64, f64);

const MEBIBYTE: f64 = 1_048_576.0;

/// What does not change by itself, or only slowly: equal but for the last digit that is shown.
pub(crate) const STEADY: [Column; 16] = [
    ("index", |gpu| Some(f64::from(gpu.device_id)), 0.0, 0.0),
    (
        "memory.total",
        |gpu| gpu.memory.map(|it| it.total_bytes as f64 / MEBIBYTE),
        0.0,
        1.0,
    ),
    (
        "memory.reserved",
        |gpu| Some(gpu.memory?.reserved_bytes? as f64 / MEBIBYTE),
        0.0,
        1.0,
    ),
    (
        "enforced.power.limit",
        |gpu| gpu.power_limit_watts,
        0.0,
        0.01,
    ),
    (
        "clocks.max.graphics",
        |gpu| megahertz(&gpu.clocks_max_hertz, "graphics"),
        0.0,
        0.0,
    ),
    (
        "clocks.max.sm",
        |gpu| megahertz(&gpu.clocks_max_hertz, "sm"),
        0.0,
        0.0,
    ),
    (
        "clocks.max.memory",
        |gpu| megahertz(&gpu.clocks_max_hertz, "memory"),
        0.0,
        0.0,
    ),
    (
        "pcie.link.width.current",
        |gpu| gpu.pcie.link_width.map(f64::from),
        0.0,
        0.0,
    ),
    (
        "ecc.errors.corrected.volatile.total",
        |gpu| ecc(gpu, "corrected", "volatile"),
        0.0,
        0.0,
    ),
    (
        "ecc.errors.corrected.aggregate.total",
        |gpu| ecc(gpu, "corrected", "aggregate"),
        0.0,
        0.0,
    ),
    (
        "ecc.errors.uncorrected.volatile.total",
        |gpu| ecc(gpu, "uncorrected", "volatile"),
        0.0,
        0.0,
    ),
    (
        "ecc.errors.uncorrected.aggregate.total",
        |gpu| ecc(gpu, "uncorrected", "aggregate"),
        0.0,
        0.0,
    ),
    (
        "retired_pages.single_bit_ecc.count",
        |gpu| count(&gpu.retired_pages, "single_bit"),
        0.0,
        0.0,
    ),
    (
        "retired_pages.double_bit.count",
        |gpu| count(&gpu.retired_pages, "double_bit"),
        0.0,
        0.0,
    ),
    (
        "clocks_event_reasons_counters.sync_boost",
        |gpu| throttled_microseconds(gpu, "sync_boost"),
        0.0,
        1.0,
    ),
    (
        "fan.speed",
        |gpu| gpu.fan_speed_ratios.first().map(|fan| fan * 100.0),
        0.0,
        5.0,
    ),
];

/// What changes: near what was read a moment before or after.
pub(crate) const CHANGING: [Column; 15] = [
    ("temperature.gpu", |gpu| gpu.temperature.get(), 0.0, 3.0),
    (
        "temperature.memory",
        |gpu| gpu.memory_temperature_celsius,
        0.0,
        3.0,
    ),
    (
        "memory.used",
        |gpu| gpu.memory.map(|it| it.used_bytes as f64 / MEBIBYTE),
        0.05,
        1024.0,
    ),
    (
        "memory.free",
        |gpu| gpu.memory.map(|it| it.free_bytes as f64 / MEBIBYTE),
        0.05,
        1024.0,
    ),
    ("power.draw.average", |gpu| gpu.power_watts, 0.3, 30.0),
    ("utilization.gpu", |gpu| gpu.utilization.get(), 0.0, 30.0),
    (
        "utilization.memory",
        |gpu| gpu.memory_utilization_ratio.map(|it| it * 100.0),
        0.0,
        30.0,
    ),
    (
        "utilization.encoder",
        |gpu| gpu.encoder_utilization_ratio.map(|it| it * 100.0),
        0.0,
        30.0,
    ),
    (
        "utilization.decoder",
        |gpu| gpu.decoder_utilization_ratio.map(|it| it * 100.0),
        0.0,
        30.0,
    ),
    (
        "clocks.current.graphics",
        |gpu| megahertz(&gpu.clocks_hertz, "graphics"),
        0.3,
        100.0,
    ),
    (
        "clocks.current.sm",
        |gpu| megahertz(&gpu.clocks_hertz, "sm"),
        0.3,
        100.0,
    ),
    (
        "clocks.current.memory",
        |gpu| megahertz(&gpu.clocks_hertz, "memory"),
        0.1,
        0.0,
    ),
    (
        "clocks.current.video",
        |gpu| megahertz(&gpu.clocks_hertz, "video"),
        0.3,
        100.0,
    ),
    (
        "pcie.link.gen.current",
        |gpu| gpu.pcie.link_generation.map(f64::from),
        0.0,
        0.0,
    ),
    ("clocks_event_reasons.active", active_reasons, 0.0, 0.0),
];

/// NVML's bits of the reasons.
const REASONS: [(&str, u32); 9] = [
    ("gpu_idle", 0x1),
    ("applications_clocks_setting", 0x2),
    ("sw_power_cap", 0x4),
    ("hw_slowdown", 0x8),
    ("sync_boost", 0x10),
    ("sw_thermal_slowdown", 0x20),
    ("hw_thermal_slowdown", 0x40),
    ("hw_power_brake_slowdown", 0x80),
    ("display_clock_setting", 0x100),
];

/// What `nvidia-smi` has beside its columns of GPUs, and the monitor's name for it.
pub(crate) const REMAPPED_ROWS: [(&str, &str); 4] = [
    ("remapped_rows.correctable", "correctable"),
    ("remapped_rows.uncorrectable", "uncorrectable"),
    ("remapped_rows.pending", "pending"),
    ("remapped_rows.failure", "failure"),
];

/// A number of `nvidia-smi`, or nothing where it says that there is none.
pub(crate) fn number(cell: &str) -> Option<f64> {
    match cell {
        "Yes" => Some(1.0),
        "No" => Some(0.0),
        _ => match cell.strip_prefix("0x") {
            Some(bits) => u32::from_str_radix(bits, 16).ok().map(f64::from),
            None => cell.parse().ok(),
        },
    }
}

/// The reasons that hold, as the driver has them. Nothing where it tells of none.
fn active_reasons(gpu: &GpuMetrics) -> Option<f64> {
    let told = gpu.throttle_reasons.iter();
    let told = told.filter_map(|it| it.active.map(|active| (it.reason, active)));
    let bit = |name| REASONS.iter().find(|(reason, _)| *reason == name);
    let bits = told.map(|(reason, active)| match bit(reason) {
        Some((_, bit)) => u32::from(active) * bit,
        None => panic!("the driver has no bit for {reason}"),
    });
    bits.reduce(|all, bit| all | bit).map(f64::from)
}

fn megahertz(clocks: &[Named<f64>], name: &str) -> Option<f64> {
    let found = clocks.iter().find(|clock| clock.name == name);
    found.map(|clock| clock.value / 1e6)
}

/// The errors of all locations, or of `all` where the device tells only that.
fn ecc(gpu: &GpuMetrics, kind: &str, scope: &str) -> Option<f64> {
    let errors = gpu.ecc_errors.iter();
    let errors = errors.filter(|it| (it.kind, it.scope) == (kind, scope));
    let all = errors.clone().find(|it| it.location == "all");
    let counts = errors.map(|it| it.count);
    let sum = all
        .map(|it| it.count)
        .or_else(|| counts.reduce(|a, b| a + b));
    sum.map(|count| count as f64)
}

pub(crate) fn count(counts: &[Named<u64>], name: &str) -> Option<f64> {
    counts
        .iter()
        .find(|it| it.name == name)
        .map(|it| it.value as f64)
}

pub(crate) fn throttled_microseconds(gpu: &GpuMetrics, reason: &str) -> Option<f64> {
    let reasons = gpu.throttle_reasons.iter();
    let found = reasons.clone().find(|it| it.reason == reason)?;
    found.seconds.map(|seconds| seconds * 1e6)
}
