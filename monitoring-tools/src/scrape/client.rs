//! Asks a node over HTTP. Knows what went wrong, and nothing of what is in an answer.

use std::{io::Read as _, time::Duration};

use ureq::{
    Agent, Body,
    http::{Response, header},
};

use super::printable;

/// A node's whole answer, uncompressed: some hundred times what an agent with every family on a
/// node of many processes says.
const LARGEST: usize = 64 << 20;

/// So much of an answer that is an error is shown.
const SAID: usize = 400;

/// Nodes that send elsewhere do so once or twice.
const REDIRECTS: u32 = 3;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The address cannot be one.
    #[error("{0}")]
    Address(String),
    /// Nothing listens there.
    #[error("connection refused: nothing listens there")]
    Refused,
    /// Nobody answers there, for another reason.
    #[error("{0}")]
    Away(String),
    /// The answer did not come in time.
    #[error("no answer within {}", humantime::format_duration(*.0))]
    Slow(Duration),
    /// The answer says that there is nothing, or not for us.
    #[error("it answers {status}{}", said(.text))]
    Status {
        /// HTTP's status code.
        status: u16,
        /// What else it says, as harmless text.
        text: String,
    },
    /// The answer is larger than anything sensible.
    #[error("its answer has more than {} MiB", LARGEST >> 20)]
    Large,
    /// The answer is a page for browsers.
    #[error("it answers a web page, and no metrics")]
    Page,
    /// The answer is no text.
    #[error("its answer is no UTF-8 text")]
    Bytes,
}

impl FetchError {
    /// Whether nobody answered, in contrast to a wrong answer.
    pub fn is_away(&self) -> bool {
        matches!(self, Self::Refused | Self::Away(_) | Self::Slow(_))
    }
}

fn said(text: &str) -> String {
    if text.is_empty() {
        String::new()
    } else {
        format!(": {text}")
    }
}

/// Asks nodes, and keeps connections to them open.
#[derive(Clone, Debug)]
pub struct Client {
    agent: Agent,
    timeout: Duration,
}

impl Client {
    /// One that waits so long for a whole answer. Nodes are asked directly, whatever proxy the
    /// environment names.
    pub fn new(timeout: Duration) -> Self {
        let config = Agent::config_builder()
            .timeout_global(Some(timeout))
            .http_status_as_error(false)
            .max_redirects(REDIRECTS)
            .max_idle_connections_per_host(1)
            .user_agent(concat!("stratoswarm-tools/", env!("CARGO_PKG_VERSION")))
            .proxy(None)
            .build();
        Self {
            agent: config.new_agent(),
            timeout,
        }
    }

    /// The text at an address.
    ///
    /// # Errors
    ///
    /// If there is no whole answer in time, or one that is an error, a web page, no text, or too
    /// large.
    pub fn text(&self, url: &str) -> Result<String, FetchError> {
        let request = self.agent.get(url);
        let request = request.header(header::ACCEPT, "text/plain;version=0.0.4, text/plain;q=0.5");
        let mut response = request.call().map_err(|error| self.why(&error))?;
        let status = response.status();
        let is_page = is_page(&response);
        if !status.is_success() {
            let text = if is_page {
                String::new()
            } else {
                self.explanation(&mut response, status.as_u16())
            };
            let status = status.as_u16();
            return Err(FetchError::Status { status, text });
        }
        if is_page {
            return Err(FetchError::Page);
        }
        let bytes = self.bytes(&mut response, LARGEST + 1)?;
        if bytes.len() > LARGEST {
            return Err(FetchError::Large);
        }
        let text = String::from_utf8(bytes).map_err(|_| FetchError::Bytes)?;
        let start = text.trim_start();
        let looks_like_page = ["<!doctype", "<html"].iter().any(|tag| {
            let begin = start.get(..tag.len());
            begin.is_some_and(|begin| begin.eq_ignore_ascii_case(tag))
        });
        if looks_like_page {
            return Err(FetchError::Page);
        }
        Ok(text)
    }

    /// At most so many bytes of an answer.
    fn bytes(&self, response: &mut Response<Body>, most: usize) -> Result<Vec<u8>, FetchError> {
        let mut bytes = Vec::new();
        // The limit of the body is on what comes over the wire, which may be compressed.
        let body = response.body_mut().with_config().limit(u64::MAX);
        body.reader()
            .take(most as u64)
            .read_to_end(&mut bytes)
            .map_err(|error| self.why(&error.into()))?;
        Ok(bytes)
    }

    /// What an error's answer says, in one line, without the status that it may begin with.
    fn explanation(&self, response: &mut Response<Body>, status: u16) -> String {
        let bytes = self.bytes(response, SAID).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        let line = text.lines().next().unwrap_or_default();
        let own = format!("{status}: ");
        printable(line.strip_prefix(&own).unwrap_or(line).trim())
    }

    fn why(&self, error: &ureq::Error) -> FetchError {
        use ureq::Error;
        match error {
            Error::Timeout(_) => FetchError::Slow(self.timeout),
            Error::BadUri(_) | Error::Http(_) => FetchError::Address(printable(&error.to_string())),
            Error::Io(error) => {
                // Timeouts while a body is read come as errors of reading.
                let inner = error.get_ref();
                let inner = inner.and_then(|inner| inner.downcast_ref::<Error>());
                match inner {
                    Some(inner) => self.why(inner),
                    // A machine without a network has no agent that could be asked either.
                    None if matches!(
                        error.kind(),
                        std::io::ErrorKind::ConnectionRefused
                            | std::io::ErrorKind::NetworkUnreachable
                    ) =>
                    {
                        FetchError::Refused
                    }
                    None => FetchError::Away(io_words(error)),
                }
            }
            Error::HostNotFound => FetchError::Away("no host has that name".to_owned()),
            Error::TooManyRedirects => {
                FetchError::Away("it sends elsewhere again and again".to_owned())
            }
            error => FetchError::Away(printable(&error.to_string())),
        }
    }
}

/// As short as people know them.
fn io_words(error: &std::io::Error) -> String {
    use std::io::ErrorKind;
    match error.kind() {
        ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted => {
            "the connection ended in the middle of the answer".to_owned()
        }
        _ => printable(&error.to_string()),
    }
}

fn is_page(response: &Response<Body>) -> bool {
    let kind = response.headers().get(header::CONTENT_TYPE);
    let kind = kind.and_then(|kind| kind.to_str().ok());
    kind.is_some_and(|kind| {
        let kind = kind.trim_start().to_ascii_lowercase();
        kind.starts_with("text/html") || kind.starts_with("application/xhtml")
    })
}

/// The address of a node's metrics: `node7:9090` is `http://node7:9090/metrics`.
///
/// # Errors
///
/// If it cannot be one, in words for the command line.
///
/// # Example
///
/// ```
/// use monitoring_tools::scrape::client::metrics_url;
///
/// assert_eq!(metrics_url("node7:9090").unwrap(), "http://node7:9090/metrics");
/// assert_eq!(metrics_url("http://[::1]:9090/").unwrap(), "http://[::1]:9090/metrics");
/// assert_eq!(metrics_url("http://a/b?c=d").unwrap(), "http://a/b?c=d");
/// assert!(metrics_url("https://a").is_err());
/// ```
pub fn metrics_url(written: &str) -> Result<String, String> {
    let (scheme, rest) = written.split_once("://").unwrap_or(("http", written));
    if scheme.eq_ignore_ascii_case("https") {
        return Err("agents serve no TLS: write http://, or use a tunnel (ssh -L)".to_owned());
    }
    if !scheme.eq_ignore_ascii_case("http") {
        return Err("it begins with http://, or with the name of a node".to_owned());
    }
    let (host, path) = match rest.find(['/', '?']) {
        Some(at) => rest.split_at(at),
        None => (rest, ""),
    };
    let path = if path.is_empty() || path == "/" {
        "/metrics"
    } else {
        path
    };
    let url = format!("http://{host}{path}");
    let parsed: Result<ureq::http::Uri, _> = url.parse();
    let is_one = parsed.is_ok_and(|uri| {
        let name = uri.host().unwrap_or_default();
        // What is no number is left out of a port.
        !name.is_empty() && (host == name || uri.port_u16().is_some())
    });
    if is_one {
        Ok(url)
    } else {
        Err("it is no address: write http://NODE:PORT/metrics".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_completed() {
        let check = |written: &str, want: Option<&str>| {
            assert_eq!(metrics_url(written).ok().as_deref(), want, "{written}");
        };
        check("localhost", Some("http://localhost/metrics"));
        check("HTTP://a:1", Some("http://a:1/metrics"));
        check("a:1/", Some("http://a:1/metrics"));
        check("a:1/m", Some("http://a:1/m"));
        check("a:1?x=/", Some("http://a:1?x=/"));
        check("[::1]:9090", Some("http://[::1]:9090/metrics"));
        check("", None);
        check("http://", None);
        check("a b", None);
        check("a:port", None);
        check("https://a", None);
        check("ftp://a", None);
        check("a\n", None);
    }
}
