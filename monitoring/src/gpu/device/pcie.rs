//! The PCIe link: how fast it is, and what goes over it.
//!
//! Hopper and later measure the traffic between two samples, which is another file's; others count
//! bytes; of the rest NVML measures 20 ms, and blocks meanwhile.

use std::time::Duration;

use nvml_wrapper::enum_wrappers::device::PcieUtilCounter;

use super::{
    super::{Activity, Pcie, plausible},
    Reader,
    fields::{self, Moment, Value, Values},
};

/// Bytes per second of one lane, by the link's generation.
const LANE_RATES: [f64; 6] = [0.25e9, 0.5e9, 0.985e9, 1.969e9, 3.938e9, 7.563e9];
/// NVML says KB, and elsewhere KiB where it means that.
const KILOBYTE: f64 = 1e3;
/// Readings that follow each other faster than the device counts would make rates of nothing.
const LEAST_INTERVAL: Duration = Duration::from_millis(100);

/// The fastest link there is: a device that does not tell its own has no faster one.
const MOST_RATE: f64 = LANE_RATES[5] * MOST_LANES as f64;
const MOST_LANES: u32 = 32;
/// How much a measured rate may be over what the link can carry.
const TOLERANCE: f64 = 1.1;
/// The time between two readings is so many times longer than it is uncertain.
const CERTAINTY: u32 = 20;
/// A reading that took longer is no beginning of a rate.
const MOST_UNCERTAIN: Duration = Duration::from_millis(50);

/// Counters of a poll before, and the rates since; by direction.
#[derive(Debug, Default)]
pub(super) struct Counted([Counter; 2]);

#[derive(Debug, Default)]
struct Counter {
    before: Option<(Moment, Value)>,
    rate: Option<f64>,
}

/// What a counter tells of the traffic.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Traffic {
    /// The rate, if it is known this time.
    Rate(Option<f64>),
    /// Nothing: it may have wrapped, and will again.
    Wrapped,
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
    (lanes <= MOST_LANES).then(|| rate * f64::from(lanes))
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
    let rates = if counters.map(|counter| counter.is_unsupported(reader)) == [true; 2] {
        None
    } else {
        let values = counters.map(|counter| fields.counter(counter));
        counted.rates(values, link_rate)
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
        link_width: width.filter(|width| (1..=MOST_LANES).contains(width)),
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
        values: [Option<(Moment, Value)>; 2],
        link_rate: Option<f64>,
    ) -> Option<[Option<f64>; 2]> {
        let [sent, received] = &mut self.0;
        let [sent_value, received_value] = values;
        let sent = sent.next(sent_value, link_rate);
        let received = received.next(received_value, link_rate);
        match (sent, received) {
            (Traffic::Rate(sent), Traffic::Rate(received)) => Some([sent, received]),
            _ => None,
        }
    }
}

impl Counter {
    fn next(&mut self, value: Option<(Moment, Value)>, link_rate: Option<f64>) -> Traffic {
        let certain = |(moment, _): &(Moment, Value)| moment.give_or_take <= MOST_UNCERTAIN;
        let Some((now, value)) = value.filter(certain) else {
            // The next reading tells of the time since the last good one.
            return Traffic::Rate(None);
        };
        let Some((then, before)) = self.before else {
            self.before = Some((now, value));
            // Counters that wrap before the next poll will not help then either.
            return if value.wide {
                Traffic::Rate(None)
            } else {
                Traffic::Wrapped
            };
        };
        let time = now.at.saturating_duration_since(then.at);
        let uncertain = now.give_or_take + then.give_or_take;
        if time < LEAST_INTERVAL.max(uncertain * CERTAINTY) {
            return Traffic::Rate(self.rate);
        }
        self.before = Some((now, value));
        let most = link_rate.unwrap_or(MOST_RATE) * TOLERANCE * time.as_secs_f64();
        let Some(bytes) = increase(before, value, most) else {
            self.rate = None;
            return if value.wide {
                Traffic::Rate(None)
            } else {
                Traffic::Wrapped
            };
        };
        self.rate = Some(bytes as f64 / time.as_secs_f64());
        Traffic::Rate(self.rate)
    }
}

/// How many bytes were counted meanwhile, if the counter can tell; never more than `most`.
fn increase(before: Value, now: Value, most: f64) -> Option<u64> {
    let bytes = if now.wide {
        // A counter that fell was reset: what it had by then is not known.
        now.count.checked_sub(before.count)?
    } else if most < 2_f64.powi(32) {
        // Both fit into 32 bits, so the difference is right across one wrap.
        now.count.wrapping_sub(before.count) & u64::from(u32::MAX)
    } else {
        return None;
    };
    // A counter that was reset may also have grown beyond where it was.
    (bytes as f64 <= most).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn value(count: u64, wide: bool) -> Value {
        Value { count, wide }
    }

    fn at(at: Instant) -> Moment {
        Moment {
            at,
            give_or_take: Duration::ZERO,
        }
    }

    #[test]
    fn increases() {
        let check = |before, now, most, want| {
            assert_eq!(increase(before, now, most), want, "{before:?} {now:?}");
        };
        check(value(5, true), value(8, true), 1e9, Some(3));
        check(value(8, true), value(5, true), 1e9, None);
        check(value(0, true), value(1 << 50, true), 1e9, None);
        let (last, first) = (value(u64::from(u32::MAX), false), value(1, false));
        check(last, first, 1e9, Some(2));
        check(last, first, 5e9, None);
        check(first, last, 1e9, None);
    }

    #[test]
    fn rates_are_per_second() {
        let start = Instant::now();
        let mut counted = Counted::default();
        let mut rates = |then, count| {
            let values = [count, count * 2].map(|count| Some((at(then), value(count, true))));
            counted.rates(values, None)
        };
        assert_eq!(rates(start, 1000), Some([None; 2]));
        let want = Some([Some(500.0), Some(1000.0)]);
        assert_eq!(rates(start + SECOND * 2, 2000), want);
        // Too early for a new rate: the last one stands, and the time goes on from where it began.
        assert_eq!(rates(start + SECOND * 2 + LEAST_INTERVAL / 2, 9000), want);
        let want = Some([Some(1000.0), Some(2000.0)]);
        assert_eq!(rates(start + SECOND * 3, 3000), want);
        // More than any link can carry, and then what it can.
        assert_eq!(rates(start + SECOND * 4, 1 << 60), Some([None; 2]));
        let want = Some([Some(1.0), Some(2.0)]);
        assert_eq!(rates(start + SECOND * 5, (1 << 60) + 1), want);
    }

    #[test]
    fn uncertain_times_make_no_rates() {
        let start = Instant::now();
        let mut counter = Counter::default();
        let mut next = |seconds, give_or_take, count| {
            let moment = Moment {
                at: start + SECOND * seconds,
                give_or_take,
            };
            counter.next(Some((moment, value(count, true))), None)
        };
        let rate = |rate| Traffic::Rate(Some(rate));
        assert_eq!(next(0, SECOND, 0), Traffic::Rate(None));
        assert_eq!(next(1, Duration::ZERO, 10), Traffic::Rate(None));
        assert_eq!(next(2, Duration::ZERO, 20), rate(10.0));
        assert_eq!(next(10, SECOND * 8, 100), Traffic::Rate(None));
        assert_eq!(next(12, Duration::ZERO, 220), rate(20.0));
        // One second is too short for a twentieth of it and more.
        assert_eq!(
            next(13, MOST_UNCERTAIN + SECOND / 1000, 0),
            Traffic::Rate(None)
        );
        assert_eq!(next(13, MOST_UNCERTAIN, 250), rate(30.0));
        assert_eq!(next(14, MOST_UNCERTAIN, 0), rate(30.0));
        assert_eq!(next(16, MOST_UNCERTAIN, 310), rate(20.0));
    }

    #[test]
    fn narrow_counters_that_may_wrap_tell_nothing() {
        let start = Instant::now();
        let mut counted = Counted::default();
        let mut rates = |seconds, count, rate| {
            let reading = (at(start + SECOND * seconds), value(count, false));
            counted.rates([Some(reading); 2], Some(rate))
        };
        assert_eq!(rates(0, 0, 32e9), None);
        assert_eq!(rates(1, 10, 32e9), None);
        assert_eq!(rates(2, 20, 1e9), Some([Some(10.0); 2]));
    }
}
