//! Clock rates. NVML has them in MHz.
//!
//! Knows nothing of why a clock is as low as it is.

use nvml_wrapper::enum_wrappers::device::Clock;

use super::{
    super::{Named, plausible},
    Reader,
};

const HERTZ: f64 = 1e6;

/// Name, NVML's name, and the calls for the rate now and for the highest.
const CLOCKS: [(&str, Clock, &str, &str); 4] = [
    (
        "graphics",
        Clock::Graphics,
        "nvmlDeviceGetClockInfo(GRAPHICS)",
        "nvmlDeviceGetMaxClockInfo(GRAPHICS)",
    ),
    (
        "sm",
        Clock::SM,
        "nvmlDeviceGetClockInfo(SM)",
        "nvmlDeviceGetMaxClockInfo(SM)",
    ),
    (
        "memory",
        Clock::Memory,
        "nvmlDeviceGetClockInfo(MEM)",
        "nvmlDeviceGetMaxClockInfo(MEM)",
    ),
    (
        "video",
        Clock::Video,
        "nvmlDeviceGetClockInfo(VIDEO)",
        "nvmlDeviceGetMaxClockInfo(VIDEO)",
    ),
];

pub(super) fn read(reader: &mut Reader<'_>) -> Vec<Named<f64>> {
    let read = |(name, clock, call, _): (_, Clock, _, _)| {
        let rate = reader.get(call, |_, device| device.clock_info(clock))?;
        hertz(name, rate)
    };
    CLOCKS.into_iter().filter_map(read).collect()
}

pub(super) fn read_max(reader: &mut Reader<'_>) -> Vec<Named<f64>> {
    let read = |(name, clock, _, call): (_, Clock, _, _)| {
        let rate = reader.get(call, |_, device| device.max_clock_info(clock))?;
        hertz(name, rate)
    };
    CLOCKS.into_iter().filter_map(read).collect()
}

fn hertz(name: &'static str, rate: u32) -> Option<Named<f64>> {
    plausible::level(rate).map(|rate| Named {
        name,
        value: rate * HERTZ,
    })
}
