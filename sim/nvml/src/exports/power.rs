//! Power and energy.

use std::ffi::{c_uint, c_ulonglong};

use crate::abi::Out;

device_calls! {
    fn nvmlDeviceGetPowerUsage(milliwatts: Out<c_uint>) |unit| {
        unit.put_u32(milliwatts, "power_usage_mw")
    }

    fn nvmlDeviceGetEnforcedPowerLimit(milliwatts: Out<c_uint>) |unit| {
        unit.put_u32(milliwatts, "enforced_power_limit_mw")
    }

    fn nvmlDeviceGetPowerManagementLimit(milliwatts: Out<c_uint>) |unit| {
        unit.put_u32(milliwatts, "power_limit_mw")
    }

    fn nvmlDeviceGetPowerManagementDefaultLimit(milliwatts: Out<c_uint>) |unit| {
        unit.put_u32(milliwatts, "power_default_limit_mw")
    }

    fn nvmlDeviceGetPowerManagementLimitConstraints(
        lowest: Out<c_uint>, highest: Out<c_uint>
    ) |unit| {
        highest.check()?;
        unit.put_u32(lowest, "power_min_limit_mw")?;
        unit.put_u32(highest, "power_max_limit_mw")
    }

    fn nvmlDeviceGetTotalEnergyConsumption(millijoules: Out<c_ulonglong>) |unit| {
        unit.put_u64(millijoules, "energy_mj")
    }
}
