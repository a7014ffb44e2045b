//! The latest samples of a few values: one at each whole sample period since 1970.

use std::ffi::{c_uint, c_ulonglong};

use nvml_wrapper_sys::bindings::{nvmlSample_t, nvmlValue_t};

use super::utilization::undivided;
use crate::{
    abi::{Answer, Code, Out},
    clock,
    unit::Unit,
};

/// So many samples are kept.
const KEPT: u64 = 100;

/// NVML's number of the type of all of them.
const UNSIGNED_INT: c_uint = 1;

/// By NVML's numbers of kinds.
const KINDS: [&str; 7] = [
    "power_usage_mw",
    "utilization_gpu",
    "utilization_memory",
    "encoder_utilization",
    "decoder_utilization",
    "clock_sm_mhz",
    "clock_memory_mhz",
];

device_calls! {
    fn nvmlDeviceGetSamples(
        kind: c_uint, last_seen: c_ulonglong, value_type: Out<c_uint>,
        count: Out<c_uint>, samples: Out<nvmlSample_t>
    ) |unit| {
        value_type.check()?;
        let key = match (kind as usize, KINDS.get(kind as usize)) {
            (1..=2, Some(key)) => {
                undivided(unit)?;
                key
            }
            (_, Some(key)) => key,
            (_, None) => return Err(Code::INVALID_ARGUMENT),
        };
        let value = unit.value(key)?;
        value_type.put(UNSIGNED_INT)?;
        let mut kept = Vec::new();
        for moment in moments(unit, last_seen)? {
            let sampleValue = nvmlValue_t { uiVal: value.number(moment.seconds)?.u32() };
            kept.push(nvmlSample_t { timeStamp: moment.wall_us, sampleValue });
        }
        if kept.is_empty() {
            return Err(Code::NOT_FOUND);
        }
        // Who does not want them all gets the oldest; who gives no room learns how many there are.
        let room = count.get()? as usize;
        if !samples.is_null() && room > 0 {
            kept.truncate(room);
        }
        samples.fill(count, &kept)
    }
}

/// When a sample was taken, by both clocks.
#[derive(Clone, Copy)]
pub(super) struct Moment {
    pub(super) wall_us: u64,
    pub(super) seconds: f64,
}

/// When the newest sample was taken.
pub(super) fn newest(unit: &Unit) -> Answer<Moment> {
    let period = period_us(unit)?;
    let now = clock::wall_us();
    Ok(moment(unit, now, now - now % period))
}

/// When the samples were taken that the caller has not seen and that are kept.
fn moments(unit: &Unit, last_seen: u64) -> Answer<impl Iterator<Item = Moment>> {
    let period = period_us(unit)?;
    let now = clock::wall_us();
    let newest = now / period;
    let oldest = newest.saturating_sub(KEPT - 1).max(last_seen / period + 1);
    let moments = (oldest..=newest).map(move |sample| moment(unit, now, sample * period));
    // There were none before there was a script.
    Ok(moments.filter(|moment| moment.seconds >= 0.0))
}

fn moment(unit: &Unit, now: u64, wall_us: u64) -> Moment {
    let seconds = unit.seconds - (now - wall_us) as f64 / 1e6;
    Moment { wall_us, seconds }
}

fn period_us(unit: &Unit) -> Answer<u64> {
    Ok(unit.u64("sample_period_us")?.max(1))
}
