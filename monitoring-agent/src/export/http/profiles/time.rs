//! Reads a moment as people and programs write it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How a moment is written, for messages.
pub(super) const CURE: &str = "use a time with its zone (2026-01-31T03:12:00Z, \
    2026-01-31T03:12:00+01:00), seconds since 1970 (1769829120), or a time before now (-1h, -90m)";

/// The largest number of seconds since 1970: that of a time of eleven digits is in the year 5138,
/// so it is one in milliseconds.
const MOST_SECONDS: u64 = 9_999_999_999;

/// Longest text. None that means something is longer; what reads durations can overflow on some.
const LONGEST: usize = 40;

/// Most digits of a time before now. With more, what reads durations may panic.
const DURATION_DIGITS: usize = 12;

/// The moment that this text means, or why it means none.
pub(super) fn parse(text: &str, now: SystemTime) -> Result<SystemTime, &'static str> {
    if text.len() > LONGEST || !text.is_ascii() {
        return Err("no time");
    }
    if text == "now" {
        return Ok(now);
    }
    if let Some(before) = text.strip_prefix('-') {
        if before.bytes().filter(u8::is_ascii_digit).count() > DURATION_DIGITS {
            return Err("too long ago");
        }
        let before = humantime::parse_duration(before);
        let before = before.map_err(|_| "no time before now; a number needs a unit")?;
        let then = now.checked_sub(before);
        return then
            .filter(|then| *then >= UNIX_EPOCH)
            .ok_or("too long ago");
    }
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        let seconds: u64 = text.parse().map_err(|_| "no time")?;
        if seconds > MOST_SECONDS {
            return Err("too far ahead; are these milliseconds?");
        }
        return Ok(UNIX_EPOCH + Duration::from_secs(seconds));
    }
    date(&text.to_ascii_uppercase()).ok_or("no time with a zone")
}

/// RFC 3339, later than 1970.
fn date(text: &str) -> Option<SystemTime> {
    if text.ends_with('Z') {
        return humantime::parse_rfc3339(text).ok();
    }
    let (local, zone) = text.split_at_checked(text.len().checked_sub("+00:00".len())?)?;
    let local = humantime::parse_rfc3339(&format!("{local}Z")).ok()?;
    let two = |digits: &str| {
        let is_number = digits.len() == 2 && digits.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then(|| digits.parse::<u64>().ok()).flatten()
    };
    let (hours, minutes) = zone[1..].split_once(':')?;
    let (hours, minutes) = (two(hours)?, two(minutes)?);
    if hours > 23 || minutes > 59 {
        return None;
    }
    let offset = Duration::from_secs(hours * 3600 + minutes * 60);
    let moment = match zone.as_bytes()[0] {
        // A plus that was not escaped arrives as a space.
        b'+' | b' ' => local.checked_sub(offset),
        b'-' => local.checked_add(offset),
        _ => None,
    };
    moment.filter(|moment| *moment >= UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: u64 = 1_769_829_120;

    fn now() -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(NOW)
    }

    fn seconds(text: &str) -> Result<u64, &'static str> {
        let time = parse(text, now())?;
        Ok(time.duration_since(UNIX_EPOCH).unwrap().as_secs())
    }

    #[test]
    fn moments_are_read() {
        let check = |text: &str, want: u64| assert_eq!(seconds(text), Ok(want), "{text}");
        check("2026-01-31T03:12:00Z", NOW);
        check("2026-01-31t03:12:00z", NOW);
        check("2026-01-31T03:12:00.999Z", NOW);
        check("2026-01-31T04:12:00+01:00", NOW);
        check("2026-01-31T04:12:00 01:00", NOW);
        check("2026-01-30T21:42:00-05:30", NOW);
        check("1970-01-01T00:00:00Z", 0);
        check("1769829120", NOW);
        check("0", 0);
        check("now", NOW);
        check("-1h", NOW - 3600);
        check("-1h30m", NOW - 5400);
        check("-90m", NOW - 5400);
        check("-2days", NOW - 2 * 86_400);
        check("-0s", NOW);
    }

    #[test]
    fn what_is_none_is_refused() {
        for text in [
            "",
            "-",
            "-1",
            "1h",
            "yesterday",
            "2026-01-31",
            "2026-01-31T03:12:00",
            "2026-01-31 03:12:00Z",
            "2026-02-30T03:12:00Z",
            "2026-01-31T03:12:00+1:00",
            "2026-01-31T03:12:00+24:00",
            "2026-01-31T03:12:00+0a:00",
            "2026-01-31T03:12:00*01:00",
            "1970-01-01T00:00:00+01:00",
            "1769829120000",
            "99999999999999999999999999",
            "1769829120.5",
            "-100years",
            "-18446744073709551615s 1000ms",
            "２０２６",
            "+01:00",
        ] {
            assert!(seconds(text).is_err(), "{text}: {:?}", seconds(text));
        }
    }

    proptest! {
        #[test]
        fn any_text_is_survived(text in ".{0,45}") {
            let _ = parse(&text, now());
        }

        #[test]
        fn any_text_of_these_letters_is_survived(text in "-?[0-9TZ:.+smhdyears -]{0,40}") {
            if let Ok(time) = parse(&text, now()) {
                prop_assert!(time >= UNIX_EPOCH);
            }
        }

        #[test]
        fn any_second_is_read_back(second in 0..=MOST_SECONDS) {
            let time = UNIX_EPOCH + Duration::from_secs(second);
            prop_assert_eq!(parse(&second.to_string(), now()), Ok(time));
            let date = humantime::format_rfc3339(time).to_string();
            prop_assert_eq!(parse(&date, now()), Ok(time));
        }
    }
}
