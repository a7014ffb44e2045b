//! Temperatures, and the fans.

use std::ffi::c_uint;

use crate::abi::{Answer, Code, Out};
use crate::{unit::Unit, values::Value};

/// By NVML's numbers of thresholds.
const THRESHOLDS: [&str; 8] = [
    "threshold_shutdown",
    "threshold_slowdown",
    "threshold_memory_max",
    "threshold_gpu_max",
    "threshold_acoustic_min",
    "threshold_acoustic_current",
    "threshold_acoustic_max",
    "threshold_gps_current",
];

device_calls! {
    fn nvmlDeviceGetTemperature(sensor: c_uint, celsius: Out<c_uint>) |unit| {
        if sensor != 0 {
            return Err(Code::INVALID_ARGUMENT);
        }
        unit.put_u32(celsius, "temperature")
    }

    fn nvmlDeviceGetTemperatureThreshold(threshold: c_uint, celsius: Out<c_uint>) |unit| {
        let key = THRESHOLDS.get(threshold as usize).ok_or(Code::INVALID_ARGUMENT)?;
        unit.put_u32(celsius, key)
    }

    fn nvmlDeviceGetNumFans(count: Out<c_uint>) |unit| {
        count.check()?;
        count.put(fans(unit)?)
    }

    fn nvmlDeviceGetFanSpeed(percent: Out<c_uint>) |unit| {
        percent.check()?;
        percent.put(unit.nth("fan_speed", 0)?.u32())
    }

    fn nvmlDeviceGetFanSpeed_v2(fan: c_uint, percent: Out<c_uint>) |unit| {
        percent.check()?;
        if fan >= fans(unit)? {
            return Err(Code::INVALID_ARGUMENT);
        }
        percent.put(unit.nth("fan_speed", fan as usize)?.u32())
    }
}

/// As many as there are speeds. NVML does not answer 0 for a GPU without fans, but refuses.
fn fans(unit: &Unit) -> Answer<u32> {
    Ok(match unit.value("fan_speed")? {
        Value::List(list) => u32::try_from(list.len()).unwrap_or(u32::MAX),
        _ => 1,
    })
}
