//! Reads the values that only the agent has; the others are read as in every program's
//! configuration.
//!
//! Knows no key: which reader a key gets is in `settings`.

use std::{net::SocketAddr, path::PathBuf};

use glob::Pattern;
use monitoring::config::reading::values::{self, PATH_CURE};
pub(super) use monitoring::config::reading::values::{
    Value, address, boolean, interval, label, port, rate, whole,
};

use super::problem::Fault;

/// Paths of the endpoint that are taken.
const TAKEN_PATHS: [&str; 6] = [
    "/",
    "/healthz",
    "/readyz",
    "/metrics.json",
    "/flamegraph",
    "/folded",
];

/// What all paths of profiles but the shortest begin with.
const PROFILE_PATHS: &str = "/debug/pprof";

/// Longest path that the kernel takes, without the zero byte at its end.
pub(super) const PATH_BYTES: usize = 4095;

/// An address and a port to listen on.
pub(super) fn listen(value: Value<'_>) -> Result<SocketAddr, Fault> {
    let cure =
        "use ADDRESS:PORT, for example 0.0.0.0:9090 or [::1]:9090, or port 0 for any free one";
    let text = value.text("an address and a port", cure)?;
    text.parse()
        .map_err(|_| Fault::new("not an IP address and a port", cure))
}

/// The path of the metrics endpoint.
pub(super) fn path(value: Value<'_>) -> Result<String, Fault> {
    let path = values::path(value)?;
    if TAKEN_PATHS.contains(&&*path) || path.starts_with(PROFILE_PATHS) {
        return Err(Fault::new(
            "the agent serves something else there",
            PATH_CURE,
        ));
    }
    Ok(path)
}

/// The file of a shared library. It need not exist: it may be installed later.
pub(super) fn library(value: Value<'_>) -> Result<PathBuf, Fault> {
    let cure = "use the path of a shared library, for example \
                \"/usr/lib/x86_64-linux-gnu/libnvidia-ml.so.1\", or leave it out for the system's";
    let text = value.text("a path", cure)?;
    let fault = if text.is_empty() {
        "empty"
    } else if text.len() > PATH_BYTES {
        "too long"
    } else if text.chars().any(char::is_control) {
        "contains a control character"
    } else if text.ends_with('/') {
        "a directory"
    } else if !text.contains('/') {
        // The loader would search its own folders for it, and not look where one may think.
        "a name without a directory"
    } else {
        return Ok(PathBuf::from(text));
    };
    Err(Fault::new(fault, cure))
}

/// A glob that matches something.
pub(super) fn glob(value: Value<'_>, cure: &str) -> Result<Pattern, Fault> {
    let glob = value.text("a glob", cure)?;
    if glob.is_empty() {
        return Err(Fault::new("empty, so it would match nothing", cure));
    }
    Pattern::new(glob).map_err(|error| {
        // The crate counts in characters from 0.
        Fault::new(
            format!("{} at character {}", error.msg, error.pos + 1),
            cure,
        )
    })
}

/// The least important level that is logged.
pub(super) fn log_level(value: Value<'_>) -> Result<tracing::Level, Fault> {
    let cure = "use error, warn, info, debug or trace";
    match value.text("a level", cure)? {
        "error" => Ok(tracing::Level::ERROR),
        "warn" => Ok(tracing::Level::WARN),
        "info" => Ok(tracing::Level::INFO),
        "debug" => Ok(tracing::Level::DEBUG),
        "trace" => Ok(tracing::Level::TRACE),
        _ => Err(Fault::new("not a level", cure)),
    }
}
