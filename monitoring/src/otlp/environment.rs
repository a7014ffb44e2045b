//! OpenTelemetry's environment variables for its protocol. Knows nothing of what else may say the
//! same.
//!
//! Of each there are two: one for all signals, and one for each signal, which wins. One that is
//! empty counts as one that is not set.

use std::{ffi::OsString, path::PathBuf, time::Duration};

use super::{Compression, Headers, Protocol, Signal, TlsFiles};
use crate::trace::endpoint;

/// What they say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Said {
    /// Where requests go.
    pub endpoint: Option<Endpoint>,
    /// `…_PROTOCOL`.
    pub protocol: Option<Protocol>,
    /// `…_HEADERS`.
    pub headers: Headers,
    /// `…_TIMEOUT`.
    pub timeout: Option<Duration>,
    /// `…_COMPRESSION`.
    pub compression: Option<Compression>,
    /// `…_CERTIFICATE`, `…_CLIENT_CERTIFICATE` and `…_CLIENT_KEY`.
    pub tls: TlsFiles,
}

/// Where requests go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The base, to which the signal's path is appended for HTTP.
    pub base: String,
    /// The whole URL for HTTP: the specification has it that the variable of one signal says it,
    /// with whatever path it has.
    pub whole: Option<String>,
}

impl Endpoint {
    /// The URL for requests.
    pub fn url(&self, signal: Signal, protocol: Protocol) -> String {
        match (&self.whole, protocol) {
            (Some(whole), Protocol::HttpProtobuf) => whole.clone(),
            _ => super::Target::url(signal, protocol, &self.base),
        }
    }
}

/// A variable that says what cannot be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mistake {
    /// The variable.
    pub name: &'static str,
    /// What it says, unless that may be a secret.
    pub value: Option<String>,
    /// What it may say.
    pub allowed: String,
}

/// What can be said in a variable of one signal, or in that of all.
struct Variable {
    all: &'static str,
    traces: &'static str,
    metrics: &'static str,
}

macro_rules! variable {
    ($name:literal) => {
        Variable {
            all: concat!("OTEL_EXPORTER_OTLP_", $name),
            traces: concat!("OTEL_EXPORTER_OTLP_TRACES_", $name),
            metrics: concat!("OTEL_EXPORTER_OTLP_METRICS_", $name),
        }
    };
}

/// Of one signal, as it is read.
struct Reader<'a> {
    signal: Signal,
    lookup: &'a dyn Fn(&str) -> Option<OsString>,
    mistakes: Vec<Mistake>,
}

/// What the environment says of a signal.
///
/// # Errors
///
/// All variables that say what cannot be.
pub fn read(
    signal: Signal,
    lookup: &dyn Fn(&str) -> Option<OsString>,
) -> Result<Said, Vec<Mistake>> {
    let mut reader = Reader {
        signal,
        lookup,
        mistakes: Vec::new(),
    };
    let file = |text: &str| Ok(PathBuf::from(text));
    let said = Said {
        endpoint: reader.endpoint(),
        protocol: reader.value(&variable!("PROTOCOL"), protocol),
        headers: reader.headers(),
        timeout: reader.value(&variable!("TIMEOUT"), milliseconds),
        compression: reader.value(&variable!("COMPRESSION"), compression),
        tls: TlsFiles {
            ca: reader.value(&variable!("CERTIFICATE"), file),
            certificate: reader.value(&variable!("CLIENT_CERTIFICATE"), file),
            key: reader.value(&variable!("CLIENT_KEY"), file),
        },
    };
    if reader.mistakes.is_empty() {
        Ok(said)
    } else {
        Err(reader.mistakes)
    }
}

impl Reader<'_> {
    /// The text of one variable.
    fn text(&mut self, name: &'static str) -> Option<String> {
        let Ok(text) = (self.lookup)(name)?.into_string() else {
            self.mistakes.push(Mistake {
                name,
                value: None,
                allowed: "a text in UTF-8".to_owned(),
            });
            return None;
        };
        Some(text.trim().to_owned()).filter(|text| !text.is_empty())
    }

    /// The signal's own variable, or else that of all.
    fn first(&mut self, variable: &Variable) -> Option<(&'static str, String)> {
        let own = match self.signal {
            Signal::Traces => variable.traces,
            Signal::Metrics => variable.metrics,
        };
        [own, variable.all]
            .into_iter()
            .find_map(|name| Some((name, self.text(name)?)))
    }

    fn value<T>(
        &mut self,
        variable: &Variable,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        let (name, text) = self.first(variable)?;
        parse(&text)
            .map_err(|allowed| {
                let value = Some(text);
                self.mistakes.push(Mistake {
                    name,
                    value,
                    allowed,
                });
            })
            .ok()
    }

    fn endpoint(&mut self) -> Option<Endpoint> {
        let variable = variable!("ENDPOINT");
        let all = variable.all;
        let (name, text) = self.first(&variable)?;
        let suffix = self.signal.path();
        let read = match self.signal {
            Signal::Traces => endpoint::otlp(&text),
            // The other signal's path is no end of a base.
            Signal::Metrics => endpoint::otlp(text.trim_end_matches('/').trim_end_matches(suffix)),
        };
        match read {
            Ok(base) => Some(Endpoint {
                base,
                whole: (name != all).then_some(text),
            }),
            Err(error) => {
                // Credentials may be what is wrong with it.
                let value = Some(text).filter(|text| !text.contains('@'));
                let allowed = format!("a URL such as http://localhost:4318, and not {error}");
                self.mistakes.push(Mistake {
                    name,
                    value,
                    allowed,
                });
                None
            }
        }
    }

    fn headers(&mut self) -> Headers {
        let mut headers = Headers::default();
        let Some((name, text)) = self.first(&variable!("HEADERS")) else {
            return headers;
        };
        for pair in text.split(',').filter(|pair| !pair.trim().is_empty()) {
            let set = pair.split_once('=').and_then(|(name, value)| {
                let value = decoded(value.trim())?;
                headers.set(name.trim(), &value).ok()
            });
            if set.is_none() {
                self.mistakes.push(Mistake {
                    name,
                    value: None,
                    allowed: "pairs NAME=VALUE with commas between them, what is no letter or \
                              digit of a value written as %XX"
                        .to_owned(),
                });
                return Headers::default();
            }
        }
        headers
    }
}

/// A text in which `%XX` stands for a byte. A percent sign that begins no such is one.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let code = after.get(..2).filter(|_| byte == b'%');
        let code = code.and_then(|code| std::str::from_utf8(code).ok());
        let code = code.filter(|code| code.bytes().all(|digit| digit.is_ascii_hexdigit()));
        if let Some(code) = code.and_then(|code| u8::from_str_radix(code, 16).ok()) {
            bytes.push(code);
            rest = &after[2..];
        } else {
            bytes.push(byte);
            rest = after;
        }
    }
    String::from_utf8(bytes).ok()
}

fn protocol(text: &str) -> Result<Protocol, String> {
    match text {
        "http/protobuf" => Ok(Protocol::HttpProtobuf),
        "grpc" => Ok(Protocol::Grpc),
        _ => Err("http/protobuf or grpc".to_owned()),
    }
}

fn compression(text: &str) -> Result<Compression, String> {
    match text {
        "gzip" => Ok(Compression::Gzip),
        "none" => Ok(Compression::None),
        _ => Err("gzip or none".to_owned()),
    }
}

fn milliseconds(text: &str) -> Result<Duration, String> {
    let number = text.parse().ok().filter(|&number| number > 0);
    let number = number.map(Duration::from_millis);
    number.ok_or_else(|| "milliseconds, 1 or more".to_owned())
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt as _;

    use super::*;

    fn said(signal: Signal, values: &[(&str, &str)]) -> Result<Said, Vec<Mistake>> {
        read(signal, &|name| {
            let name = name.strip_prefix("OTEL_EXPORTER_OTLP_")?;
            let found = values.iter().find(|(other, _)| *other == name);
            found.map(|(_, value)| (*value).into())
        })
    }

    #[test]
    fn the_variable_of_a_signal_wins() {
        let values = [
            ("ENDPOINT", "http://all:1/p/"),
            ("TRACES_ENDPOINT", "http://traces:2/own"),
            ("TIMEOUT", "1500"),
            ("METRICS_TIMEOUT", "20"),
            ("COMPRESSION", "gzip"),
            ("TRACES_COMPRESSION", "none"),
            ("METRICS_PROTOCOL", "grpc"),
            ("CERTIFICATE", "/all"),
            ("TRACES_CERTIFICATE", ""),
            ("METRICS_CLIENT_KEY", "/key"),
        ];
        let traces = said(Signal::Traces, &values).unwrap();
        let url =
            |said: &Said, signal, protocol| said.endpoint.as_ref().unwrap().url(signal, protocol);
        assert_eq!(
            url(&traces, Signal::Traces, Protocol::HttpProtobuf),
            "http://traces:2/own"
        );
        assert_eq!(
            url(&traces, Signal::Traces, Protocol::Grpc),
            "http://traces:2/own"
        );
        assert_eq!(traces.timeout, Some(Duration::from_millis(1500)));
        assert_eq!(traces.compression, Some(Compression::None));
        assert_eq!(traces.protocol, None);
        assert_eq!((traces.tls.ca, traces.tls.key), (Some("/all".into()), None));
        let metrics = said(Signal::Metrics, &values).unwrap();
        assert_eq!(
            url(&metrics, Signal::Metrics, Protocol::HttpProtobuf),
            "http://all:1/p/v1/metrics"
        );
        assert_eq!(
            url(&metrics, Signal::Metrics, Protocol::Grpc),
            "http://all:1/p"
        );
        assert_eq!(metrics.timeout, Some(Duration::from_millis(20)));
        assert_eq!(metrics.protocol, Some(Protocol::Grpc));
        assert_eq!(metrics.tls.key, Some("/key".into()));
        assert_eq!(said(Signal::Traces, &[]), Ok(Said::default()));
    }

    #[test]
    fn headers_are_pairs_with_escapes() {
        let check = |text: &str, want: &[(&str, &str)]| {
            let got = said(Signal::Traces, &[("HEADERS", text)]).unwrap().headers;
            let mut headers = Headers::default();
            for (name, value) in want {
                headers.set(name, value).unwrap();
            }
            assert_eq!(got, headers, "{text}");
        };
        check("a=b", &[("a", "b")]);
        check(" a = b , c=d=e,, ", &[("a", "b"), ("c", "d=e")]);
        check(
            "authorization=Bearer%20x%2Cy",
            &[("authorization", "Bearer x,y")],
        );
        check("a=50%,b=%zz%2", &[("a", "50%"), ("b", "%zz%2")]);
    }

    #[test]
    fn mistakes_are_named_and_secrets_are_not() {
        let mistakes = said(
            Signal::Traces,
            &[
                ("ENDPOINT", "http://me:secret@c"),
                ("HEADERS", "a=b,secret"),
                ("TIMEOUT", "0"),
                ("PROTOCOL", "http/json"),
                ("TRACES_COMPRESSION", "zstd"),
            ],
        );
        let mistakes = mistakes.unwrap_err();
        let names: Vec<_> = mistakes.iter().map(|mistake| mistake.name).collect();
        let want = [
            "ENDPOINT",
            "PROTOCOL",
            "HEADERS",
            "TIMEOUT",
            "TRACES_COMPRESSION",
        ];
        assert_eq!(names, want.map(|name| format!("OTEL_EXPORTER_OTLP_{name}")));
        assert!(!format!("{mistakes:?}").contains("secret"), "{mistakes:?}");
        assert!(
            format!("{mistakes:?}").contains("credentials"),
            "{mistakes:?}"
        );
    }

    #[test]
    fn what_is_no_text_is_a_mistake() {
        let mistakes = read(Signal::Metrics, &|name| {
            let is_timeout = name == "OTEL_EXPORTER_OTLP_TIMEOUT";
            is_timeout.then(|| OsString::from_vec(vec![0xff]))
        });
        assert_eq!(mistakes.unwrap_err()[0].allowed, "a text in UTF-8");
    }
}
