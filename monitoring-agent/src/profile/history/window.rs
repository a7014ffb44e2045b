//! A window of time: how its file is named, and what it overlaps.
//!
//! Knows no file system. Times are milliseconds since 1970, never negative, whatever the clock
//! says: a clock that stands before 1970 gives 0.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::profile::Type;

/// Digits of a time in a name: all have as many, so that names sort as the times do. They reach to
/// the year 2286.
const DIGITS: usize = 13;

/// The last time that can be written with so many.
const LAST_MS: u64 = 9_999_999_999_999;

const PREFIX: &str = "profile-";
const SUFFIX: &str = ".pb.gz";

/// Windows with a shorter gap between them are told as one span: ending one and beginning the next
/// takes a moment.
const GAP_MS: u64 = 1_000;

/// What one file is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Window {
    /// Of what the profile is.
    pub kind: Type,
    /// When it began.
    pub start_ms: u64,
    /// When it ended; not before it began.
    pub end_ms: u64,
}

/// A span of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span {
    /// Its beginning, in milliseconds since 1970.
    pub start_ms: u64,
    /// Its end, likewise; not before its beginning.
    pub end_ms: u64,
}

impl Window {
    /// The window of this length that ends at `end`. The length comes from a clock that never
    /// jumps; the wall's clock is read once, at the end, when it is most likely to be right.
    pub fn ending(kind: Type, end: SystemTime, length: Duration) -> Self {
        let end_ms = unix_ms(end);
        let length_ms = u64::try_from(length.as_millis()).unwrap_or(u64::MAX);
        Self {
            kind,
            start_ms: end_ms.saturating_sub(length_ms),
            end_ms,
        }
    }

    /// The name of its file.
    pub fn name(&self) -> String {
        let (kind, start, end) = (self.kind, self.start_ms, self.end_ms);
        format!("{PREFIX}{kind}-{start:0DIGITS$}-{end:0DIGITS$}{SUFFIX}")
    }

    /// The window whose file has exactly this name.
    pub fn named(name: &str) -> Option<Self> {
        let middle = name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?;
        let mut parts = middle.split('-');
        let (kind, start, end) = (parts.next()?, parts.next()?, parts.next()?);
        let window = Self {
            kind: Type::named(kind)?,
            start_ms: start.parse().ok()?,
            end_ms: end.parse().ok()?,
        };
        // What is written in another way, such as +1 or with more digits, is not ours.
        (window.start_ms <= window.end_ms && window.name() == name).then_some(window)
    }

    /// The name of its file while it is written.
    pub fn name_while_written(&self) -> String {
        format!(".{}.tmp", self.name())
    }

    /// Whether this is exactly the name of a file that was being written.
    pub fn is_half_written(name: &str) -> bool {
        let name = name
            .strip_prefix('.')
            .and_then(|name| name.strip_suffix(".tmp"));
        name.and_then(Self::named).is_some()
    }

    /// Its span of time.
    pub fn span(&self) -> Span {
        Span {
            start_ms: self.start_ms,
            end_ms: self.end_ms,
        }
    }

    /// A window a millisecond longer, for when the name is taken: a clock may be put back to the
    /// very millisecond.
    #[must_use]
    pub fn longer(self) -> Self {
        Self {
            end_ms: (self.end_ms + 1).min(LAST_MS),
            ..self
        }
    }
}

impl Span {
    /// From one time to another; empty where they are not in this order.
    pub fn new(start: SystemTime, end: SystemTime) -> Self {
        let (start_ms, end_ms) = (unix_ms(start), unix_ms(end));
        Self {
            start_ms,
            end_ms: end_ms.max(start_ms),
        }
    }

    /// Whether the two have more in common than a bound. A moment is in common, too.
    pub fn overlaps(&self, other: &Self) -> bool {
        let end = |span: &Self| span.end_ms.max(span.start_ms + 1);
        self.start_ms < end(other) && other.start_ms < end(self)
    }

    /// When it begins.
    pub fn start(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(self.start_ms)
    }

    /// When it ends.
    pub fn end(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(self.end_ms)
    }

    /// What these cover together: in order, without overlaps, and without gaps of a second or less.
    pub fn union(spans: impl IntoIterator<Item = Self>) -> Vec<Self> {
        let mut spans: Vec<Self> = spans.into_iter().collect();
        spans.sort_unstable();
        let mut union: Vec<Self> = Vec::new();
        for span in spans {
            match union.last_mut() {
                Some(last) if span.start_ms <= last.end_ms.saturating_add(GAP_MS) => {
                    last.end_ms = last.end_ms.max(span.end_ms);
                }
                _ => union.push(span),
            }
        }
        union
    }
}

impl std::fmt::Display for Span {
    /// As an interval of ISO 8601.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (start, end) = (self.start(), self.end());
        let time = humantime::format_rfc3339_millis;
        write!(f, "{}/{}", time(start), time(end))
    }
}

fn unix_ms(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis())
        .unwrap_or(LAST_MS)
        .min(LAST_MS)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn window(start_ms: u64, end_ms: u64) -> Window {
        Window {
            kind: Type::Cpu,
            start_ms,
            end_ms,
        }
    }

    #[test]
    fn names_are_exact() {
        let name = "profile-offcpu-1700000000000-1700000600000.pb.gz";
        let want = Window {
            kind: Type::OffCpu,
            ..window(1_700_000_000_000, 1_700_000_600_000)
        };
        assert_eq!(Window::named(name), Some(want));
        assert!(Window::is_half_written(&format!(".{name}.tmp")));
        for foreign in [
            "profile-cpu-1700000000000-1700000600000.pb",
            "profile-cpu-1700000000000-1700000600000.pb.gz.bak",
            "profile-cpu-1700000600000-1700000000000.pb.gz",
            "profile-cpu-01700000000000-1700000600000.pb.gz",
            "profile-cpu-+700000000000-1700000600000.pb.gz",
            "profile-cpu-170000000000-1700000600000.pb.gz",
            "profile-cpu-1700000000000-1700000600000-1.pb.gz",
            "profile-gpu-1700000000000-1700000600000.pb.gz",
            "profile-cpu-1700000000000.pb.gz",
            "profile.pb.gz",
            ".profile-cpu-1700000000000-1700000600000.pb.gz",
            "",
        ] {
            assert_eq!(Window::named(foreign), None, "{foreign}");
            assert!(!Window::is_half_written(&format!(".{foreign}.tmp")));
        }
        assert!(!Window::is_half_written(name));
    }

    #[test]
    fn a_window_is_never_negative() {
        let check = |end_ms: i64, length: Duration, want: (u64, u64)| {
            let distance = Duration::from_millis(end_ms.unsigned_abs());
            let end = if end_ms < 0 {
                UNIX_EPOCH - distance
            } else {
                UNIX_EPOCH + distance
            };
            let got = Window::ending(Type::Cpu, end, length);
            assert_eq!((got.start_ms, got.end_ms), want);
            assert_eq!(Window::named(&got.name()), Some(got));
        };
        check(10_000, Duration::from_secs(4), (6_000, 10_000));
        check(1_000, Duration::from_secs(4), (0, 1_000));
        check(-5_000, Duration::from_secs(4), (0, 0));
        check(5_000, Duration::MAX, (0, 5_000));
        let beyond = i64::try_from(LAST_MS).unwrap() + 7;
        check(beyond, Duration::from_millis(9), (LAST_MS - 9, LAST_MS));
    }

    #[test]
    fn spans_that_touch_are_one() {
        let span = |(start_ms, end_ms)| Span { start_ms, end_ms };
        let check = |spans: &[(u64, u64)], want: &[(u64, u64)]| {
            let union = Span::union(spans.iter().copied().map(span));
            let want: Vec<_> = want.iter().copied().map(span).collect();
            assert_eq!(union, want);
        };
        check(&[], &[]);
        check(&[(5, 9)], &[(5, 9)]);
        check(&[(9_000, 12_000), (0, 8_000)], &[(0, 12_000)]);
        check(
            &[(0, 8_000), (9_001, 12_000)],
            &[(0, 8_000), (9_001, 12_000)],
        );
        // A clock that was put back gives windows that overlap, or lie in others.
        check(&[(0, 8_000), (2_000, 3_000), (7_000, 9_000)], &[(0, 9_000)]);
    }

    #[test]
    fn a_bound_is_not_in_common() {
        let span = |start_ms, end_ms| Span { start_ms, end_ms };
        let check = |other: Span, want: bool| {
            assert_eq!(span(10, 20).overlaps(&other), want, "{other:?}");
            assert_eq!(other.overlaps(&span(10, 20)), want, "{other:?}");
        };
        check(span(0, 10), false);
        check(span(0, 11), true);
        check(span(20, 30), false);
        check(span(19, 30), true);
        check(span(12, 13), true);
        check(span(10, 10), true);
        check(span(20, 20), false);
    }

    proptest! {
        #[test]
        fn any_window_is_read_back(kind in 0..3_usize, start in 0..=LAST_MS, length in 0..=LAST_MS) {
            let end_ms = (start + length).min(LAST_MS);
            let window = Window { kind: Type::ALL[kind], start_ms: start, end_ms };
            prop_assert_eq!(Window::named(&window.name()), Some(window));
            prop_assert!(Window::is_half_written(&window.name_while_written()));
        }

        #[test]
        fn names_sort_as_times_do(a in 0..=LAST_MS, b in 0..=LAST_MS) {
            let (one, other) = (window(a, LAST_MS), window(b, LAST_MS));
            prop_assert_eq!(one.name().cmp(&other.name()), a.cmp(&b));
        }

        #[test]
        fn a_name_that_is_taken_for_ours_is_ours(name in "profile-[a-z]{3,6}-[0-9+]{12,14}-[0-9-]{12,14}[.]pb[.]gz") {
            if let Some(window) = Window::named(&name) {
                prop_assert_eq!(window.name(), name);
            }
        }

        #[test]
        fn any_name_is_survived(name in ".*") {
            prop_assert_eq!(Window::named(&name), None);
        }
    }
}
