//! Endpoints for spans: which URLs are good, and what a Jaeger URL means in OTLP.
//!
//! Knows nothing of the protocol itself; an endpoint is the base URL to which `/v1/traces` is to be
//! appended, as the OTLP specification has it for a base endpoint.

use http::Uri;

/// Port of Jaeger's own HTTP collector, which takes Jaeger's own format.
const JAEGER_PORT: u16 = 14268;

/// Port of OTLP over HTTP, which Jaeger's collector serves since 1.35.
const OTLP_PORT: u16 = 4318;

/// What is wrong with a URL, in a few words, as `empty` or `a URL with credentials`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct EndpointError(String);

/// The base URL of an OTLP endpoint. The signal's own path may be there or not.
///
/// # Errors
///
/// When it is no URL that an HTTP client can post to, or has credentials, a query or a fragment.
///
/// # Example
///
/// ```
/// use monitoring::trace::endpoint;
///
/// assert_eq!(endpoint::otlp("http://localhost:4318/v1/traces")?, "http://localhost:4318");
/// # Ok::<(), endpoint::EndpointError>(())
/// ```
pub fn otlp(text: &str) -> Result<String, EndpointError> {
    let uri = parse(text)?;
    if text.contains(['?', '#']) {
        return fault("a URL with a query or a fragment");
    }
    let path = uri.path().trim_end_matches('/');
    Ok(base(&uri, path.strip_suffix("/v1/traces").unwrap_or(path)))
}

/// The base URL of the OTLP endpoint of the Jaeger whose collector this URL is.
///
/// Jaeger's own port is exchanged for that of OTLP. Any other port is taken to be mapped on purpose
/// and stays, as does a path prefix of a proxy before it.
///
/// # Errors
///
/// When it is no URL that an HTTP client can post to, or has credentials.
///
/// # Example
///
/// ```
/// use monitoring::trace::endpoint;
///
/// let base = endpoint::jaeger("http://localhost:14268/api/traces")?;
/// assert_eq!(base, "http://localhost:4318");
/// # Ok::<(), endpoint::EndpointError>(())
/// ```
pub fn jaeger(text: &str) -> Result<String, EndpointError> {
    let uri = parse(text)?;
    if uri.port_u16() == Some(JAEGER_PORT) {
        let scheme = uri.scheme_str().unwrap_or_default();
        let host = uri.host().unwrap_or_default();
        return Ok(format!("{scheme}://{host}:{OTLP_PORT}"));
    }
    let path = uri.path().trim_end_matches('/');
    let path = ["/api/traces", "/v1/traces"]
        .iter()
        .find_map(|signal| path.strip_suffix(signal))
        .unwrap_or(path);
    Ok(base(&uri, path))
}

/// A URL of the kind that an HTTP client can post to, taken apart.
fn parse(text: &str) -> Result<Uri, EndpointError> {
    if text.is_empty() {
        return fault("empty");
    }
    let Some((scheme, _)) = text.split_once("://") else {
        return fault("a URL without http:// or https://");
    };
    let Ok(uri) = text.parse::<Uri>() else {
        return fault("not a URL");
    };
    if !matches!(uri.scheme_str(), Some("http" | "https")) {
        return fault(format!("{scheme} is neither http nor https"));
    }
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    if authority.contains('@') {
        return fault("a URL with credentials");
    }
    let host = uri.host().unwrap_or_default();
    if host.is_empty() {
        return fault("a URL without a host");
    }
    // `port_u16` is none for a port that is too large, empty or not a number, too.
    if authority.len() > host.len() && !matches!(uri.port_u16(), Some(1..)) {
        return fault("a URL with a bad port");
    }
    Ok(uri)
}

fn fault<T>(fault: impl Into<String>) -> Result<T, EndpointError> {
    Err(EndpointError(fault.into()))
}

fn base(uri: &Uri, path: &str) -> String {
    let scheme = uri.scheme_str().unwrap_or_default();
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    format!("{scheme}://{authority}{}", path.trim_end_matches('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jaeger_urls_become_base_endpoints() {
        let check = |url: &str, want: &str| assert_eq!(jaeger(url).unwrap(), want);
        check("http://localhost:14268/api/traces", "http://localhost:4318");
        check(
            "http://j:14268/api/traces?format=jaeger.thrift",
            "http://j:4318",
        );
        check(
            "https://jaeger.example:14268",
            "https://jaeger.example:4318",
        );
        check("http://[::1]:14268/api/traces", "http://[::1]:4318");
        check("http://10.1.2.3:14268/", "http://10.1.2.3:4318");
        check(
            "https://traces.example/jaeger/api/traces",
            "https://traces.example/jaeger",
        );
        check(
            "http://localhost:24268/api/traces",
            "http://localhost:24268",
        );
        check("http://localhost:4318", "http://localhost:4318");
        check("http://localhost:4318/v1/traces/", "http://localhost:4318");
    }

    #[test]
    fn otlp_urls_lose_only_the_signal() {
        let check = |url: &str, want: &str| assert_eq!(otlp(url).unwrap(), want);
        check("http://localhost:4318", "http://localhost:4318");
        check("http://localhost:4318/", "http://localhost:4318");
        check("HTTP://collector:4318/v1/traces", "http://collector:4318");
        check(
            "https://api.example/otlp/v1/traces",
            "https://api.example/otlp",
        );
        check("https://api.example/otlp//", "https://api.example/otlp");
        check("http://jaeger:14268", "http://jaeger:14268");
    }

    #[test]
    fn bad_urls_are_refused() {
        let check = |url: &str, want: &str| {
            for read in [otlp, jaeger] {
                let fault = read(url).unwrap_err().to_string();
                assert!(fault.contains(want), "{url}: {fault}");
            }
        };
        check("", "empty");
        check("localhost:4318", "without http://");
        check("ftp://localhost", "ftp is neither");
        check("http://", "not a URL");
        check("http:///v1/traces", "not a URL");
        check("http://:4318", "without a host");
        check("http://host name:4318", "not a URL");
        check("http://host:0", "bad port");
        check("http://host:65536", "bad port");
        check("http://host:", "bad port");
        check("http://me:secret@host:4318", "credentials");
    }
}
