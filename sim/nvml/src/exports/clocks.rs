//! Clock rates, and the state that they belong to.

use std::ffi::c_uint;

use crate::{
    abi::{Answer, Code, Out},
    unit::Unit,
};

/// By NVML's numbers of clocks: now, and at most.
const CLOCKS: [[&str; 2]; 4] = [
    ["clock_graphics_mhz", "clock_max_graphics_mhz"],
    ["clock_sm_mhz", "clock_max_sm_mhz"],
    ["clock_memory_mhz", "clock_max_memory_mhz"],
    ["clock_video_mhz", "clock_max_video_mhz"],
];

/// NVML's number for the clock as it is now, not as it was asked for.
const CURRENT: c_uint = 0;

device_calls! {
    fn nvmlDeviceGetClockInfo(clock: c_uint, megahertz: Out<c_uint>) |unit| {
        rate(unit, clock, 0, megahertz)
    }

    fn nvmlDeviceGetMaxClockInfo(clock: c_uint, megahertz: Out<c_uint>) |unit| {
        rate(unit, clock, 1, megahertz)
    }

    fn nvmlDeviceGetClock(clock: c_uint, which: c_uint, megahertz: Out<c_uint>) |unit| {
        if which != CURRENT {
            return Err(Code::NOT_SUPPORTED);
        }
        rate(unit, clock, 0, megahertz)
    }

    fn nvmlDeviceGetPerformanceState(state: Out<c_uint>) |unit| {
        unit.put_u32(state, "performance_state")
    }
}

fn rate(unit: &Unit, clock: c_uint, column: usize, megahertz: Out<c_uint>) -> Answer {
    let keys = CLOCKS.get(clock as usize).ok_or(Code::INVALID_ARGUMENT)?;
    unit.put_u32(megahertz, keys[column])
}
