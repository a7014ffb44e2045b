//! Temperatures, and those at which something happens. NVML has them in degrees Celsius.
//!
//! The thresholds that newer devices have as field values are left out: they are distances to a
//! limit that differs by device, and no temperatures. Those for noise can be set at any time.
//!
//! Knows nothing of what happens then.

use nvml_wrapper::enum_wrappers::device::{TemperatureSensor, TemperatureThreshold};

use super::{
    super::{Named, plausible},
    Reader,
    fields::{self, Values},
};

const THRESHOLDS: [(&str, TemperatureThreshold, &str); 8] = [
    (
        "shutdown",
        TemperatureThreshold::Shutdown,
        "nvmlDeviceGetTemperatureThreshold(SHUTDOWN)",
    ),
    (
        "slowdown",
        TemperatureThreshold::Slowdown,
        "nvmlDeviceGetTemperatureThreshold(SLOWDOWN)",
    ),
    (
        "memory_max",
        TemperatureThreshold::MemoryMax,
        "nvmlDeviceGetTemperatureThreshold(MEM_MAX)",
    ),
    (
        "gpu_max",
        TemperatureThreshold::GpuMax,
        "nvmlDeviceGetTemperatureThreshold(GPU_MAX)",
    ),
    (
        "acoustic_min",
        TemperatureThreshold::AcousticMin,
        "nvmlDeviceGetTemperatureThreshold(ACOUSTIC_MIN)",
    ),
    (
        "acoustic_current",
        TemperatureThreshold::AcousticCurr,
        "nvmlDeviceGetTemperatureThreshold(ACOUSTIC_CURR)",
    ),
    (
        "acoustic_max",
        TemperatureThreshold::AcousticMax,
        "nvmlDeviceGetTemperatureThreshold(ACOUSTIC_MAX)",
    ),
    (
        "gps_current",
        TemperatureThreshold::GpsCurr,
        "nvmlDeviceGetTemperatureThreshold(GPS_CURR)",
    ),
];

pub(super) fn read(reader: &mut Reader<'_>) -> Option<f64> {
    let chip = reader.get("nvmlDeviceGetTemperature", |_, device| {
        device.temperature(TemperatureSensor::Gpu)
    });
    plausible::level(chip?)
}

/// The temperature of the memory, which only the field values have.
pub(super) fn memory(fields: &Values) -> Option<f64> {
    plausible::level(u32::try_from(fields.count(&fields::MEMORY_TEMPERATURE)?).ok()?)
}

pub(super) fn read_thresholds(reader: &mut Reader<'_>) -> Vec<Named<f64>> {
    let read = |(name, threshold, call): (_, TemperatureThreshold, _)| {
        let celsius = reader.get(call, |_, device| device.temperature_threshold(threshold))?;
        plausible::level(celsius).map(|value| Named { name, value })
    };
    THRESHOLDS.into_iter().filter_map(read).collect()
}
