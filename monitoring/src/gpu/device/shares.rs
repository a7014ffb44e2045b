//! How busy processes keep a device, by NVML's samples of them.
//!
//! NVML has a sample of each process that did anything in a sample period, and none of the others.
//! Knows nothing of how samples are asked for.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use nvml_wrapper_sys::bindings::nvmlProcessUtilizationSample_t as Sample;

use super::{super::plausible, processes::Processes};

/// No device has a longer sample period: who was in no sample for so long did nothing.
const PERIOD: Duration = Duration::from_secs(1);
/// Samples have the time of day. One that is later than now by more than this is wrong.
const MOST_AHEAD_US: u64 = 1_000_000;

/// What is known of processes' shares, from poll to poll.
#[derive(Debug, Default)]
pub(super) struct Shares {
    /// The time of the newest sample that was seen, in microseconds since 1970.
    seen: u64,
    by_pid: BTreeMap<u32, Share>,
}

#[derive(Clone, Copy, Debug)]
struct Share {
    ratio: Option<f64>,
    /// When it last was in a sample, or was first seen.
    at: Instant,
}

/// One moment by two clocks: the time of day may jump, and the samples have no other.
#[derive(Clone, Copy, Debug)]
pub(super) struct Now {
    at: Instant,
    since_1970_us: u64,
}

impl Now {
    pub(super) fn read() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let since = since.unwrap_or_default().as_micros();
        Self {
            at: Instant::now(),
            since_1970_us: u64::try_from(since).unwrap_or(u64::MAX),
        }
    }

    fn latest_us(self) -> u64 {
        self.since_1970_us.saturating_add(MOST_AHEAD_US)
    }
}

impl Shares {
    /// Up to when all samples were seen.
    pub(super) fn seen_until(&mut self, now: Now) -> u64 {
        if self.seen > now.latest_us() {
            // The clock was set back.
            self.seen = now.since_1970_us;
        }
        self.seen
    }

    /// Gives each process the mean of its new samples; or what it had before, until it was in no
    /// sample for so long that it did nothing.
    pub(super) fn attribute(&mut self, processes: &mut Processes, samples: &[Sample], now: Now) {
        self.by_pid
            .retain(|pid, _| processes.contains_key(&(*pid, None)));
        let mut sums: BTreeMap<u32, (f64, u32, bool)> = BTreeMap::new();
        let new = self.seen_until(now) + 1..=now.latest_us();
        for sample in samples.iter().filter(|it| new.contains(&it.timeStamp)) {
            self.seen = self.seen.max(sample.timeStamp);
            let ratio = plausible::ratio(sample.smUtil);
            let (sum, count, sane) = sums.entry(sample.pid).or_insert((0.0, 0, true));
            *sum += ratio.unwrap_or_default();
            *count += 1;
            *sane &= ratio.is_some();
        }
        let whole = processes.iter_mut().filter(|((_, mig), _)| mig.is_none());
        for ((pid, _), process) in whole {
            let unknown = Share {
                ratio: None,
                at: now.at,
            };
            let share = self.by_pid.entry(*pid).or_insert(unknown);
            match sums.get(pid) {
                Some((sum, count, sane)) => {
                    let mean = sum / f64::from(*count);
                    let ratio = sane.then_some(mean);
                    *share = Share { ratio, at: now.at };
                }
                None if now.at.saturating_duration_since(share.at) >= PERIOD => {
                    share.ratio = Some(0.0);
                }
                None => {}
            }
            process.sm_utilization_ratio = share.ratio;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::super::GpuProcess, *};

    fn sample(pid: u32, time: u64, share: u32) -> Sample {
        Sample {
            pid,
            timeStamp: time,
            smUtil: share,
            memUtil: 0,
            encUtil: 0,
            decUtil: 0,
        }
    }

    /// Processes 1 to 3, and what is known of them so many milliseconds after the beginning.
    struct Case {
        shares: Shares,
        begun: Instant,
    }

    impl Case {
        fn new() -> Self {
            Self {
                shares: Shares::default(),
                begun: Instant::now(),
            }
        }

        fn at(&mut self, millis: u64, clock_us: u64, samples: &[Sample]) -> [Option<f64>; 3] {
            let now = Now {
                at: self.begun + Duration::from_millis(millis),
                since_1970_us: clock_us,
            };
            let process = |pid| GpuProcess {
                pid,
                ..GpuProcess::default()
            };
            let mut processes = (1..=3).map(|pid| ((pid, None), process(pid))).collect();
            self.shares.attribute(&mut processes, samples, now);
            [1, 2, 3].map(|pid| processes[&(pid, None)].sm_utilization_ratio)
        }
    }

    #[test]
    fn means_of_new_samples_and_nothing_for_the_idle() {
        let mut case = Case::new();
        let samples = [sample(1, 101, 20), sample(1, 103, 60), sample(3, 102, 101)];
        assert_eq!(case.at(0, 110, &samples), [Some(0.4), None, None]);
        // The same again, and one that is new.
        let samples = [sample(1, 103, 90), sample(2, 104, 50)];
        assert_eq!(case.at(600, 700, &samples), [Some(0.4), Some(0.5), None]);
        assert_eq!(case.at(999, 999, &[]), [Some(0.4), Some(0.5), None]);
        assert_eq!(case.at(1000, 1000, &[]), [Some(0.0), Some(0.5), Some(0.0)]);
        assert_eq!(case.at(1600, 1600, &[]), [Some(0.0); 3]);
    }

    #[test]
    fn times_that_cannot_be_are_ignored() {
        let mut case = Case::new();
        let hour = 3_600_000_000;
        let never = [
            sample(1, u64::MAX, 10),
            sample(1, hour + MOST_AHEAD_US + 1, 20),
        ];
        assert_eq!(case.at(0, hour, &never), [None; 3]);
        let next = case.at(10, hour, &[sample(1, hour + MOST_AHEAD_US, 30)]);
        assert_eq!(next[0], Some(0.3));
        // The clock is set back by an hour, and what comes then is new.
        assert_eq!(case.at(20, 100, &[sample(1, 90, 40)])[0], Some(0.3));
        assert_eq!(case.at(30, 200, &[sample(1, 150, 50)])[0], Some(0.5));
    }
}
