//! What traces and spans are told apart by.
//!
//! Knows nothing of where ids come from: that is `random`.

use std::fmt;

/// What all spans of one trace have in common, on all nodes: 16 bytes, not all of them 0.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TraceId {
    // Two words, because 128-bit integers would align everything that holds one to 16 bytes.
    high: u64,
    low: u64,
}

/// What one span is told apart by within its trace: 8 bytes, not all of them 0.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpanId(u64);

impl TraceId {
    /// The id that no trace has.
    pub const INVALID: Self = Self { high: 0, low: 0 };

    #[inline]
    pub(super) const fn from_words(high: u64, low: u64) -> Self {
        Self { high, low }
    }

    /// The id of this number, whose highest byte is the first one.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "each half is taken as it is"
    )]
    pub const fn from_u128(number: u128) -> Self {
        Self {
            high: (number >> 64) as u64,
            low: number as u64,
        }
    }

    /// The id as a number.
    #[inline]
    pub const fn to_u128(self) -> u128 {
        (self.high as u128) << 64 | self.low as u128
    }

    /// The id of these bytes.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self::from_u128(u128::from_be_bytes(bytes))
    }

    /// The bytes in the order in which they are sent and written.
    pub const fn to_bytes(self) -> [u8; 16] {
        self.to_u128().to_be_bytes()
    }

    /// Whether a trace may have it.
    #[inline]
    pub const fn is_valid(self) -> bool {
        self.high | self.low != 0
    }

    /// The second half, by which it is decided whether a trace is recorded.
    #[inline]
    pub(super) const fn low(self) -> u64 {
        self.low
    }
}

impl SpanId {
    /// The id that no span has.
    pub const INVALID: Self = Self(0);

    /// The id of this number, whose highest byte is the first one.
    #[inline]
    pub const fn from_u64(number: u64) -> Self {
        Self(number)
    }

    /// The id as a number.
    #[inline]
    pub const fn to_u64(self) -> u64 {
        self.0
    }

    /// The id of these bytes.
    pub const fn from_bytes(bytes: [u8; 8]) -> Self {
        Self(u64::from_be_bytes(bytes))
    }

    /// The bytes in the order in which they are sent and written.
    pub const fn to_bytes(self) -> [u8; 8] {
        self.0.to_be_bytes()
    }

    /// Whether a span may have it.
    #[inline]
    pub const fn is_valid(self) -> bool {
        self.0 != 0
    }
}

/// 32 hexadecimal digits.
impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}{:016x}", self.high, self.low)
    }
}

impl fmt::Debug for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// 16 hexadecimal digits.
impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_bytes_numbers_and_digits() {
        let number = 0x0123_4567_89ab_cdef_1032_5476_98ba_dcfe;
        let trace = TraceId::from_u128(number);
        assert_eq!(trace.to_u128(), number);
        assert_eq!(TraceId::from_bytes(trace.to_bytes()), trace);
        assert_eq!(trace.to_bytes()[..2], [0x01, 0x23]);
        assert_eq!(trace.to_string(), "0123456789abcdef1032547698badcfe");
        assert_eq!(trace.low(), 0x1032_5476_98ba_dcfe);
        let span = SpanId::from_u64(0x0a0b);
        assert_eq!(span.to_bytes(), [0, 0, 0, 0, 0, 0, 0x0a, 0x0b]);
        assert_eq!(SpanId::from_bytes(span.to_bytes()), span);
        assert_eq!(span.to_string(), "0000000000000a0b");
    }

    #[test]
    fn zero_is_no_id() {
        assert!(!TraceId::INVALID.is_valid() && !SpanId::INVALID.is_valid());
        assert!(TraceId::from_u128(1).is_valid() && TraceId::from_u128(1 << 64).is_valid());
        assert!(SpanId::from_u64(1).is_valid());
    }
}
