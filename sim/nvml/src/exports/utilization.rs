//! How busy a device is.

use std::ffi::c_uint;

use nvml_wrapper_sys::bindings::nvmlUtilization_t;

use crate::{
    abi::{Answer, Code, Out},
    unit::Unit,
};

device_calls! {
    fn nvmlDeviceGetUtilizationRates(utilization: Out<nvmlUtilization_t>) |unit| {
        utilization.check()?;
        undivided(unit)?;
        let gpu = unit.u32("utilization_gpu")?;
        utilization.put(nvmlUtilization_t { gpu, memory: unit.u32("utilization_memory")? })
    }

    fn nvmlDeviceGetEncoderUtilization(percent: Out<c_uint>, period_us: Out<c_uint>) |unit| {
        engine(unit, percent, period_us, "encoder_utilization")
    }

    fn nvmlDeviceGetDecoderUtilization(percent: Out<c_uint>, period_us: Out<c_uint>) |unit| {
        engine(unit, percent, period_us, "decoder_utilization")
    }
}

/// A divided GPU does not tell how busy it is as a whole.
pub(super) fn undivided(unit: &Unit) -> Answer {
    if unit.is_divided() {
        return Err(Code::NOT_SUPPORTED);
    }
    Ok(())
}

fn engine(unit: &Unit, percent: Out<c_uint>, period_us: Out<c_uint>, key: &str) -> Answer {
    period_us.check()?;
    unit.put_u32(percent, key)?;
    unit.put_u32(period_us, "sample_period_us")
}
