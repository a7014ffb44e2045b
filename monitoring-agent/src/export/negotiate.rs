//! Which form of an answer a client asks for: `Accept` and `Accept-Encoding` with q-values.
//!
//! Header values are foreign bytes: whatever is malformed is as if it had not been sent, and no
//! request is refused for what it accepts. Knows no socket and no snapshot.

use std::str;

/// A text format of Prometheus. Both carry the same bytes here, because every name of the
/// catalogue is legal in both; they differ in what the answer calls itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextFormat {
    /// `version=0.0.4`, which everything that scrapes understands. The escaping is answered if
    /// the client named one.
    V0_0_4(Option<Escaping>),
    /// `version=1.0.0`, for clients that ask for it by its version.
    V1_0_0(Escaping),
}

/// How names outside the classic alphabet would be written. The catalogue has none, so that both of
/// these describe the answer truthfully. The format's other schemes do not: `dots` would also
/// rewrite names of the classic alphabet, doubling their underscores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Escaping {
    /// Quoted, not changed.
    AllowUtf8,
    /// Replaced by underscores: the default of the format, and the answer to every scheme that is
    /// not written here.
    Underscores,
}

impl TextFormat {
    /// The format that the client likes best: 1.0.0 only where it is named and liked at least as
    /// well as 0.0.4; 0.0.4 otherwise, also for a client that accepts neither.
    pub fn negotiate<'a>(accept: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut classic = Classic::default();
        let mut newest: Option<(u16, Escaping)> = None;
        for range in accept.into_iter().flat_map(elements) {
            let Some(quality) = range.quality() else {
                continue;
            };
            let escaping = range.parameter(b"escaping").map(Escaping::answer_to);
            let specificity = match range.name {
                name if name.eq_ignore_ascii_case(b"*/*") => 1,
                name if name.eq_ignore_ascii_case(b"text/*") => 2,
                name if name.eq_ignore_ascii_case(b"text/plain") => {
                    match range.parameter(b"version") {
                        None => 3,
                        Some(b"0.0.4") => 4,
                        Some(b"1.0.0") => {
                            let escaping = escaping.unwrap_or(Escaping::Underscores);
                            if newest.is_none_or(|(best, _)| quality > best) {
                                newest = Some((quality, escaping));
                            }
                            continue;
                        }
                        Some(_) => continue,
                    }
                }
                _ => continue,
            };
            if specificity > classic.specificity {
                classic = Classic {
                    specificity,
                    quality,
                    escaping,
                };
            }
        }
        match newest {
            Some((quality, escaping)) if quality > 0 && quality >= classic.quality => {
                Self::V1_0_0(escaping)
            }
            _ => Self::V0_0_4(classic.escaping),
        }
    }

    /// The `Content-Type` of an answer in this format.
    pub fn content_type(self) -> String {
        let (version, escaping) = match self {
            Self::V0_0_4(escaping) => ("0.0.4", escaping),
            Self::V1_0_0(escaping) => ("1.0.0", Some(escaping)),
        };
        let mut text = format!("text/plain; version={version}; charset=utf-8");
        if let Some(escaping) = escaping {
            text.push_str("; escaping=");
            text.push_str(escaping.name());
        }
        text
    }
}

impl Escaping {
    /// The scheme that is answered to a client that asks for this one.
    fn answer_to(wanted: &[u8]) -> Self {
        if wanted.eq_ignore_ascii_case(Self::AllowUtf8.name().as_bytes()) {
            Self::AllowUtf8
        } else {
            Self::Underscores
        }
    }

    /// The value of the `escaping` parameter.
    pub fn name(self) -> &'static str {
        match self {
            Self::AllowUtf8 => "allow-utf-8",
            Self::Underscores => "underscores",
        }
    }
}

/// What the most specific range so far says about version 0.0.4.
#[derive(Default)]
struct Classic {
    specificity: u8,
    quality: u16,
    escaping: Option<Escaping>,
}

/// Whether the client wants gzip: named (or covered by `*`) with a quality above zero, and not
/// liked less than `identity`.
pub fn wants_gzip<'a>(accept_encoding: impl IntoIterator<Item = &'a [u8]>) -> bool {
    let (mut gzip, mut identity, mut any) = (None, None, None);
    for coding in accept_encoding.into_iter().flat_map(elements) {
        let Some(quality) = coding.quality() else {
            continue;
        };
        let slot = match coding.name {
            name if name.eq_ignore_ascii_case(b"gzip") => &mut gzip,
            name if name.eq_ignore_ascii_case(b"x-gzip") => &mut gzip,
            name if name.eq_ignore_ascii_case(b"identity") => &mut identity,
            b"*" => &mut any,
            _ => continue,
        };
        *slot = Some(slot.map_or(quality, |before: u16| before.max(quality)));
    }
    let gzip = gzip.or(any).unwrap_or(0);
    gzip > 0 && gzip >= identity.unwrap_or(0)
}

/// One element of a comma-separated header value: a name and its parameters.
struct Element<'a> {
    name: &'a [u8],
    parameters: &'a [u8],
}

impl<'a> Element<'a> {
    /// The parameter's value without quotes; the first, should there be several.
    fn parameter(&self, wanted: &[u8]) -> Option<&'a [u8]> {
        split(self.parameters, b';').find_map(|parameter| {
            let at = parameter.iter().position(|byte| *byte == b'=')?;
            let (name, value) = (
                parameter[..at].trim_ascii(),
                parameter[at + 1..].trim_ascii(),
            );
            let unquoted = value
                .strip_prefix(b"\"")
                .and_then(|rest| rest.strip_suffix(b"\""));
            name.eq_ignore_ascii_case(wanted)
                .then_some(unquoted.unwrap_or(value))
        })
    }

    /// The quality in thousandths; 1000 where none is given, `None` where it is malformed.
    fn quality(&self) -> Option<u16> {
        let Some(value) = self.parameter(b"q") else {
            return Some(1000);
        };
        let (whole, fraction) = match value {
            [whole] | [whole, b'.'] => (whole, &[][..]),
            [whole, b'.', fraction @ ..] if fraction.len() <= 3 => (whole, fraction),
            _ => return None,
        };
        let digit = |byte: u8| byte.is_ascii_digit().then(|| u16::from(byte - b'0'));
        let mut thousandths = digit(*whole)?;
        for place in 0..3 {
            thousandths = thousandths * 10 + fraction.get(place).map_or(Some(0), |b| digit(*b))?;
        }
        (thousandths <= 1000).then_some(thousandths)
    }
}

fn elements(value: &[u8]) -> impl Iterator<Item = Element<'_>> {
    split(value, b',').map(|element| {
        let end = element
            .iter()
            .position(|byte| *byte == b';')
            .unwrap_or(element.len());
        Element {
            name: element[..end].trim_ascii(),
            parameters: element.get(end + 1..).unwrap_or_default(),
        }
    })
}

/// Splits at `separator` outside of quoted strings.
fn split(value: &[u8], separator: u8) -> impl Iterator<Item = &[u8]> {
    let (mut quoted, mut escaped) = (false, false);
    value.split(move |byte| {
        let plain = !quoted && *byte == separator;
        if escaped {
            escaped = false;
        } else if quoted && *byte == b'\\' {
            escaped = true;
        } else if *byte == b'"' {
            quoted = !quoted;
        }
        plain
    })
}

/// The deadline that Prometheus announces in `X-Prometheus-Scrape-Timeout-Seconds`. Anything but
/// a positive number of seconds is as if it had not been sent.
pub fn scrape_timeout(value: &[u8]) -> Option<std::time::Duration> {
    let seconds: f64 = str::from_utf8(value).ok()?.trim().parse().ok()?;
    let timeout = std::time::Duration::try_from_secs_f64(seconds).ok()?;
    (!timeout.is_zero()).then_some(timeout)
}

#[cfg(test)]
mod tests;
