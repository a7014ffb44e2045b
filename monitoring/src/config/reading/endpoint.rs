//! Reads endpoints for spans, and says what to write instead of bad ones.
//!
//! Which URLs are good, and what a Jaeger URL means in OTLP, is in [`endpoint`].

use super::{problem::Fault, values::Value};
use crate::trace::endpoint::{self, EndpointError};

/// Reads `otlp_endpoint`. The signal's own path may be there or not.
pub fn otlp(value: Value<'_>) -> Result<String, Fault> {
    let cure = "use a base URL, for example \"http://localhost:4318\", or leave it out";
    read(value, cure, endpoint::otlp)
}

/// Reads `jaeger_endpoint` and translates it to the OTLP endpoint of the same Jaeger.
pub fn jaeger(value: Value<'_>) -> Result<String, Fault> {
    let cure = "use a URL, for example \"http://localhost:14268/api/traces\", or leave it out";
    read(value, cure, endpoint::jaeger)
}

fn read(
    value: Value<'_>,
    cure: &str,
    base: impl FnOnce(&str) -> Result<String, EndpointError>,
) -> Result<String, Fault> {
    let text = value.text("a URL", cure)?;
    base(text).map_err(|error| Fault::new(error.to_string(), cure))
}
