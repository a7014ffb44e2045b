//! Where requests go, and how. Knows nothing of who said it.

use std::{fmt, path::PathBuf, time::Duration};

use http::{HeaderName, HeaderValue};

use super::{Compression, Protocol, Signal};

/// Headers of each request. What they say is not shown: it may be a secret.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Headers(Vec<(HeaderName, HeaderValue)>);

impl Headers {
    /// Adds a header, in place of one of the same name.
    ///
    /// # Errors
    ///
    /// When its name or its value cannot be sent, or when the name is one of gRPC's for bytes that
    /// are no text.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), InvalidHeader> {
        let name = Some(name).filter(|name| !name.ends_with("-bin"));
        let name = name.and_then(|name| name.parse::<HeaderName>().ok());
        let name = name.ok_or(InvalidHeader)?;
        let mut value: HeaderValue = value.parse().map_err(|_| InvalidHeader)?;
        value.set_sensitive(true);
        self.0.retain(|(other, _)| *other != name);
        self.0.push((name, value));
        Ok(())
    }

    /// Takes over those of another that are not set here.
    pub fn set_missing(&mut self, others: &Self) {
        for (name, value) in &others.0 {
            if !self.0.iter().any(|(own, _)| own == name) {
                self.0.push((name.clone(), value.clone()));
            }
        }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &(HeaderName, HeaderValue)> {
        self.0.iter()
    }
}

impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.0.iter().map(|(name, _)| name.as_str());
        f.debug_set().entries(names).finish()
    }
}

/// A header that cannot be sent. What it says is left out, because it may be a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a header that cannot be sent")]
pub struct InvalidHeader;

/// Files for TLS, in PEM. They are read when a connection is wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// Those who may vouch for the collector, in place of the system's.
    pub ca: Option<PathBuf>,
    /// This side's certificate, and those between it and who vouches for it.
    pub certificate: Option<PathBuf>,
    /// The key of this side's certificate.
    pub key: Option<PathBuf>,
}

/// Where requests go, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// What is sent there.
    pub signal: Signal,
    /// The whole URL for HTTP, that of the server for gRPC.
    pub url: String,
    /// How OTLP is spoken.
    pub protocol: Protocol,
    /// Headers of each request.
    pub headers: Headers,
    /// How requests are made smaller.
    pub compression: Compression,
    /// From a request's first attempt to connect to the last byte of its answer.
    pub timeout: Duration,
    /// Used with `https` only.
    pub tls: TlsFiles,
}

impl Target {
    /// The URL for requests, by that of a collector: the signal's own path is appended for HTTP.
    pub fn url(signal: Signal, protocol: Protocol, base: &str) -> String {
        match protocol {
            Protocol::HttpProtobuf => format!("{base}{}", signal.path()),
            Protocol::Grpc => base.to_owned(),
        }
    }

    /// Whether the connection is to be encrypted.
    pub fn is_tls(&self) -> bool {
        let scheme = self.url.get(..6);
        scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case("https:"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_header_says_is_not_shown() {
        let mut headers = Headers::default();
        headers.set("Authorization", "Bearer secret").unwrap();
        assert_eq!(format!("{headers:?}"), r#"{"authorization"}"#);
        assert_eq!(headers.set("a-bin", "a"), Err(InvalidHeader));
        assert_eq!(headers.set("a b", "a"), Err(InvalidHeader));
        assert_eq!(headers.set("a", "a\n"), Err(InvalidHeader));
    }

    #[test]
    fn the_nearer_header_wins() {
        let of = |pairs: &[(&str, &str)]| {
            let mut headers = Headers::default();
            for (name, value) in pairs {
                headers.set(name, value).unwrap();
            }
            headers
        };
        let mut headers = of(&[("a", "1"), ("A", "2")]);
        headers.set_missing(&of(&[("a", "3"), ("b", "4")]));
        assert_eq!(headers, of(&[("a", "2"), ("b", "4")]));
    }
}
