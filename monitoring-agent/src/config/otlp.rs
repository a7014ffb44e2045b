//! `[otlp]`: how spans and metrics are sent, and OpenTelemetry's environment variables, which say the
//! same in a lower layer.

use std::{ffi::OsString, path::PathBuf, time::Duration};

use monitoring::otlp::{
    Compression, Headers, Protocol, Signal, Target, TlsFiles,
    environment::{self, Endpoint},
};
use toml::de::DeValue;

use super::{
    Config, Place, Problem,
    problem::Fault,
    settings::{Draft, Setting},
    values::{self, PATH_BYTES, Value},
};

/// How long a collector may take for a request, if nobody says otherwise: as the specification of
/// OTLP has it.
const TIMEOUT: Duration = Duration::from_secs(10);

/// `[otlp]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OtlpConfig {
    /// How spans are sent.
    pub spans: Delivery,
    /// How metrics are sent, if they are.
    pub metrics: Delivery,
    /// How long the same spans are sent again while the collector does not take them. Default 1 min.
    pub retry_time: Duration,
    /// Bytes of memory for spans that wait. Default 16 MiB.
    pub max_waiting_bytes: u64,
    /// Whether metrics are sent as well. Default false: they are there to be scraped.
    pub metrics_enabled: bool,
    /// Time between two pushes of metrics. Default 1 min.
    pub metrics_interval: Duration,
}

/// How one signal is sent. The keys of `[otlp]` are for both, variables of the environment may be for
/// one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Where to, if only the environment says so; else it is [`Config::otlp_endpoint`].
    pub endpoint: Option<Endpoint>,
    /// How OTLP is spoken. By default gRPC with port 4317, and HTTP with all others.
    pub protocol: Option<Protocol>,
    /// Headers of each request. None by default.
    pub headers: Headers,
    /// How requests are made smaller. By default they are not.
    pub compression: Compression,
    /// How long a collector may take for a request. Default 10 s.
    pub timeout: Duration,
    /// Files for TLS. None by default: the system says who is trusted.
    pub tls: TlsFiles,
}

impl Default for Delivery {
    fn default() -> Self {
        Self {
            endpoint: None,
            protocol: None,
            headers: Headers::default(),
            compression: Compression::None,
            timeout: TIMEOUT,
            tls: TlsFiles::default(),
        }
    }
}

impl Default for OtlpConfig {
    fn default() -> Self {
        Self {
            spans: Delivery::default(),
            metrics: Delivery::default(),
            retry_time: Duration::from_mins(1),
            max_waiting_bytes: 16 << 20,
            metrics_enabled: false,
            metrics_interval: Duration::from_mins(1),
        }
    }
}

impl Config {
    /// Where a signal goes and how, if anybody has said where: whether it is to be sent is another
    /// matter.
    ///
    /// # Example
    ///
    /// ```
    /// use monitoring::otlp::Signal;
    /// use monitoring_agent::{cli::Flags, config::load};
    ///
    /// let endpoint = ("MONITORING_OTLP_ENDPOINT".into(), "http://collector:4317".into());
    /// let config = load(&Flags::default(), [endpoint])?.config;
    /// let target = config.otlp_target(Signal::Traces);
    /// assert_eq!(target.map(|target| target.url).as_deref(), Some("http://collector:4317"));
    /// # Ok::<(), monitoring_agent::config::ConfigError>(())
    /// ```
    pub fn otlp_target(&self, signal: Signal) -> Option<Target> {
        let delivery = match signal {
            Signal::Traces => &self.otlp.spans,
            Signal::Metrics => &self.otlp.metrics,
        };
        let is_own = self.otlp.spans.endpoint.is_none() && self.otlp_endpoint_given;
        let own = self.otlp_endpoint.as_ref().filter(|_| is_own);
        let own = own.map(|base| Endpoint {
            base: base.clone(),
            whole: None,
        });
        let endpoint = delivery.endpoint.clone().or(own)?;
        let guessed = || Protocol::of_endpoint(&endpoint.base);
        let protocol = delivery.protocol.unwrap_or_else(guessed);
        Some(Target {
            signal,
            url: endpoint.url(signal, protocol),
            protocol,
            headers: delivery.headers.clone(),
            compression: delivery.compression,
            timeout: delivery.timeout,
            tls: delivery.tls.clone(),
        })
    }
}

/// A key that is for both signals.
macro_rules! both {
    ($key:literal, $($field:ident).+, $read:expr) => {
        Setting {
            key: $key,
            apply: |draft, value| {
                let value = $read(value)?;
                draft.config.otlp.metrics.$($field).+ = value.clone();
                draft.config.otlp.spans.$($field).+ = value;
                Ok(())
            },
        }
    };
}

/// The keys of `[otlp]`.
pub(super) const OTLP: &[Setting] = &[
    both!("protocol", protocol, |value| protocol(value).map(Some)),
    Setting {
        key: "headers",
        apply: |draft, value| {
            let headers = headers(value)?;
            let otlp = &mut draft.config.otlp;
            for delivery in [&mut otlp.spans, &mut otlp.metrics] {
                let lower = std::mem::replace(&mut delivery.headers, headers.clone());
                delivery.headers.set_missing(&lower);
            }
            Ok(())
        },
    },
    both!("compression", compression, compression),
    both!("timeout", timeout, values::interval),
    both!("ca_file", tls.ca, |value| file(value).map(Some)),
    both!("certificate_file", tls.certificate, |value| file(value)
        .map(Some)),
    both!("key_file", tls.key, |value| file(value).map(Some)),
    Setting {
        key: "retry_time",
        apply: |draft, value| {
            draft.config.otlp.retry_time = values::interval(value)?;
            Ok(())
        },
    },
    Setting {
        key: "max_waiting_bytes",
        apply: |draft, value| {
            draft.config.otlp.max_waiting_bytes = super::profile::bytes(value)?;
            Ok(())
        },
    },
    Setting {
        key: "metrics_enabled",
        apply: |draft, value| {
            draft.config.otlp.metrics_enabled = values::boolean(value)?;
            Ok(())
        },
    },
    Setting {
        key: "metrics_interval",
        apply: |draft, value| {
            draft.config.otlp.metrics_interval = values::interval(value)?;
            Ok(())
        },
    },
];

fn protocol(value: Value<'_>) -> Result<Protocol, Fault> {
    let cure = "use \"http/protobuf\" or \"grpc\", or leave it out: the endpoint's port tells then";
    match value.text("the name of a protocol", cure)? {
        "http/protobuf" => Ok(Protocol::HttpProtobuf),
        "grpc" => Ok(Protocol::Grpc),
        "http/json" => Err(Fault::new("not spoken", cure)),
        _ => Err(Fault::new("not a protocol of OTLP", cure)),
    }
}

fn compression(value: Value<'_>) -> Result<Compression, Fault> {
    let cure = "use \"gzip\" or \"none\"";
    match value.text("a kind of compression", cure)? {
        "gzip" => Ok(Compression::Gzip),
        "none" => Ok(Compression::None),
        _ => Err(Fault::new(
            "not a compression that every collector takes",
            cure,
        )),
    }
}

/// What headers say is in no message: it may be a secret.
fn headers(value: Value<'_>) -> Result<Headers, Fault> {
    let cure = "use a table of texts, for example { authorization = \"Bearer …\" }, whose names are \
                those of HTTP headers and do not end with -bin";
    let Value::Toml(DeValue::Table(table)) = value else {
        return Err(value.wrong_type("a table", cure));
    };
    let mut headers = Headers::default();
    for (name, value) in table {
        let name = name.get_ref().as_ref();
        let text = Value::Toml(value.get_ref()).text("a text", cure);
        let text = text.map_err(|fault| Fault::new(format!("{name:?}: {}", fault.fault), cure))?;
        headers
            .set(name, text)
            .map_err(|_| Fault::new(format!("{name:?}: cannot be sent as a header"), cure))?;
    }
    Ok(headers)
}

/// A file in PEM. It need not exist yet: it is read when a connection is wanted.
fn file(value: Value<'_>) -> Result<PathBuf, Fault> {
    let cure = "use the absolute path of a file in PEM, for example \"/etc/stratoswarm/ca.pem\", or \
                leave it out";
    let text = value.text("a path", cure)?;
    let fault = if text.is_empty() {
        "empty"
    } else if text.len() > PATH_BYTES {
        "too long"
    } else if text.chars().any(char::is_control) {
        "contains a control character"
    } else if !text.starts_with('/') {
        "does not begin with /"
    } else if text.ends_with('/') {
        "a directory"
    } else {
        return Ok(PathBuf::from(text));
    };
    Err(Fault::new(fault, cure))
}

/// What is wrong with the section as a whole.
pub(super) fn fault(draft: &Draft) -> Option<(&'static str, Fault)> {
    let tls = &draft.config.otlp.spans.tls;
    let key = match (&tls.certificate, &tls.key) {
        (Some(_), None) => "otlp.key_file",
        (None, Some(_)) => "otlp.certificate_file",
        _ => return None,
    };
    let fault = "a certificate needs its key, and a key its certificate";
    let cure = "give both certificate_file and key_file, or neither";
    Some((key, Fault::new(fault, cure)))
}

/// Reads OpenTelemetry's variables, which lie below everything but the defaults.
pub(super) fn read_environment(
    draft: &mut Draft,
    lookup: &dyn Fn(&str) -> Option<OsString>,
) -> Vec<Problem> {
    let otlp = &mut draft.config.otlp;
    let mut problems: Vec<Problem> = Vec::new();
    for (signal, delivery) in [
        (Signal::Traces, &mut otlp.spans),
        (Signal::Metrics, &mut otlp.metrics),
    ] {
        match environment::read(signal, lookup) {
            Ok(said) => {
                *delivery = Delivery {
                    endpoint: said.endpoint,
                    protocol: said.protocol,
                    headers: said.headers,
                    compression: said.compression.unwrap_or_default(),
                    timeout: said.timeout.unwrap_or(TIMEOUT),
                    tls: said.tls,
                }
            }
            Err(mistakes) => problems.extend(mistakes.into_iter().map(|mistake| {
                let cure = format!("it must be {}; or unset it", mistake.allowed);
                let fault = Fault::new("a variable of OpenTelemetry that cannot be followed", cure);
                let value = mistake.value.map(|value| format!("\"{value}\""));
                fault.at(
                    Place::Environment,
                    mistake.name.to_owned(),
                    value.as_deref(),
                )
            })),
        }
    }
    // A variable that is for both signals is wrong once.
    let mut seen = std::collections::HashSet::new();
    problems.retain(|problem| seen.insert(problem.key.clone()));
    problems
}
