//! Which numbers a device can mean. What NVML says where it knows nothing, such as all bits set,
//! is no number.
//!
//! Knows nothing of NVML's calls.

/// NVML has all bits set for "not available", and near it what some drivers make of a negative
/// error code.
const CODES: u32 = 16;

/// A count of 32 bits.
pub(super) fn count_u32(value: u32) -> Option<u32> {
    (value <= u32::MAX - CODES).then_some(value)
}

/// A count of 64 bits.
pub(super) fn count_u64(value: u64) -> Option<u64> {
    (value <= u64::MAX - u64::from(CODES)).then_some(value)
}

/// A level, such as a temperature or a clock rate: never negative when taken as signed.
pub(super) fn level(value: u32) -> Option<f64> {
    i32::try_from(value).ok().map(f64::from)
}

/// A level in thousandths of its unit.
pub(super) fn milli(value: u32) -> Option<f64> {
    level(value).map(|value| value / 1e3)
}

/// A share in percent, 0 to 100.
pub(super) fn percent(value: u32) -> Option<u32> {
    (value <= 100).then_some(value)
}

/// A share in percent, as a ratio.
pub(super) fn ratio(value: u32) -> Option<f64> {
    percent(value).map(|value| f64::from(value) / 100.0)
}

/// A measured number: finite, not negative, at most `most`.
pub(super) fn measured(value: f64, most: f64) -> Option<f64> {
    (value.is_finite() && (0.0..=most).contains(&value)).then_some(value)
}

/// A text as the device gave it: up to the first NUL, with whatever is no UTF-8 replaced.
pub(super) fn text(bytes: &[u8]) -> String {
    let end = bytes
        .iter()
        .position(|byte| *byte == 0)
        .unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_are_none() {
        for value in [u32::MAX, u32::MAX - 1, u32::MAX - 15] {
            assert_eq!(count_u32(value), None);
            assert_eq!(level(value), None);
            assert_eq!(milli(value), None);
            assert_eq!(ratio(value), None);
        }
        assert_eq!(count_u64(u64::MAX), None);
        assert_eq!(ratio(101), None);
        for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.1, 100.1] {
            assert_eq!(measured(value, 100.0), None);
        }
    }

    #[test]
    fn numbers() {
        assert_eq!(count_u32(0x8000_0000), Some(0x8000_0000));
        assert_eq!(count_u64(u64::from(u32::MAX)), Some(u64::from(u32::MAX)));
        assert_eq!(level(0), Some(0.0));
        assert_eq!(milli(310_500), Some(310.5));
        assert_eq!(ratio(100), Some(1.0));
        assert_eq!(measured(100.0, 100.0), Some(100.0));
    }

    #[test]
    fn texts() {
        assert_eq!(text(b"NVIDIA L4\0junk"), "NVIDIA L4");
        assert_eq!(text(b"\0"), "");
        assert_eq!(text(b"no end"), "no end");
        assert_eq!(text(b"a\xff\"\x01"), "a\u{fffd}\"\u{1}");
    }
}
