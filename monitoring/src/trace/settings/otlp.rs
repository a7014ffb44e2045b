//! How spans are sent by OTLP, if they are. Knows nothing of the exporter.

use std::time::Duration;

use super::Environment;
use crate::{
    otlp::{Compression, Headers, Protocol, Signal, Target, TlsFiles, environment::Endpoint},
    trace::{TraceError, endpoint},
};

/// How long a collector may take for a batch, as the specification has it.
const TIMEOUT: Duration = Duration::from_secs(10);

/// What a program has set.
#[derive(Clone, Debug, Default)]
pub(in crate::trace) struct Chosen {
    pub(in crate::trace) endpoint: Option<String>,
    pub(in crate::trace) jaeger: Option<String>,
    pub(in crate::trace) protocol: Option<Protocol>,
    pub(in crate::trace) headers: Vec<(String, String)>,
    pub(in crate::trace) timeout: Option<Duration>,
    pub(in crate::trace) compression: Option<Compression>,
    pub(in crate::trace) tls: TlsFiles,
}

/// How spans are sent, if anybody says where: the program, or the environment.
///
/// # Errors
///
/// When what is said makes no sense.
pub(in crate::trace) fn target(
    chosen: &Chosen,
    environment: &Environment,
) -> Result<Option<Target>, TraceError> {
    let protocol = match chosen.protocol {
        Some(protocol) => Some(protocol),
        None => environment.otlp()?.protocol,
    };
    let Some(endpoint) = endpoint(chosen, environment, protocol)? else {
        return Ok(None);
    };
    let said = environment.otlp()?;
    let protocol = protocol.unwrap_or_else(|| Protocol::of_endpoint(&endpoint.base));
    let mut headers = Headers::default();
    for (name, value) in &chosen.headers {
        let set = headers.set(name, value);
        set.map_err(|_| TraceError::Header(name.clone()))?;
    }
    headers.set_missing(&said.headers);
    let (own, others) = (&chosen.tls, &said.tls);
    let tls = TlsFiles {
        ca: own.ca.clone().or_else(|| others.ca.clone()),
        certificate: own
            .certificate
            .clone()
            .or_else(|| others.certificate.clone()),
        key: own.key.clone().or_else(|| others.key.clone()),
    };
    Ok(Some(Target {
        signal: Signal::Traces,
        url: endpoint.url(Signal::Traces, protocol),
        protocol,
        headers,
        compression: chosen.compression.or(said.compression).unwrap_or_default(),
        timeout: chosen.timeout.or(said.timeout).unwrap_or(TIMEOUT),
        tls,
    }))
}

/// Where spans are sent.
fn endpoint(
    chosen: &Chosen,
    environment: &Environment,
    protocol: Option<Protocol>,
) -> Result<Option<Endpoint>, TraceError> {
    let base = |base| Endpoint { base, whole: None };
    if let Some(url) = &chosen.endpoint {
        let read = endpoint::otlp(url);
        let read = read.map_err(|error| bad(url, &error.to_string()))?;
        return Ok(Some(base(read)));
    }
    if let Some(url) = &chosen.jaeger {
        let read = endpoint::jaeger(url);
        let read = read.map_err(|error| bad(url, &error.to_string()))?;
        return Ok(Some(base(read)));
    }
    let exporter = environment.get("OTEL_TRACES_EXPORTER");
    if exporter.is_some_and(|exporter| exporter != "otlp") {
        return Ok(None);
    }
    if let Some(endpoint) = &environment.otlp()?.endpoint {
        return Ok(Some(endpoint.clone()));
    }
    let default = match protocol {
        Some(Protocol::Grpc) => "http://localhost:4317",
        _ => "http://localhost:4318",
    };
    Ok(exporter.map(|_| base(default.to_owned())))
}

fn bad(url: &str, reason: &str) -> TraceError {
    TraceError::Endpoint {
        url: url.to_owned(),
        reason: reason.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(endpoint: &str) -> Chosen {
        Chosen {
            endpoint: Some(endpoint.to_owned()),
            ..Chosen::default()
        }
    }

    /// Where spans go, and how, by what a program and the environment say.
    fn check(chosen: &Chosen, environment: &[(&str, &str)], want: Option<(&str, Protocol)>) {
        let target = target(chosen, &Environment::of(environment)).unwrap();
        let got = target.as_ref();
        let got = got.map(|target| (target.url.as_str(), target.protocol));
        assert_eq!(got, want, "{chosen:?} {environment:?}");
    }

    const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
    const TRACES_ENDPOINT: &str = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";
    const PROTOCOL: &str = "OTEL_EXPORTER_OTLP_PROTOCOL";
    const EXPORTER: &str = "OTEL_TRACES_EXPORTER";
    const HTTP: Protocol = Protocol::HttpProtobuf;
    const GRPC: Protocol = Protocol::Grpc;

    #[test]
    fn the_program_says_where_spans_go() {
        let check = |endpoint: &str, want| check(&chosen(endpoint), &[], Some(want));
        check("http://c:4318", ("http://c:4318/v1/traces", HTTP));
        check("http://c:4318/v1/traces", ("http://c:4318/v1/traces", HTTP));
        check("http://c/otlp/", ("http://c/otlp/v1/traces", HTTP));
        check("http://c:4317", ("http://c:4317", GRPC));
    }

    #[test]
    fn the_program_says_how_they_go() {
        for (protocol, want) in [(HTTP, "http://c:4317/v1/traces"), (GRPC, "http://c:4317")] {
            let mut chosen = chosen("http://c:4317");
            chosen.protocol = Some(protocol);
            check(&chosen, &[(PROTOCOL, "grpc")], Some((want, protocol)));
        }
    }

    #[test]
    fn a_jaeger_is_its_collector_for_otlp() {
        let mut chosen = Chosen {
            jaeger: Some("http://localhost:14268/api/traces".to_owned()),
            ..Chosen::default()
        };
        let want = ("http://localhost:4318/v1/traces", HTTP);
        check(&chosen, &[(ENDPOINT, "http://other:1")], Some(want));
        chosen.endpoint = Some("http://c:1".to_owned());
        check(&chosen, &[], Some(("http://c:1/v1/traces", HTTP)));
    }

    #[test]
    fn the_environment_says_it_where_the_program_does_not() {
        let check = |environment: &[(&str, &str)], want| {
            check(&Chosen::default(), environment, want);
        };
        check(&[], None);
        check(&[(PROTOCOL, "grpc")], None);
        check(&[(EXPORTER, "none"), (ENDPOINT, "http://c:1")], None);
        check(&[(EXPORTER, "console")], None);
        let default = Some(("http://localhost:4318/v1/traces", HTTP));
        check(&[(EXPORTER, "otlp")], default);
        let default = Some(("http://localhost:4317", GRPC));
        check(&[(EXPORTER, "otlp"), (PROTOCOL, "grpc")], default);
        let base = (ENDPOINT, "http://c:1/p/");
        check(&[base], Some(("http://c:1/p/v1/traces", HTTP)));
        let whole = (TRACES_ENDPOINT, "http://t:2/p");
        check(&[base, whole], Some(("http://t:2/p", HTTP)));
        let traces = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "grpc");
        let http = (PROTOCOL, "http/protobuf");
        check(&[base, http, traces], Some(("http://c:1/p", GRPC)));
        let tls = (ENDPOINT, "https://c/p");
        check(&[tls], Some(("https://c/p/v1/traces", HTTP)));
        check(
            &[(ENDPOINT, "http://c:4317")],
            Some(("http://c:4317", GRPC)),
        );
        let http = Some(("http://c:4317/v1/traces", HTTP));
        check(
            &[(ENDPOINT, "http://c:4317"), (PROTOCOL, "http/protobuf")],
            http,
        );
    }

    #[test]
    fn a_collector_has_ten_seconds_if_nobody_says_otherwise() {
        let timeout = |chosen: &Chosen, environment: &[(&str, &str)]| {
            let otlp = target(chosen, &Environment::of(environment));
            otlp.unwrap().unwrap().timeout
        };
        let mut chosen = chosen("http://c:1");
        assert_eq!(timeout(&chosen, &[]), TIMEOUT);
        let all = ("OTEL_EXPORTER_OTLP_TIMEOUT", "1500");
        let traces = ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "20");
        assert_eq!(timeout(&chosen, &[all]), Duration::from_millis(1500));
        assert_eq!(timeout(&chosen, &[all, traces]), Duration::from_millis(20));
        chosen.timeout = Some(Duration::from_secs(1));
        assert_eq!(timeout(&chosen, &[all]), Duration::from_secs(1));
    }

    #[test]
    fn what_the_program_says_wins_one_by_one() {
        let mut chosen = chosen("https://c");
        chosen.headers.push(("a".to_owned(), "program".to_owned()));
        chosen.tls.ca = Some("/program".into());
        let environment = Environment::of(&[
            ("OTEL_EXPORTER_OTLP_HEADERS", "a=environment,b=environment"),
            ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/environment"),
            ("OTEL_EXPORTER_OTLP_CLIENT_KEY", "/key"),
            ("OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "gzip"),
        ]);
        let got = target(&chosen, &environment).unwrap().unwrap();
        let mut headers = Headers::default();
        headers.set("a", "program").unwrap();
        headers.set("b", "environment").unwrap();
        assert_eq!(got.headers, headers);
        assert_eq!(got.tls.ca, Some("/program".into()));
        assert_eq!(got.tls.key, Some("/key".into()));
        assert_eq!(got.compression, Compression::Gzip);
    }

    #[test]
    fn what_cannot_be_is_named() {
        let check = |chosen: &Chosen, environment: &[(&str, &str)], want: &[&str]| {
            let said = target(chosen, &Environment::of(environment));
            let said = said.unwrap_err().to_string();
            for want in want {
                assert!(said.contains(want), "{said}");
            }
        };
        check(&chosen("c:4318"), &[], &["c:4318", "without http://"]);
        let none = Chosen::default();
        check(&none, &[(ENDPOINT, "c")], &[ENDPOINT, "\"c\""]);
        check(
            &none,
            &[(PROTOCOL, "http/json")],
            &[PROTOCOL, "http/json", "grpc"],
        );
        let timeout = "OTEL_EXPORTER_OTLP_TIMEOUT";
        for wrong in ["0", "-1", "1s"] {
            let environment = [(ENDPOINT, "http://c"), (timeout, wrong)];
            check(&none, &environment, &[timeout, wrong, "milliseconds"]);
        }
        for (name, value) in [("a b", "c"), ("", "c"), ("key-bin", "c"), ("a", "secret\n")] {
            let mut chosen = chosen("http://c");
            chosen.headers.push((name.to_owned(), value.to_owned()));
            let said = target(&chosen, &Environment::default());
            let said = said.unwrap_err().to_string();
            assert!(said.contains(&format!("\"{name}\"")), "{said}");
            assert!(!said.contains("secret"), "{said}");
        }
    }
}
