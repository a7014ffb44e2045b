//! Why clocks are lower than asked for, and for how long they have been.

use std::ffi::{c_uint, c_ulonglong};

use nvml_wrapper_sys::bindings::nvmlViolationTime_t;

use crate::abi::{Code, Out};

/// By NVML's numbers of policies, which leave some out.
const POLICIES: [Option<&str>; 12] = [
    Some("throttled_power_ns"),
    Some("throttled_thermal_ns"),
    Some("throttled_sync_boost_ns"),
    Some("throttled_board_limit_ns"),
    Some("throttled_low_utilization_ns"),
    Some("throttled_reliability_ns"),
    None,
    None,
    None,
    None,
    Some("throttled_app_clocks_ns"),
    Some("throttled_base_clocks_ns"),
];

device_calls! {
    fn nvmlDeviceGetCurrentClocksThrottleReasons(reasons: Out<c_ulonglong>) |unit| {
        unit.put_u64(reasons, "throttle_reasons")
    }

    fn nvmlDeviceGetCurrentClocksEventReasons(reasons: Out<c_ulonglong>) |unit| {
        unit.put_u64(reasons, "throttle_reasons")
    }

    fn nvmlDeviceGetSupportedClocksThrottleReasons(reasons: Out<c_ulonglong>) |unit| {
        unit.put_u64(reasons, "throttle_reasons_supported")
    }

    fn nvmlDeviceGetSupportedClocksEventReasons(reasons: Out<c_ulonglong>) |unit| {
        unit.put_u64(reasons, "throttle_reasons_supported")
    }

    fn nvmlDeviceGetViolationStatus(policy: c_uint, time: Out<nvmlViolationTime_t>) |unit| {
        time.check()?;
        let key = POLICIES.get(policy as usize).copied().flatten();
        let violationTime = unit.u64(key.ok_or(Code::INVALID_ARGUMENT)?)?;
        let referenceTime = crate::clock::wall_us();
        time.put(nvmlViolationTime_t { referenceTime, violationTime })
    }
}
