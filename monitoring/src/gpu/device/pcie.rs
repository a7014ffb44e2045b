//! The PCIe link: how fast it is, and what goes over it.
//!
//! Hopper and later measure the traffic between two samples, which is another file's; others count
//! bytes; of the rest NVML measures 20 ms, and blocks meanwhile.

use std::time::{Duration, Instant};

use nvml_wrapper::enum_wrappers::device::PcieUtilCounter;

use super::{
    super::{Activity, Pcie, plausible},
    Reader,
    fields::{self, Value, Values},
};

/// Bytes per second of one lane, by the link's generation.
const LANE_RATES: [f64; 6] = [0.25e9, 0.5e9, 0.985e9, 1.969e9, 3.938e9, 7.563e9];
/// NVML says KB, and elsewhere KiB where it means that.
const KILOBYTE: f64 = 1e3;
/// Readings that follow each other faster than the device counts would make rates of nothing.
const LEAST_INTERVAL: Duration = Duration::from_millis(100);

/// Counters of the poll before.
#[derive(Debug, Default)]
pub(super) struct Counted {
    before: Option<(Instant, [Option<Value>; 2])>,
    rates: [Option<f64>; 2],
}

/// What the link can carry in a second in one direction, in bytes.
pub(super) fn read_link_rate(reader: &mut Reader<'_>) -> Option<f64> {
    let generation = reader.get("nvmlDeviceGetMaxPcieLinkGeneration", |_, device| {
        device.max_pcie_link_gen()
    })?;
    let lanes = reader.get("nvmlDeviceGetMaxPcieLinkWidth", |_, device| {
        device.max_pcie_link_width()
    })?;
    let rate = LANE_RATES.get(usize::try_from(generation).ok()?.checked_sub(1)?)?;
    (lanes <= 32).then(|| rate * f64::from(lanes))
}

/// All but the traffic that is measured by samples; `sampled` says that it is.
pub(super) fn read(
    reader: &mut Reader<'_>,
    fields: &Values,
    sampled: bool,
    link_rate: Option<f64>,
    counted: &mut Counted,
) -> Pcie {
    let generation = reader.get("nvmlDeviceGetCurrPcieLinkGeneration", |_, device| {
        device.current_pcie_link_gen()
    });
    let width = reader.get("nvmlDeviceGetCurrPcieLinkWidth", |_, device| {
        device.current_pcie_link_width()
    });
    let replays = reader.get("nvmlDeviceGetPcieReplayCounter", |_, device| {
        device.pcie_replay_counter()
    });
    let counters = [&fields::PCIE_TRANSMITTED, &fields::PCIE_RECEIVED];
    let values = counters.map(|counter| fields.value(counter));
    let rates = if counters.map(|counter| counter.is_unsupported(reader)) == [true; 2] {
        None
    } else {
        counted.rates(Instant::now(), values, link_rate)
    };
    let rates = match rates {
        // There are no counters, or they may have wrapped. Samples, if any, tell as well.
        None if !sampled => measure(reader),
        rates => rates.unwrap_or_default(),
    };
    Pcie {
        transmitted_bytes_per_second: rates[0],
        received_bytes_per_second: rates[1],
        replays: replays.and_then(plausible::count_u32).map(u64::from),
        link_generation: generation.filter(|generation| (1..=99).contains(generation)),
        link_width: width.filter(|width| (1..=32).contains(width)),
    }
}

/// What was measured between two samples comes first.
pub(super) fn prefer_measured(pcie: &mut Pcie, activity: &Activity) {
    let transmitted = activity.pcie_transmitted_bytes_per_second;
    let received = activity.pcie_received_bytes_per_second;
    pcie.transmitted_bytes_per_second = transmitted.or(pcie.transmitted_bytes_per_second);
    pcie.received_bytes_per_second = received.or(pcie.received_bytes_per_second);
}

/// Two calls of 20 ms each.
fn measure(reader: &mut Reader<'_>) -> [Option<f64>; 2] {
    let sent = reader.get("nvmlDeviceGetPcieThroughput(TX)", |_, device| {
        device.pcie_throughput(PcieUtilCounter::Send)
    });
    let received = reader.get("nvmlDeviceGetPcieThroughput(RX)", |_, device| {
        device.pcie_throughput(PcieUtilCounter::Receive)
    });
    let rate = |rate: Option<u32>| {
        rate.and_then(plausible::count_u32)
            .map(|rate| f64::from(rate) * KILOBYTE)
    };
    [rate(sent), rate(received)]
}

impl Counted {
    /// Rates since the poll before. `None` where the counters cannot tell them.
    fn rates(
        &mut self,
        now: Instant,
        values: [Option<Value>; 2],
        link_rate: Option<f64>,
    ) -> Option<[Option<f64>; 2]> {
        let Some((then, before)) = self.before else {
            self.before = Some((now, values));
            // Counters that wrap before the next poll will not help then either.
            let wide = values.iter().flatten().all(|value| value.wide);
            return wide.then_some([None; 2]);
        };
        let time = now.saturating_duration_since(then);
        if time < LEAST_INTERVAL {
            return Some(self.rates);
        }
        self.before = Some((now, values));
        let mut known = true;
        for (direction, rate) in self.rates.iter_mut().enumerate() {
            *rate = match (before[direction], values[direction]) {
                (Some(before), Some(value)) => {
                    let bytes = increase(before, value, time, link_rate);
                    known &= bytes.is_some() || value.wide;
                    bytes.map(|bytes| bytes as f64 / time.as_secs_f64())
                }
                _ => None,
            };
        }
        known.then_some(self.rates)
    }
}

/// How many bytes were counted meanwhile, if the counter can tell.
fn increase(before: Value, now: Value, time: Duration, link_rate: Option<f64>) -> Option<u64> {
    if now.wide {
        // A counter that fell was reset: what it had by then is not known.
        return now.count.checked_sub(before.count);
    }
    let wraps_at = 2_f64.powi(32);
    let most = link_rate? * time.as_secs_f64();
    (most < wraps_at).then(|| {
        // Both fit into 32 bits, so the difference is right across one wrap.
        now.count.wrapping_sub(before.count) & u64::from(u32::MAX)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn value(count: u64, wide: bool) -> Value {
        Value { count, wide }
    }

    #[test]
    fn increases() {
        let check = |before, now, time, rate, want| {
            assert_eq!(
                increase(before, now, time, rate),
                want,
                "{before:?} {now:?}"
            );
        };
        check(value(5, true), value(8, true), SECOND, None, Some(3));
        check(value(8, true), value(5, true), SECOND, None, None);
        let (last, first) = (value(u64::from(u32::MAX), false), value(1, false));
        check(last, first, SECOND, Some(1e9), Some(2));
        check(last, first, SECOND * 5, Some(1e9), None);
        check(last, first, SECOND, Some(32e9), None);
        check(last, first, SECOND, None, None);
    }

    #[test]
    fn rates_are_per_second() {
        let start = Instant::now();
        let mut counted = Counted::default();
        let at = |count| [Some(value(count, true)), Some(value(count * 2, true))];
        assert_eq!(counted.rates(start, at(1000), None), Some([None; 2]));
        let want = Some([Some(500.0), Some(1000.0)]);
        assert_eq!(counted.rates(start + SECOND * 2, at(2000), None), want);
        // Too early for a new rate: the last one stands, and the time goes on from where it began.
        let soon = start + SECOND * 2 + LEAST_INTERVAL / 2;
        assert_eq!(counted.rates(soon, at(9000), None), want);
        let want = Some([Some(1000.0), Some(2000.0)]);
        assert_eq!(counted.rates(start + SECOND * 3, at(3000), None), want);
    }

    #[test]
    fn narrow_counters_that_may_wrap_tell_nothing() {
        let start = Instant::now();
        let mut counted = Counted::default();
        let at = |count| [Some(value(count, false)); 2];
        assert_eq!(counted.rates(start, at(0), Some(32e9)), None);
        assert_eq!(counted.rates(start + SECOND, at(10), Some(32e9)), None);
        assert_eq!(
            counted.rates(start + SECOND * 2, at(20), Some(1e9)),
            Some([Some(10.0); 2])
        );
    }
}
