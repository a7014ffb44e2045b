//! Which form of an answer a client asks for: `Accept` and `Accept-Encoding` with q-values.
//!
//! Header values are foreign bytes: whatever is malformed is as if it had not been sent, and no
//! request is refused for what it accepts. Knows no socket and no snapshot.

use std::str;

/// A format that metrics are written in, by its version. Later ones say more than earlier ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// The text format of Prometheus, `version=0.0.4`, which everything that scrapes understands.
    Text0_0_4,
    /// The same, `version=1.0.0`: the same bytes here, because every name of the catalogue is legal
    /// in both. They differ in what the answer calls itself.
    Text1_0_0,
    /// OpenMetrics, `version=1.0.0`.
    OpenMetrics1_0_0,
    /// Messages of Prometheus' own protocol, each preceded by its length.
    Protobuf,
}

/// A format, and what an answer in it says of names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Format {
    /// What is written.
    pub kind: Kind,
    /// Answered if the client named one; version 1.0.0 of the text format always has one.
    pub escaping: Option<Escaping>,
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

impl Format {
    /// Of the formats that are offered, beside version 0.0.4 of the text format, the one that the
    /// client likes best. One counts only where it is named with all that tells it from others,
    /// and where it is liked at least as well as 0.0.4; of equals, the one that says most. 0.0.4
    /// stands for all that is accepted without being named, and for a client that accepts nothing
    /// of what is offered.
    pub fn negotiate<'a>(accept: impl IntoIterator<Item = &'a [u8]>, offered: &[Kind]) -> Self {
        let mut classic = Classic::default();
        let mut best: Option<(u16, Self)> = None;
        for range in accept.into_iter().flat_map(elements) {
            let Some(quality) = range.quality() else {
                continue;
            };
            let escaping = range.parameter(b"escaping").map(Escaping::answer_to);
            let kind = match range.meaning() {
                Some(Meaning::Classic(specificity)) => {
                    if specificity > classic.specificity {
                        classic = Classic {
                            specificity,
                            quality,
                            escaping,
                        };
                    }
                    continue;
                }
                Some(Meaning::Named(kind)) if offered.contains(&kind) => kind,
                _ => continue,
            };
            let is_better = |(known, format): &(u16, Self)| (quality, kind) > (*known, format.kind);
            if quality > 0 && best.as_ref().is_none_or(is_better) {
                let default = (kind == Kind::Text1_0_0).then_some(Escaping::Underscores);
                let escaping = escaping.or(default);
                best = Some((quality, Self { kind, escaping }));
            }
        }
        match best {
            Some((quality, format)) if quality >= classic.quality => format,
            _ => Self {
                kind: Kind::Text0_0_4,
                escaping: classic.escaping,
            },
        }
    }

    /// The `Content-Type` of an answer in this format.
    pub fn content_type(self) -> String {
        let name = match self.kind {
            Kind::Text0_0_4 => "text/plain; version=0.0.4; charset=utf-8",
            Kind::Text1_0_0 => "text/plain; version=1.0.0; charset=utf-8",
            Kind::OpenMetrics1_0_0 => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Kind::Protobuf => {
                "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; \
                 encoding=delimited"
            }
        };
        let mut text = name.to_owned();
        if let Some(escaping) = self.escaping {
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

/// What the most specific range so far says about version 0.0.4 of the text format.
#[derive(Default)]
struct Classic {
    specificity: u8,
    quality: u16,
    escaping: Option<Escaping>,
}

/// What a media range says something of.
enum Meaning {
    /// Version 0.0.4 of the text format; the higher the number, the more of it is named.
    Classic(u8),
    /// Another format.
    Named(Kind),
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
    /// What it says as a media range.
    fn meaning(&self) -> Option<Meaning> {
        let is = |name: &[u8]| self.name.eq_ignore_ascii_case(name);
        let version = || self.parameter(b"version");
        if is(b"*/*") {
            Some(Meaning::Classic(1))
        } else if is(b"text/*") {
            Some(Meaning::Classic(2))
        } else if is(b"text/plain") {
            match version() {
                None => Some(Meaning::Classic(3)),
                Some(b"0.0.4") => Some(Meaning::Classic(4)),
                Some(b"1.0.0") => Some(Meaning::Named(Kind::Text1_0_0)),
                Some(_) => None,
            }
        } else if is(b"application/openmetrics-text") {
            let is_1_0_0 = version().is_none_or(|version| version == b"1.0.0");
            is_1_0_0.then_some(Meaning::Named(Kind::OpenMetrics1_0_0))
        } else if is(b"application/vnd.google.protobuf") {
            let is_ours = self.parameter(b"proto") == Some(b"io.prometheus.client.MetricFamily")
                && self.parameter(b"encoding") == Some(b"delimited");
            is_ours.then_some(Meaning::Named(Kind::Protobuf))
        } else {
            None
        }
    }

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
