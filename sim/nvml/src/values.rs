//! Values that change with time as a script says: constant, up and down, or growing.
//!
//! Knows nothing of what they are values of.

use std::time::Duration;

use crate::abi::{Answer, Code};

/// A value of a script.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    /// A whole number.
    Integer(i128),
    /// Any other number, also one that is none.
    Float(f64),
    /// A text. Where a number is wanted, one in digits, or the name of a code to refuse with.
    Text(Vec<u8>),
    /// Several values, or a text byte by byte.
    List(Vec<Value>),
    /// Steadily up and down between two numbers.
    Wave { from: f64, to: f64, period: f64 },
    /// Steadily up.
    Growth { start: i128, per_second: f64 },
}

/// A value at one moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Number {
    /// Whole.
    Integer(i128),
    /// With a fraction, or none at all.
    Float(f64),
}

impl Value {
    /// From what TOML makes of the script.
    pub(crate) fn parse(value: &toml::Value) -> Result<Self, String> {
        Ok(match value {
            toml::Value::Integer(number) => Self::Integer((*number).into()),
            toml::Value::Float(number) => Self::Float(*number),
            toml::Value::Boolean(yes) => Self::Integer((*yes).into()),
            toml::Value::String(text) => Self::Text(text.clone().into_bytes()),
            toml::Value::Array(list) => {
                Self::List(list.iter().map(Self::parse).collect::<Result<_, _>>()?)
            }
            toml::Value::Table(table) => Self::changing(table)?,
            toml::Value::Datetime(_) => return Err("a time is no value".into()),
        })
    }

    fn changing(table: &toml::Table) -> Result<Self, String> {
        let known = ["from", "to", "period_seconds", "start", "per_second"];
        if let Some(key) = table.keys().find(|key| !known.contains(&key.as_str())) {
            return Err(format!("`{key}` is not known"));
        }
        let number = |key: &str| match table.get(key).map(Self::parse) {
            Some(Ok(value)) => value
                .number(0.0)
                .map_err(|_| format!("`{key}` is no number")),
            Some(Err(error)) => Err(error),
            None => Err(format!("`{key}` is missing")),
        };
        if table.contains_key("start") {
            return Ok(Self::Growth {
                start: number("start")?.integer(),
                per_second: number("per_second")?.float(),
            });
        }
        let period = number("period_seconds")?.float();
        if !(period.is_finite() && period > 0.0) {
            return Err("`period_seconds` is not above 0".into());
        }
        let (from, to) = (number("from")?.float(), number("to")?.float());
        Ok(Self::Wave { from, to, period })
    }

    /// The value as a number, so long after the script was first read.
    pub(crate) fn number(&self, seconds: f64) -> Answer<Number> {
        Ok(match self {
            Self::Integer(number) => Number::Integer(*number),
            Self::Float(number) => Number::Float(*number),
            Self::Text(text) => return in_words(text),
            Self::List(_) => return Err(Code::NOT_SUPPORTED),
            Self::Wave { from, to, period } => {
                let up = 1.0 - (2.0 * (seconds / period).fract() - 1.0).abs();
                Number::Float(from + (to - from) * up)
            }
            Self::Growth { start, per_second } => {
                Number::Integer(start.saturating_add(whole(per_second * seconds)))
            }
        })
    }

    /// The mean of the value between two moments.
    pub(crate) fn mean(&self, from: f64, to: f64) -> Answer<f64> {
        let length = to - from;
        if length <= 0.0 {
            return Ok(self.number(to)?.float());
        }
        if let Self::Wave {
            from: low,
            to: high,
            period,
        } = self
        {
            let area = risen(to / period) - risen(from / period);
            return Ok(low + (high - low) * area * period / length);
        }
        let (first, last) = (self.number(from)?.float(), self.number(to)?.float());
        // Equal ends are kept as they are, because halves of the largest numbers do not add up.
        let equal = first.to_bits() == last.to_bits();
        Ok(if equal {
            last
        } else {
            f64::midpoint(first, last)
        })
    }

    /// One of several values, or the only one for all.
    pub(crate) fn nth(&self, index: usize) -> Answer<&Self> {
        match self {
            Self::List(list) => list.get(index).ok_or(Code::NOT_SUPPORTED),
            one => Ok(one),
        }
    }

    /// The bytes of a text that is given byte by byte.
    pub(crate) fn bytes(&self) -> Option<Vec<u8>> {
        let Self::List(list) = self else { return None };
        let byte = |value: &Self| match value {
            Self::Integer(number) => u8::try_from(*number).ok(),
            _ => None,
        };
        list.iter().map(byte).collect()
    }
}

/// A text where a number is wanted.
fn in_words(text: &[u8]) -> Answer<Number> {
    if let Some(code) = Code::named(text) {
        return Err(code);
    }
    let digits = std::str::from_utf8(text).ok();
    let number = digits.and_then(|digits| digits.parse().ok());
    number.map(Number::Integer).ok_or(Code::UNKNOWN)
}

/// The area below a wave between 0 and 1, after so many periods from its foot.
fn risen(periods: f64) -> f64 {
    let part = periods.fract();
    let area = if part < 0.5 {
        part * part
    } else {
        2.0 * part - part * part - 0.5
    };
    periods.floor() * 0.5 + area
}

impl Number {
    /// Without a fraction: cut off.
    pub(crate) fn integer(self) -> i128 {
        match self {
            Self::Integer(number) => number,
            Self::Float(number) => whole(number),
        }
    }

    pub(crate) fn float(self) -> f64 {
        match self {
            Self::Integer(number) => number as f64,
            Self::Float(number) => number,
        }
    }

    /// The lowest 32 bits, as C converts; so -1 is the largest.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    pub(crate) fn u32(self) -> u32 {
        self.integer() as u32
    }

    /// The lowest 64 bits.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    pub(crate) fn u64(self) -> u64 {
        self.integer() as u64
    }
}

/// A number without its fraction; the nearest there is if it is too large, 0 for NaN.
#[allow(clippy::cast_possible_truncation)]
fn whole(number: f64) -> i128 {
    number as i128
}

/// Seconds of a script, which may be any number.
pub(crate) fn duration(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> Value {
        let table: toml::Table = format!("value = {text}").parse().unwrap();
        Value::parse(&table["value"]).unwrap()
    }

    #[test]
    fn values_change_with_time() {
        let check = |text: &str, seconds: f64, want: Number| {
            assert_eq!(
                value(text).number(seconds).unwrap(),
                want,
                "{text} after {seconds} s"
            );
        };
        let wave = "{ from = 0, to = 10, period_seconds = 4 }";
        for (seconds, want) in [(0.0, 0.0), (1.0, 5.0), (2.0, 10.0), (3.0, 5.0), (4.0, 0.0)] {
            check(wave, seconds, Number::Float(want));
        }
        let growth = "{ start = 100, per_second = 2.5 }";
        check(growth, 0.0, Number::Integer(100));
        check(growth, 3.0, Number::Integer(107));
        let most = "{ start = \"18446744073709551615\", per_second = 0 }";
        check(most, 9.0, Number::Integer(u64::MAX.into()));
        check("-1", 9.0, Number::Integer(-1));
        assert_eq!(value("-1").number(0.0).unwrap().u32(), u32::MAX);
        assert_eq!(value("nan").number(0.0).unwrap().u64(), 0);
    }

    #[test]
    fn means_are_exact() {
        let check = |text: &str, from: f64, to: f64, want: f64| {
            let mean = value(text).mean(from, to).unwrap();
            assert!(
                (mean - want).abs() < 1e-9,
                "{text} from {from} to {to}: {mean}"
            );
        };
        let wave = "{ from = 0, to = 10, period_seconds = 4 }";
        check(wave, 0.0, 1.0, 2.5);
        check(wave, 0.0, 2.0, 5.0);
        check(wave, 1.0, 3.0, 7.5);
        check(wave, 3.0, 5.0, 2.5);
        check(wave, 0.0, 4000.0, 5.0);
        check(wave, 0.5, 0.5, 2.5);
        check("{ start = 0, per_second = 10 }", 1.0, 3.0, 20.0);
        check("12.5", 0.0, 9.0, 12.5);
    }

    #[test]
    fn what_is_no_value_says_why() {
        for text in [
            "{ from = 1 }",
            "{ from = 1, to = 2, period_seconds = 0 }",
            "{ from = 1, to = \"x\", period_seconds = 1 }",
            "{ start = 1 }",
            "{ begin = 1 }",
            "2026-01-01",
        ] {
            let table: toml::Table = format!("value = {text}").parse().unwrap();
            assert!(Value::parse(&table["value"]).is_err(), "{text}");
        }
    }
}
