//! How ticks compare with the operating system's clocks.
//!
//! Knows nothing of where ticks come from.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use super::{Ticks, counter};

/// How often the clocks are compared for one anchor, of which the closest comparison is kept: one
/// that was interrupted is off by as long as the interruption.
const ATTEMPTS: usize = 4;

/// The least time between two anchors that a rate is taken from. An anchor is exact to about 20 ns,
/// so that the rate is exact to a thousandth even at the very beginning of a process.
const LEAST_WIDTH: Duration = Duration::from_micros(100);

/// From which width on two anchors say whether the rate is still the same.
const CHECKED_WIDTH: Duration = Duration::from_millis(10);

/// What the rate may differ by. Clocks that are steered differ by less than a thousandth; a virtual
/// machine that goes on elsewhere can differ by more.
const TOLERANCE: f64 = 0.001;

/// One moment on all clocks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Anchor {
    ticks: u64,
    since_boot: Duration,
    /// The moment at which the time of day was read, which is a little later.
    real_ticks: u64,
    real_ns: u64,
}

impl Anchor {
    pub(super) fn now(read: impl Fn() -> u64) -> Self {
        let compared = (0..ATTEMPTS).map(|_| Self::compare(&read));
        let (anchor, _) = compared
            .min_by_key(|(_, took)| *took)
            .expect("there is at least one attempt");
        anchor
    }

    /// An anchor, and the ticks that the comparison took.
    fn compare(read: &impl Fn() -> u64) -> (Self, u64) {
        let before = read();
        let since_boot = counter::since_boot();
        let between = read();
        let day = SystemTime::now();
        let after = read();
        let since_epoch = day.duration_since(UNIX_EPOCH).unwrap_or_default();
        let anchor = Self {
            ticks: before.midpoint(between),
            since_boot,
            real_ticks: between.midpoint(after),
            real_ns: u64::try_from(since_epoch.as_nanos()).unwrap_or(u64::MAX),
        };
        (anchor, after.saturating_sub(before))
    }

    /// Nanoseconds per tick from `earlier` until this anchor, if the clock went on between.
    fn rate_since(&self, earlier: &Self) -> Option<f64> {
        let ticks = self.ticks.checked_sub(earlier.ticks)?;
        let elapsed = self.width_since(earlier);
        (ticks > 0 && elapsed > Duration::ZERO).then(|| elapsed.as_nanos() as f64 / ticks as f64)
    }

    fn width_since(&self, earlier: &Self) -> Duration {
        self.since_boot.saturating_sub(earlier.since_boot)
    }

    /// Whether a clock has begun again after `earlier`, as when the machine was restored.
    fn is_before(&self, earlier: &Self) -> bool {
        self.ticks < earlier.ticks || self.since_boot < earlier.since_boot
    }
}

/// What ticks are in nanoseconds, and in the time of day.
///
/// The rate is that between the process's first reading of the clock and the newest comparison: it
/// becomes the more exact the longer a process runs. What lies between these two is exact to about
/// 50 ns.
#[derive(Clone, Copy, Debug)]
pub struct Calibration {
    first: Anchor,
    last: Anchor,
    ns_per_tick: f64,
}

/// What the process has compared last.
static NEWEST: Mutex<Option<Calibration>> = Mutex::new(None);

impl Calibration {
    /// Compares the clocks.
    ///
    /// Within the first 100 µs of the process's clock, it waits until they are over.
    pub fn start() -> Self {
        let start = counter::start();
        let mut newest = NEWEST.lock().unwrap_or_else(PoisonError::into_inner);
        Self::start_after(&mut newest, start.anchor, || Anchor::now(|| start.read()))
    }

    /// Goes on from the process's newest calibration, so that a clock that goes otherwise since is
    /// noticed; from its first anchor if there is none.
    fn start_after(
        newest: &mut Option<Self>,
        first: Anchor,
        mut now: impl FnMut() -> Anchor,
    ) -> Self {
        let calibration = match *newest {
            Some(mut calibration) => {
                calibration.advance(now());
                calibration
            }
            None => Self::measure(first, now),
        };
        *newest = Some(calibration);
        calibration
    }

    /// Compares the clocks until they are far enough from the first anchor; from a new one, if a
    /// clock has begun again since.
    fn measure(mut first: Anchor, mut now: impl FnMut() -> Anchor) -> Self {
        loop {
            let last = now();
            if last.is_before(&first) {
                first = last;
            }
            if last.width_since(&first) >= LEAST_WIDTH
                && let Some(ns_per_tick) = last.rate_since(&first)
            {
                return Self {
                    first,
                    last,
                    ns_per_tick,
                };
            }
            std::hint::spin_loop();
        }
    }

    /// Compares the clocks again, so that what has happened since is converted as exactly.
    pub fn refresh(&mut self) {
        let start = counter::start();
        self.advance(Anchor::now(|| start.read()));
    }

    /// What a difference of ticks is in nanoseconds.
    #[must_use]
    pub fn nanoseconds(&self, difference: u64) -> u64 {
        rounded(difference as f64 * self.ns_per_tick)
    }

    /// Nanoseconds since 1970 at a moment, by the time of day when the clocks were last compared:
    /// moments that were converted by one calibration keep their distance, even if the time of day
    /// was set between them.
    #[must_use]
    pub fn unix_nanoseconds(&self, at: Ticks) -> u64 {
        let (base, base_ns) = (self.last.real_ticks, self.last.real_ns);
        if at.0 >= base {
            base_ns.saturating_add(self.nanoseconds(at.0 - base))
        } else {
            base_ns.saturating_sub(self.nanoseconds(base - at.0))
        }
    }

    fn advance(&mut self, now: Anchor) {
        let recent = now.rate_since(&self.last);
        let is_known = now.width_since(&self.last) >= CHECKED_WIDTH;
        let has_changed = match recent {
            Some(rate) => is_known && (rate / self.ns_per_tick - 1.0).abs() > TOLERANCE,
            None => is_known || now.is_before(&self.last),
        };
        // What was before says nothing of a clock that goes otherwise since.
        if has_changed {
            self.first = if recent.is_some() { self.last } else { now };
        }
        if now.width_since(&self.first) >= LEAST_WIDTH
            && let Some(rate) = now.rate_since(&self.first)
        {
            self.ns_per_tick = rate;
        }
        self.last = now;
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a float becomes the nearest integer that there is"
)]
fn rounded(nanoseconds: f64) -> u64 {
    nanoseconds.round() as u64
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    /// An anchor of a clock that has counted `ticks` when `elapsed` has passed.
    fn anchor(ticks: u64, elapsed: Duration) -> Anchor {
        let real_ns = 1_700_000_000_000_000_000 + u64::try_from(elapsed.as_nanos()).unwrap();
        Anchor {
            ticks,
            since_boot: elapsed,
            real_ticks: ticks,
            real_ns,
        }
    }

    fn calibration(anchors: &[(u64, Duration)]) -> Calibration {
        let first = anchor(anchors[0].0, anchors[0].1);
        let mut calibration = Calibration {
            first,
            last: first,
            ns_per_tick: 1.0,
        };
        for (ticks, elapsed) in &anchors[1..] {
            calibration.advance(anchor(*ticks, *elapsed));
        }
        calibration
    }

    #[test]
    fn ticks_become_nanoseconds_by_the_widest_pair() {
        let second = Duration::from_secs(1);
        // 2.5 GHz, where the comparison in the middle is 1 µs late.
        let late = (2_500_000_000, second + Duration::from_micros(1));
        let c = calibration(&[(0, Duration::ZERO), late, (250_000_000_000, second * 100)]);
        assert_eq!(c.nanoseconds(0), 0);
        assert_eq!(c.nanoseconds(5), 2);
        assert_eq!(c.nanoseconds(2_500_000_000), 1_000_000_000);
        // A float is exact to 53 bits.
        let longest = c.nanoseconds(u64::MAX).abs_diff(7_378_697_629_483_820_646);
        assert!(longest <= 1024, "off by {longest} ns of 234 years");
        let at = |ticks| c.unix_nanoseconds(Ticks(ticks));
        assert_eq!(at(250_000_000_000), 1_700_000_100_000_000_000);
        assert_eq!(at(250_000_000_025), 1_700_000_100_000_000_010);
        assert_eq!(at(0), 1_700_000_000_000_000_000);
    }

    #[test]
    fn a_clock_that_goes_otherwise_is_measured_anew() {
        let second = Duration::from_secs(1);
        let begin = [(0, Duration::ZERO), (1_000_000_000, second)];
        // The machine goes on with ticks of half a nanosecond.
        let faster = [begin[0], begin[1], (3_000_000_000, second * 2)];
        assert_eq!(calibration(&begin).nanoseconds(1000), 1000);
        assert_eq!(calibration(&faster).nanoseconds(1000), 500);
        // Its counter begins again, and the next pair tells how fast it is.
        let again = [begin[0], begin[1], (10, second * 2)];
        assert_eq!(calibration(&again).nanoseconds(1000), 1000);
        let later = [
            begin[0],
            begin[1],
            (10, second * 2),
            (4_000_000_010, second * 3),
        ];
        assert_eq!(calibration(&later).nanoseconds(1000), 250);
    }

    #[test]
    fn a_counter_that_begins_again_before_it_was_measured_is_measured_from_there() {
        let [second, microsecond] = [Duration::from_secs(1), Duration::from_micros(1)];
        // It counted nanoseconds; where the machine goes on, it counts two in each.
        let first = anchor(10_000_000_000, second);
        let mut later = (0..).map(|step: u32| {
            let ticks = 5_000 + 20_000 * u64::from(step);
            anchor(ticks, second + microsecond * 10 * (step + 1))
        });
        let c = Calibration::start_after(&mut None, first, || later.next().unwrap());
        assert_eq!(c.nanoseconds(2_000), 1_000);
        assert_eq!(c.first.ticks, 5_000);
        assert_eq!(c.last.width_since(&c.first), LEAST_WIDTH);
    }

    #[test]
    fn a_calibration_goes_on_from_the_newest_one() {
        let second = Duration::from_secs(1);
        let zero = anchor(0, Duration::ZERO);
        let mut newest = None;
        let mut at =
            |ticks, elapsed| Calibration::start_after(&mut newest, zero, || anchor(ticks, elapsed));
        assert_eq!(at(1_000_000_000, second).nanoseconds(1000), 1000);
        assert_eq!(at(2_000_000_000, second * 2).nanoseconds(1000), 1000);
        // The counter goes on for an hour that the operating system does not know of. That hour is
        // in the rate until the next comparison, and not ever after.
        let hour = 3_600_000_000_000;
        at(hour + 3_000_000_000, second * 3);
        let after = at(hour + 4_000_000_000, second * 4);
        assert_eq!(after.nanoseconds(1000), 1000);
        // It is restored a moment after that, which is sooner than rates are compared.
        let moment = Duration::from_millis(1);
        at(500, second * 4 + moment);
        let restored = at(1_000_000_500, second * 5 + moment);
        assert_eq!(restored.nanoseconds(1000), 1000);
        assert_eq!(restored.first.ticks, 500);
    }

    #[test]
    fn the_clock_agrees_with_the_operating_systems() {
        const ERROR: Duration = Duration::from_millis(1);
        // Between two readings of the other clock each, however long the thread is kept waiting.
        let before = Instant::now();
        let begin = super::super::now();
        let after = Instant::now();
        let mut calibration = Calibration::start();
        while after.elapsed() < Duration::from_millis(20) {
            std::hint::spin_loop();
        }
        let day_before = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let least = after.elapsed();
        let end = super::super::now();
        let most = before.elapsed();
        let day_after = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        calibration.refresh();
        let measured = Duration::from_nanos(calibration.nanoseconds(end.since(begin)));
        assert!(
            least <= measured + ERROR && measured <= most + ERROR,
            "{measured:?}, not from {least:?} to {most:?}"
        );
        let unix = Duration::from_nanos(calibration.unix_nanoseconds(end));
        assert!(
            day_before <= unix + ERROR && unix <= day_after + ERROR,
            "{unix:?}, not from {day_before:?} to {day_after:?}"
        );
        assert_eq!(begin.since(end), 0);
    }
}
