//! From the kernel's monotonic clock to Unix time.
//!
//! Both are disciplined alike, so that they stay apart by the same amount until somebody sets the
//! wall's clock, or the machine sleeps, in which the monotonic clock stands still. Each span is dated
//! by what held at its end; what it lasted stays what it lasted, time asleep included.

use std::mem;

/// Readings that came no further apart are of one moment. Usually it is 100 ns.
const TIGHT_NS: u64 = 20_000;

/// Attempts at readings of one moment. If none is, as where reading a clock is slow, that which came
/// nearest is what is known.
const ATTEMPTS: usize = 8;

/// Differences up to this are noise of reading, and are not followed: a span would seem to begin
/// before its parent. Far below what wall clocks of two machines differ by.
const NOISE_NS: i64 = 20_000;

/// Changes that are remembered. Spans from before are dated by the oldest one.
const REMEMBERED: usize = 32;

/// What three clocks say at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::struct_field_names, reason = "the unit is part of each name")]
pub(super) struct Reading {
    monotonic_ns: u64,
    /// Since boot, time asleep included.
    boot_ns: u64,
    /// Since 1970.
    unix_ns: u64,
    /// How far apart they may have been read.
    spread_ns: u64,
}

/// How far clocks are apart, from when on. Knows their past, as far as it was observed.
#[derive(Clone, Debug, Default)]
pub(super) struct Timeline {
    /// Time asleep: from the monotonic clock to the one since boot.
    asleep: Apart,
    /// From the clock since boot to Unix time.
    epoch: Apart,
}

/// A difference of two clocks: by when it began to hold, by the monotonic clock, oldest first.
#[derive(Clone, Debug, Default)]
struct Apart(Vec<(u64, i64)>);

impl Reading {
    /// What the clocks say now.
    pub(super) fn now() -> Self {
        Self::by(read)
    }

    fn by(mut read: impl FnMut(libc::clockid_t) -> u64) -> Self {
        let mut attempt = || {
            let before = read(libc::CLOCK_MONOTONIC);
            let boot_ns = read(libc::CLOCK_BOOTTIME);
            let unix_ns = read(libc::CLOCK_REALTIME);
            let spread_ns = read(libc::CLOCK_MONOTONIC).saturating_sub(before);
            Self {
                monotonic_ns: before + spread_ns / 2,
                boot_ns,
                unix_ns,
                spread_ns,
            }
        };
        let mut tightest = attempt();
        for _ in 1..ATTEMPTS {
            if tightest.spread_ns <= TIGHT_NS {
                break;
            }
            let another = attempt();
            if another.spread_ns < tightest.spread_ns {
                tightest = another;
            }
        }
        tightest
    }
}

impl Timeline {
    /// Takes up what the clocks say. To be called more often than they are set.
    pub(super) fn observe(&mut self, reading: Reading) {
        let Reading {
            monotonic_ns,
            boot_ns,
            unix_ns,
            spread_ns,
        } = reading;
        let noise_ns = NOISE_NS.max(spread_ns.cast_signed());
        self.asleep
            .observe(monotonic_ns, (monotonic_ns, boot_ns), noise_ns);
        self.epoch
            .observe(monotonic_ns, (boot_ns, unix_ns), noise_ns);
    }

    /// When a moment of the monotonic clock was, in nanoseconds since 1970.
    pub(super) fn unix_ns(&self, monotonic_ns: u64) -> u64 {
        let boot_ns = self.boot_ns(monotonic_ns);
        boot_ns.saturating_add_signed(self.epoch.at(monotonic_ns))
    }

    /// When a span began and ended, in nanoseconds since 1970. A clock that was set meanwhile makes
    /// it neither longer nor shorter.
    pub(super) fn span(&self, start_ns: u64, end_ns: u64) -> (u64, u64) {
        let lasted_ns = self.boot_ns(end_ns).saturating_sub(self.boot_ns(start_ns));
        let end = self.unix_ns(end_ns);
        (end.saturating_sub(lasted_ns), end)
    }

    /// When a moment since boot was, in nanoseconds since 1970, by what holds now.
    pub(super) fn unix_since_boot_ns(&self, boot_ns: u64) -> u64 {
        boot_ns.saturating_add_signed(self.epoch.now())
    }

    /// When a moment since boot was by the monotonic clock, if the machine has not slept since.
    pub(super) fn monotonic_ns(&self, boot_ns: u64) -> u64 {
        boot_ns.saturating_add_signed(-self.asleep.now())
    }

    fn boot_ns(&self, monotonic_ns: u64) -> u64 {
        monotonic_ns.saturating_add_signed(self.asleep.at(monotonic_ns))
    }
}

impl Apart {
    fn observe(&mut self, now_ns: u64, (from, to): (u64, u64), noise_ns: i64) {
        let apart = to.wrapping_sub(from).cast_signed();
        let last = self.0.last().map(|(_, last)| *last);
        if last.is_some_and(|last| (apart - last).abs() <= noise_ns) {
            return;
        }
        if self.0.len() == REMEMBERED {
            self.0.remove(0);
        }
        // The first holds for everything before as well.
        self.0.push((now_ns, apart));
    }

    /// The difference at a moment of the monotonic clock.
    fn at(&self, monotonic_ns: u64) -> i64 {
        let mut newest_first = self.0.iter().rev();
        let found = newest_first.find(|(from_ns, _)| *from_ns <= monotonic_ns);
        found.or(self.0.first()).map_or(0, |(_, apart)| *apart)
    }

    fn now(&self) -> i64 {
        self.0.last().map_or(0, |(_, apart)| *apart)
    }
}

fn read(clock: libc::clockid_t) -> u64 {
    // SAFETY: a plain structure of integers.
    let mut time: libc::timespec = unsafe { mem::zeroed() };
    // SAFETY: the result lives across the call, which cannot fail with these clocks.
    unsafe { libc::clock_gettime(clock, &raw mut time) };
    // Neither part is ever negative after 1970.
    let [seconds, nanoseconds] =
        [time.tv_sec, time.tv_nsec].map(|part| u64::try_from(part).unwrap_or(0));
    seconds * 1_000_000_000 + nanoseconds
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime, UNIX_EPOCH};

    use super::*;

    const SECOND: u64 = 1_000_000_000;
    const EPOCH: u64 = 1_700_000_000 * SECOND;

    /// At a second of the monotonic clock, after so much sleep, with a wall's clock that is ahead.
    fn reading(second: u64, asleep: u64, ahead_ns: i64) -> Reading {
        let boot_ns = (second + asleep) * SECOND;
        Reading {
            monotonic_ns: second * SECOND,
            boot_ns,
            unix_ns: (EPOCH + boot_ns).saturating_add_signed(ahead_ns),
            spread_ns: 100,
        }
    }

    #[test]
    fn steady_clocks_stay_as_far_apart_as_at_first() {
        let mut timeline = Timeline::default();
        for second in 10..1_000 {
            let noise = if second % 2 == 0 { 700 } else { -700 };
            timeline.observe(reading(second, 0, noise));
        }
        let (start, end) = timeline.span(5 * SECOND, 500 * SECOND + 1);
        assert_eq!(end - start, 495 * SECOND + 1);
        assert_eq!(end, EPOCH + 500 * SECOND + 1 + 700);
        assert_eq!(timeline.unix_since_boot_ns(SECOND), EPOCH + SECOND + 700);
    }

    #[test]
    fn a_clock_that_is_set_changes_dates_and_no_durations() {
        let mut timeline = Timeline::default();
        timeline.observe(reading(10, 0, 0));
        for (from, ahead) in [(20, -3_600), (30, 86_400)] {
            let ahead_ns = ahead * SECOND.cast_signed();
            timeline.observe(reading(from, 0, ahead_ns));
            let now = EPOCH + (from + 5) * SECOND;
            let (start, end) = timeline.span((from - 5) * SECOND, (from + 5) * SECOND);
            assert_eq!(end, now.saturating_add_signed(ahead_ns));
            assert_eq!(end - start, 10 * SECOND);
        }
        // What ended before it was set is dated by what held then.
        assert_eq!(timeline.unix_ns(15 * SECOND), EPOCH + 15 * SECOND);
        assert_eq!(timeline.unix_ns(SECOND), EPOCH + SECOND);
    }

    #[test]
    fn sleep_is_a_part_of_what_lasted_over_it() {
        let mut timeline = Timeline::default();
        timeline.observe(reading(10, 0, 0));
        timeline.observe(reading(20, 100, 0));
        let (start, end) = timeline.span(15 * SECOND, 25 * SECOND);
        assert_eq!(start, EPOCH + 15 * SECOND);
        assert_eq!(end, EPOCH + 125 * SECOND);
        assert_eq!(timeline.monotonic_ns(125 * SECOND), 25 * SECOND);
        assert_eq!(
            timeline.unix_since_boot_ns(125 * SECOND),
            EPOCH + 125 * SECOND
        );
    }

    #[test]
    fn drift_is_followed() {
        let mut timeline = Timeline::default();
        // 50 µs a second: more than a clock that is not disciplined has.
        for second in 0..1_000 {
            timeline.observe(reading(second, 0, second.cast_signed() * 50_000));
        }
        let unix_ns = timeline.unix_ns(999 * SECOND);
        assert_eq!(unix_ns, EPOCH + 999 * SECOND + 999 * 50_000);
        assert!(timeline.epoch.0.len() <= REMEMBERED);
    }

    #[test]
    fn clocks_that_are_slow_to_read_still_say_when_it_is() {
        // Each reading takes as long as the one before and a little more, and is never tight.
        let (mut now, mut step) = (10 * SECOND, 40_000);
        let reading = Reading::by(|clock| {
            step += 1_000;
            now += step;
            now + if clock == libc::CLOCK_REALTIME {
                EPOCH
            } else {
                0
            }
        });
        assert!(
            (120_000..140_000).contains(&reading.spread_ns),
            "{reading:?}"
        );
        let mut timeline = Timeline::default();
        timeline.observe(reading);
        let apart = timeline.unix_ns(20 * SECOND).abs_diff(EPOCH + 20 * SECOND);
        assert!(apart <= reading.spread_ns, "{apart}");

        // What such a reading cannot tell from noise is not followed; a better one is.
        let loose = |ahead_ns| Reading {
            spread_ns: 130_000,
            ..self::reading(30, 0, ahead_ns)
        };
        let before = timeline.unix_ns(40 * SECOND);
        timeline.observe(loose(100_000));
        assert_eq!(timeline.unix_ns(40 * SECOND), before);
        timeline.observe(self::reading(35, 0, 0));
        assert_eq!(timeline.unix_ns(40 * SECOND), EPOCH + 40 * SECOND);
    }

    #[test]
    fn this_machines_clocks_are_read_at_one_moment() {
        let reading = Reading::now();
        let mut timeline = Timeline::default();
        timeline.observe(reading);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let of_kernel = timeline.unix_ns(crate::clock::monotonic_ns());
        let apart = now.abs_diff(Duration::from_nanos(of_kernel));
        assert!(apart < Duration::from_millis(100), "{apart:?}");
    }
}
