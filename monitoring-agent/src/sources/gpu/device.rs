//! What a GPU's readings become, in base units.

use monitoring::gpu::{Activity, GpuMetrics, Named};

use super::{catalogue as metrics, sheet::Rows, text};

/// Values of the label `direction`, as everywhere in the agent, seen from the GPU.
const RECEIVE: [(&str, &str); 1] = [("direction", "receive")];
const TRANSMIT: [(&str, &str); 1] = [("direction", "transmit")];

/// Adds a GPU's readings, but for its MIG instances and processes, to its rows.
pub(super) fn put(gpu: &GpuMetrics, rows: &mut Rows<'_>) {
    identity(gpu, rows);
    utilization(gpu, rows);
    memory(gpu, rows);
    heat(gpu, rows);
    speed(gpu, rows);
    errors(gpu, rows);
    links(gpu, rows);
    activity(&gpu.activity, rows);
}

fn identity(gpu: &GpuMetrics, rows: &mut Rows<'_>) {
    let identity = &gpu.identity;
    let names = [
        ("cuda_version", &*text(&identity.cuda_version)),
        ("driver_version", &*text(&identity.driver_version)),
        ("name", &*text(&identity.name)),
        ("pci_bus_id", &*text(&identity.pci_bus_id)),
        ("serial", &*text(&identity.serial)),
        ("vbios", &*text(&identity.vbios)),
    ];
    rows.put_with(&metrics::INFO, &names, 1.0);
}

fn utilization(gpu: &GpuMetrics, rows: &mut Rows<'_>) {
    let ratio = gpu.utilization.get().map(|percent| percent / 100.0);
    rows.put(&metrics::UTILIZATION, ratio);
    rows.put(&metrics::MEMORY_UTILIZATION, gpu.memory_utilization_ratio);
    rows.put(&metrics::ENCODER_UTILIZATION, gpu.encoder_utilization_ratio);
    rows.put(&metrics::DECODER_UTILIZATION, gpu.decoder_utilization_ratio);
}

fn memory(gpu: &GpuMetrics, rows: &mut Rows<'_>) {
    let Some(memory) = &gpu.memory else { return };
    rows.put(&metrics::MEMORY_USED, memory.used_bytes as f64);
    rows.put(&metrics::MEMORY_FREE, memory.free_bytes as f64);
    let reserved = memory.reserved_bytes.map(|bytes| bytes as f64);
    rows.put(&metrics::MEMORY_RESERVED, reserved);
    rows.put(&metrics::MEMORY_TOTAL, memory.total_bytes as f64);
}

fn heat(gpu: &GpuMetrics, rows: &mut Rows<'_>) {
    let sensors = [
        ("gpu", gpu.temperature.get()),
        ("memory", gpu.memory_temperature_celsius),
    ];
    for (sensor, celsius) in sensors {
        rows.put_with(&metrics::TEMPERATURE, &[("sensor", sensor)], celsius);
    }
    for Named { name, value } in &gpu.temperature_thresholds_celsius {
        let label = [("threshold", *name)];
        rows.put_with(&metrics::TEMPERATURE_THRESHOLD, &label, *value);
    }
    for (fan, ratio) in gpu.fan_speed_ratios.iter().enumerate() {
        rows.put_with(&metrics::FAN_SPEED, &[("fan", &fan.to_string())], *ratio);
    }
    rows.put(&metrics::POWER, gpu.power_watts);
    rows.put(&metrics::POWER_LIMIT, gpu.power_limit_watts);
    rows.put(&metrics::ENERGY, gpu.energy_joules);
}

fn speed(gpu: &GpuMetrics, rows: &mut Rows<'_>) {
    for Named { name, value } in &gpu.clocks_hertz {
        rows.put_with(&metrics::CLOCK, &[("clock", name)], *value);
    }
    for Named { name, value } in &gpu.clocks_max_hertz {
        rows.put_with(&metrics::CLOCK_MAX, &[("clock", name)], *value);
    }
    for throttle in &gpu.throttle_reasons {
        let label = [("reason", throttle.reason)];
        let active = throttle.active.map(|active| f64::from(u8::from(active)));
        rows.put_with(&metrics::THROTTLE_ACTIVE, &label, active);
        rows.put_with(&metrics::THROTTLE_SECONDS, &label, throttle.seconds);
    }
}

fn errors(gpu: &GpuMetrics, rows: &mut Rows<'_>) {
    for errors in &gpu.ecc_errors {
        let labels = [
            ("kind", errors.kind),
            ("location", errors.location),
            ("scope", errors.scope),
        ];
        rows.put_with(&metrics::ECC_ERRORS, &labels, errors.count as f64);
    }
    for Named { name, value } in &gpu.remapped_rows {
        rows.put_with(&metrics::REMAPPED_ROWS, &[("kind", name)], *value as f64);
    }
    for Named { name, value } in &gpu.retired_pages {
        rows.put_with(&metrics::RETIRED_PAGES, &[("cause", name)], *value as f64);
    }
}

fn links(gpu: &GpuMetrics, rows: &mut Rows<'_>) {
    let (pcie, activity, nvlink) = (&gpu.pcie, &gpu.activity, &gpu.nvlink);
    let received = pcie.received_bytes_per_second;
    let received = received.or(activity.pcie_received_bytes_per_second);
    let sent = pcie.transmitted_bytes_per_second;
    let sent = sent.or(activity.pcie_transmitted_bytes_per_second);
    rows.put_with(&metrics::PCIE, &RECEIVE, received);
    rows.put_with(&metrics::PCIE, &TRANSMIT, sent);
    let replays = pcie.replays.map(|count| count as f64);
    rows.put(&metrics::PCIE_REPLAYS, replays);
    let generation = pcie.link_generation.map(f64::from);
    rows.put(&metrics::PCIE_LINK_GENERATION, generation);
    rows.put(&metrics::PCIE_LINK_WIDTH, pcie.link_width.map(f64::from));

    let received = nvlink.received_bytes.map(|bytes| bytes as f64);
    let sent = nvlink.transmitted_bytes.map(|bytes| bytes as f64);
    rows.put_with(&metrics::NVLINK, &RECEIVE, received);
    rows.put_with(&metrics::NVLINK, &TRANSMIT, sent);
    for Named { name, value } in &nvlink.errors {
        rows.put_with(&metrics::NVLINK_ERRORS, &[("kind", name)], *value as f64);
    }
    let received = activity.nvlink_received_bytes_per_second;
    let sent = activity.nvlink_transmitted_bytes_per_second;
    rows.put_with(&metrics::NVLINK_RATE, &RECEIVE, received);
    rows.put_with(&metrics::NVLINK_RATE, &TRANSMIT, sent);
}

fn activity(activity: &Activity, rows: &mut Rows<'_>) {
    rows.put(&metrics::GRAPHICS_ACTIVITY, activity.graphics_ratio);
    rows.put(&metrics::SM_ACTIVITY, activity.sm_ratio);
    rows.put(&metrics::SM_OCCUPANCY, activity.sm_occupancy_ratio);
    rows.put(&metrics::DRAM_ACTIVITY, activity.dram_ratio);
    for Named { name, value } in &activity.tensor_ratios {
        rows.put_with(&metrics::TENSOR_ACTIVITY, &[("operation", name)], *value);
    }
    for Named { name, value } in &activity.arithmetic_ratios {
        rows.put_with(&metrics::ARITHMETIC_ACTIVITY, &[("format", name)], *value);
    }
}
