//! Power, its limit, energy, and the fans that take it away. NVML has milliwatts and millijoules.
//!
//! Knows nothing of temperatures.

use super::{super::plausible, Reader};

/// No board has more fans; a count beyond is no count.
const MOST_FANS: u32 = 16;
/// The most that NVML may say of a fan, in percent: it may be driven beyond its nominal speed.
const MOST_SPEED_PERCENT: u32 = 200;

pub(super) fn read(reader: &mut Reader<'_>) -> Option<f64> {
    let power = reader.get("nvmlDeviceGetPowerUsage", |_, device| device.power_usage());
    plausible::milli(power?)
}

pub(super) fn read_limit(reader: &mut Reader<'_>) -> Option<f64> {
    let limit = reader.get("nvmlDeviceGetEnforcedPowerLimit", |_, device| {
        device.enforced_power_limit()
    });
    plausible::milli(limit?)
}

pub(super) fn read_energy(reader: &mut Reader<'_>) -> Option<f64> {
    let energy = reader.get("nvmlDeviceGetTotalEnergyConsumption", |_, device| {
        device.total_energy_consumption()
    });
    plausible::count_u64(energy?).map(|millijoules| millijoules as f64 / 1e3)
}

pub(super) fn count_fans(reader: &mut Reader<'_>) -> Option<u32> {
    let fans = reader.get("nvmlDeviceGetNumFans", |_, device| device.num_fans());
    fans.filter(|fans| *fans <= MOST_FANS)
}

/// One number for each fan, or none at all: a fan that is left out would give its number to the
/// next.
pub(super) fn read_fans(reader: &mut Reader<'_>, fans: u32) -> Vec<f64> {
    let read = |fan| {
        let speed = reader.get("nvmlDeviceGetFanSpeed_v2", |_, device| {
            device.fan_speed(fan)
        })?;
        (speed <= MOST_SPEED_PERCENT).then(|| f64::from(speed) / 100.0)
    };
    (0..fans)
        .map(read)
        .collect::<Option<_>>()
        .unwrap_or_default()
}
