//! Reads single values and checks their limits.
//!
//! A value is a TOML value, whose type must be right, or the bare text of a variable or a flag,
//! which is read as whatever is wanted. Knows no key: which reader a key gets is said in lists of
//! settings.

use std::{net::IpAddr, ops::RangeInclusive, time::Duration};

use toml::de::DeValue;

use super::problem::Fault;

/// Most digits of a duration. An hour in nanoseconds has 13; with more, a sum of several units can
/// reach the end of what `Duration` holds to the second, where humantime 2.4 panics.
const DURATION_DIGITS: usize = 13;

/// What is to be written instead of a bad path.
pub const PATH_CURE: &str = "use a path that begins with /, for example \"/metrics\"";

/// A value that someone wrote.
#[derive(Clone, Copy)]
pub enum Value<'a> {
    /// In the file.
    Toml(&'a DeValue<'a>),
    /// In a variable or after a flag.
    Bare(&'a str),
}

impl<'a> Value<'a> {
    /// The text, if it is one.
    pub fn text(self, wanted: &str, cure: &str) -> Result<&'a str, Fault> {
        match self {
            Self::Toml(DeValue::String(text)) => Ok(text),
            Self::Bare(text) => Ok(text),
            Self::Toml(_) => Err(self.wrong_type(wanted, cure)),
        }
    }

    /// The value is of another type than the one that is wanted.
    pub fn wrong_type(self, wanted: &str, cure: &str) -> Fault {
        let found = match self {
            Self::Bare(_) => return Fault::new(format!("not {wanted}"), cure),
            Self::Toml(DeValue::String(_)) => "a string",
            Self::Toml(DeValue::Integer(_)) => "a whole number",
            Self::Toml(DeValue::Float(_)) => "a number with a fraction",
            Self::Toml(DeValue::Boolean(_)) => "true or false",
            Self::Toml(DeValue::Datetime(_)) => "a date or time",
            Self::Toml(DeValue::Array(_)) => "a list",
            Self::Toml(DeValue::Table(_)) => "a table",
        };
        Fault::new(format!("{found} where {wanted} belongs"), cure)
    }
}

/// A whole number within `range`.
pub fn whole(value: Value<'_>, range: RangeInclusive<u32>, example: u32) -> Result<u32, Fault> {
    let (low, high) = (range.start(), range.end());
    let cure =
        format!("use a whole number from {low} to {high} without quotes, for example {example}");
    let number = match value {
        Value::Toml(DeValue::Integer(number)) => {
            u32::from_str_radix(number.as_str(), number.radix()).ok()
        }
        // Kubernetes sets `<SERVICE>_PORT` for each Service, here for one named monitoring-metrics.
        Value::Bare(text) if text.starts_with("tcp://") => {
            return Err(Fault::new(
                "an address, as Kubernetes sets for a Service of this name",
                "set enableServiceLinks: false for the pod, or rename the Service",
            ));
        }
        Value::Bare(text) if text.parse::<i128>().is_ok() => text.parse().ok(),
        other => return Err(other.wrong_type("a whole number", &cure)),
    };
    number
        .filter(|number| range.contains(number))
        .ok_or_else(|| Fault::new("out of range", cure))
}

/// A port that a listener can have.
pub fn port(value: Value<'_>) -> Result<u16, Fault> {
    let port = whole(value, 1..=u32::from(u16::MAX), 9090)?;
    Ok(u16::try_from(port).expect("the range ends at the largest port"))
}

/// A share from 0 to 1.
pub fn rate(value: Value<'_>) -> Result<f64, Fault> {
    let cure = "use a share from 0 to 1 without quotes, for example 0.1 for 10 %";
    let text = match value {
        Value::Toml(DeValue::Float(number)) => number.as_str(),
        Value::Toml(DeValue::Integer(number)) if number.radix() == 10 => number.as_str(),
        Value::Bare(text) => text,
        Value::Toml(_) => return Err(value.wrong_type("a number", cure)),
    };
    let Ok(rate) = text.parse::<f64>() else {
        return Err(value.wrong_type("a number", cure));
    };
    if rate.is_nan() {
        return Err(Fault::new("not a number", cure));
    }
    if !(0.0..=1.0).contains(&rate) {
        return Err(Fault::new("outside 0 to 1", cure));
    }
    Ok(rate)
}

/// `true` or `false`; in a variable also `1` or `0`.
pub fn boolean(value: Value<'_>) -> Result<bool, Fault> {
    match value {
        Value::Toml(DeValue::Boolean(boolean)) => Ok(*boolean),
        Value::Bare("true" | "1") => Ok(true),
        Value::Bare("false" | "0") => Ok(false),
        other => Err(other.wrong_type("true or false", "use true or false without quotes")),
    }
}

/// A time between two rounds of work: at least 100 ms, so that the work itself does not become
/// the load, and at most one hour, so that nobody mistakes old numbers for current ones.
pub fn interval(value: Value<'_>) -> Result<Duration, Fault> {
    let cure = "use a number with a unit from \"100ms\" to \"1h\", for example \"10s\"";
    let text = value.text("a duration", cure)?;
    if text.bytes().filter(u8::is_ascii_digit).count() > DURATION_DIGITS {
        return Err(Fault::new("too many digits", cure));
    }
    let interval = humantime::parse_duration(text).map_err(|error| {
        use humantime::DurationError::{Empty, UnknownUnit};
        let fault = match error {
            Empty => "empty".to_owned(),
            UnknownUnit { unit, .. } if unit.is_empty() => "a number without a unit".to_owned(),
            UnknownUnit { unit, .. } => format!("unknown unit {unit}"),
            other => format!("not a duration ({other})"),
        };
        Fault::new(fault, cure)
    })?;
    if interval.is_zero() {
        return Err(Fault::new("zero", cure));
    }
    if interval < Duration::from_millis(100) {
        return Err(Fault::new("shorter than 100 ms", cure));
    }
    if interval > Duration::from_hours(1) {
        return Err(Fault::new("longer than one hour", cure));
    }
    Ok(interval)
}

/// An address to listen on.
pub fn address(value: Value<'_>) -> Result<IpAddr, Fault> {
    let cure =
        "use an IPv4 or IPv6 address without port or brackets, for example \"0.0.0.0\" or \"::1\"";
    let text = value.text("an IP address", cure)?;
    text.parse()
        .map_err(|_| Fault::new("not an IP address", cure))
}

/// A label value of at most `longest` characters.
pub fn label(value: Value<'_>, longest: usize, example: &str) -> Result<String, Fault> {
    let cure = format!("use a text of 1 to {longest} characters, for example \"{example}\"");
    let text = value.text("a text", &cure)?;
    let fault = if text.is_empty() {
        "empty"
    } else if text.chars().count() > longest {
        "too long"
    } else if text.chars().any(char::is_control) {
        "contains a control character"
    } else {
        return Ok(text.to_owned());
    };
    Err(Fault::new(fault, cure))
}

/// The path of an endpoint.
pub fn path(value: Value<'_>) -> Result<String, Fault> {
    let text = value.text("a path", PATH_CURE)?;
    if !text.starts_with('/') {
        return Err(Fault::new("does not begin with /", PATH_CURE));
    }
    if let Some(bad) = text
        .chars()
        .find(|c| !c.is_ascii_graphic() || matches!(c, '?' | '#' | '"' | '\\' | '<' | '>'))
    {
        return Err(Fault::new(format!("contains {bad:?}"), PATH_CURE));
    }
    Ok(text.to_owned())
}

/// The path at which an application's metrics are served.
pub fn endpoint_path(text: &str) -> Result<String, Fault> {
    let path = path(Value::Bare(text))?;
    if matches!(&*path, "/" | "/healthz") {
        let fault = "the exporter serves something else there";
        return Err(Fault::new(fault, PATH_CURE));
    }
    Ok(path)
}
