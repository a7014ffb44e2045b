//! What has to go: by room, and by age where the clock can be trusted.
//!
//! Decides only; knows no file system and reads no clock.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::{directory::Kept, window::Window};

/// The clock of the wall and one that never jumps must have agreed for so long before anything is
/// deleted for its age: a clock that is set a year ahead by mistake must not take a year of history
/// with it.
const TRUSTED_AFTER: Duration = Duration::from_hours(6);

/// Less than this between two looks is no jump: clocks are slewed, and reading them takes time.
const TOLERANCE: Duration = Duration::from_mins(1);

/// The time by two clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// By the clock of the wall, which may be set.
    pub wall: SystemTime,
    /// Since the machine was booted, sleep included. Never jumps.
    pub since_boot: Duration,
}

impl Now {
    /// Reads both.
    pub fn read() -> Self {
        Self {
            wall: SystemTime::now(),
            since_boot: crate::clock::since_boot(),
        }
    }
}

/// For how long the wall's clock has not jumped.
#[derive(Clone, Copy, Debug)]
pub(super) struct Steadiness {
    last: Now,
    since: Duration,
}

impl Steadiness {
    pub(super) fn begin(now: Now) -> Self {
        Self {
            last: now,
            since: now.since_boot,
        }
    }

    /// Takes another look; says whether the clock jumped since the one before.
    pub(super) fn look(&mut self, now: Now) -> bool {
        let passed = now.since_boot.saturating_sub(self.last.since_boot);
        let expected = self.last.wall + passed;
        let off = now.wall.duration_since(expected);
        let off = off.unwrap_or_else(|early| early.duration());
        let jumped = off > TOLERANCE;
        if jumped {
            self.since = now.since_boot;
        }
        self.last = now;
        jumped
    }

    /// Between which moments windows should have ended. `None` while the clock cannot be trusted.
    pub(super) fn plausible(&self, retention: Duration) -> Option<Plausible> {
        if self.last.since_boot.saturating_sub(self.since) < TRUSTED_AFTER {
            return None;
        }
        let unix_ms = |time: SystemTime| {
            let since = time.duration_since(UNIX_EPOCH).ok()?;
            u64::try_from(since.as_millis()).ok()
        };
        Some(Plausible {
            oldest_ms: unix_ms(self.last.wall.checked_sub(retention)?)?,
            newest_ms: unix_ms(self.last.wall.checked_add(TOLERANCE)?)?,
        })
    }
}

/// When windows ended, by a clock that can be trusted; in milliseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Plausible {
    /// What ended before is too old.
    oldest_ms: u64,
    /// What ended after was named by a clock that was ahead.
    newest_ms: u64,
}

/// In which order windows go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    /// Goes in any case.
    TooOld,
    /// Ended in the future, so that it would outlive all that is true. Nobody knows when it was;
    /// it goes first where room is needed, and no sooner: the clock may be wrong now, not then.
    FromFuture,
    Other,
}

impl Rank {
    fn of(window: Window, plausible: Option<Plausible>) -> Self {
        match plausible {
            Some(plausible) if window.end_ms < plausible.oldest_ms => Self::TooOld,
            Some(plausible) if window.end_ms > plausible.newest_ms => Self::FromFuture,
            _ => Self::Other,
        }
    }
}

/// Which windows have to go, so that there is room for one more file: what is too old, then what
/// cannot be true, then the oldest. The files may come in any order.
pub(super) fn surplus(
    kept: Vec<Kept>,
    new_bytes: u64,
    max_bytes: u64,
    plausible: Option<Plausible>,
) -> Vec<Window> {
    let ranked = kept.into_iter();
    let mut ranked: Vec<_> = ranked
        .map(|file| (Rank::of(file.window, plausible), file))
        .collect();
    ranked.sort_unstable_by_key(|(rank, file)| (*rank, file.window.end_ms, file.window));
    let all: u64 = ranked.iter().map(|(_, file)| file.bytes).sum();
    let mut total = all.saturating_add(new_bytes);
    let mut surplus = Vec::new();
    for (rank, file) in ranked {
        if total <= max_bytes && rank != Rank::TooOld {
            break;
        }
        total -= file.bytes;
        surplus.push(file.window);
    }
    surplus
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::Type;

    fn kept(end_ms: u64, bytes: u64) -> Kept {
        let window = Window {
            kind: Type::Cpu,
            start_ms: end_ms.saturating_sub(10),
            end_ms,
        };
        Kept { window, bytes }
    }

    #[test]
    fn the_oldest_make_room() {
        let check = |max_bytes: u64, oldest_ms: Option<u64>, want: &[u64]| {
            let files = vec![kept(300, 5), kept(100, 10), kept(200, 20)];
            let plausible = oldest_ms.map(|oldest_ms| Plausible {
                oldest_ms,
                newest_ms: 1000,
            });
            let surplus = surplus(files, 7, max_bytes, plausible);
            let ends: Vec<_> = surplus.iter().map(|window| window.end_ms).collect();
            assert_eq!(ends, want, "{max_bytes} {oldest_ms:?}");
        };
        check(42, None, &[]);
        check(41, None, &[100]);
        check(32, None, &[100]);
        check(31, None, &[100, 200]);
        check(7, None, &[100, 200, 300]);
        check(42, Some(100), &[]);
        check(42, Some(101), &[100]);
        check(42, Some(1000), &[100, 200, 300]);
        check(12, Some(101), &[100, 200]);
    }

    #[test]
    fn what_is_from_the_future_makes_room_first() {
        let check = |max_bytes: u64, oldest_ms: u64, newest_ms: u64, want: &[u64]| {
            let files = vec![kept(300, 5), kept(900, 9), kept(100, 10), kept(800, 8)];
            let plausible = Plausible {
                oldest_ms,
                newest_ms,
            };
            let surplus = surplus(files, 7, max_bytes, Some(plausible));
            let ends: Vec<_> = surplus.iter().map(|window| window.end_ms).collect();
            assert_eq!(ends, want, "{max_bytes} {oldest_ms} {newest_ms}");
        };
        check(39, 0, 300, &[]);
        check(38, 0, 300, &[800]);
        check(31, 0, 300, &[800]);
        check(30, 0, 300, &[800, 900]);
        check(21, 0, 300, &[800, 900, 100]);
        check(29, 0, 800, &[900, 100]);
        check(31, 0, 900, &[100]);
        // What is too old goes anyway, and may be enough.
        check(29, 101, 300, &[100]);
        check(28, 101, 300, &[100, 800]);
    }

    const HOUR: Duration = Duration::from_hours(1);
    const RETENTION: Duration = Duration::from_hours(24);

    fn at(wall_hours: u32, boot_hours: u32) -> Now {
        Now {
            wall: UNIX_EPOCH + HOUR * wall_hours,
            since_boot: HOUR * boot_hours,
        }
    }

    #[test]
    fn age_counts_where_the_clock_is_steady() {
        let plausible = |wall_hours: u64| Plausible {
            oldest_ms: (wall_hours - 24) * 3_600_000,
            newest_ms: wall_hours * 3_600_000 + 60_000,
        };
        let mut clock = Steadiness::begin(at(1000, 5));
        assert_eq!(clock.plausible(RETENTION), None);
        assert!(!clock.look(at(1005, 10)));
        assert_eq!(clock.plausible(RETENTION), None, "not for long enough");
        assert!(!clock.look(at(1006, 11)));
        assert_eq!(clock.plausible(RETENTION), Some(plausible(1006)));
        for (wall, name) in [(9000, "ahead"), (3, "back")] {
            let mut clock = clock;
            assert!(clock.look(at(wall, 12)), "{name}");
            assert_eq!(clock.plausible(RETENTION), None, "{name}");
            assert!(!clock.look(at(wall + 5, 17)), "{name}");
            assert_eq!(clock.plausible(RETENTION), None, "{name}");
            assert!(!clock.look(at(wall + 6, 18)), "{name}");
            // Before 1970 and a day nothing could be older, and the clock is wrong.
            let want = (wall + 6 > 24).then(|| plausible(u64::from(wall) + 6));
            assert_eq!(clock.plausible(RETENTION), want, "{name}");
        }
    }

    #[test]
    fn a_slewed_clock_is_no_jump() {
        let mut clock = Steadiness::begin(at(1000, 5));
        let mut now = at(1001, 6);
        now.wall += Duration::from_secs(59);
        assert!(!clock.look(now));
        now.wall -= Duration::from_secs(61);
        assert!(clock.look(now));
    }
}
