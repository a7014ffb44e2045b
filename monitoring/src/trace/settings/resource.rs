//! What a process says of itself with its spans. Knows nothing of where they go.

use std::{fs, process};

use super::Environment;
use crate::trace::{TraceError, sink::Resource};

/// Where Linux keeps the name of the machine, or of the container.
const HOST_NAME: &str = "/proc/sys/kernel/hostname";

/// The resource of a service: what the program has set wins over what `OTEL_RESOURCE_ATTRIBUTES`
/// says, and that over what is found out here. `OTEL_SERVICE_NAME` is the operator's word on the
/// name, and wins over the program's.
///
/// # Errors
///
/// When `OTEL_RESOURCE_ATTRIBUTES` is not a list of pairs.
pub(in crate::trace) fn resource(
    service: &str,
    attributes: &[(String, String)],
    environment: &Environment,
) -> Result<Resource, TraceError> {
    let mut resource = Resource::default();
    resource.set("service.name", service.to_owned());
    resource.set("telemetry.sdk.language", "rust");
    resource.set("telemetry.sdk.name", env!("CARGO_PKG_NAME"));
    resource.set("telemetry.sdk.version", env!("CARGO_PKG_VERSION"));
    resource.set("process.pid", process::id().to_string());
    if let Ok(host) = fs::read_to_string(HOST_NAME) {
        resource.set("host.name", host.trim().to_owned());
    }
    for (name, value) in pairs(environment)? {
        // The program has to name its service, and does it with more care than to name a fleet's.
        if name != "service.name" {
            resource.set(name, value);
        }
    }
    for (name, value) in attributes {
        resource.set(name.clone(), value.clone());
    }
    if let Some(service) = environment.get("OTEL_SERVICE_NAME") {
        resource.set("service.name", service.to_owned());
    }
    Ok(resource)
}

/// The pairs of `OTEL_RESOURCE_ATTRIBUTES`, in the format of the W3C's baggage: `name=value,…`, with
/// percent signs before bytes that have a meaning in it.
fn pairs(environment: &Environment) -> Result<Vec<(String, String)>, TraceError> {
    const NAME: &str = "OTEL_RESOURCE_ATTRIBUTES";
    let Some(text) = environment.get(NAME) else {
        return Ok(Vec::new());
    };
    let pair = |pair: &str| {
        let (name, value) = pair.split_once('=')?;
        let (name, value) = (name.trim(), decode(value.trim())?);
        (!name.is_empty()).then(|| (name.to_owned(), value))
    };
    let pairs: Option<Vec<_>> = text.split(',').map(pair).collect();
    pairs.ok_or_else(|| TraceError::environment(NAME, text, "a list such as a=b,c=d"))
}

/// A text whose bytes may be written as a percent sign and two hexadecimal digits.
fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [byte, after @ ..] = rest {
        rest = after;
        if *byte != b'%' {
            bytes.push(*byte);
            continue;
        }
        let (digits, after) = rest.split_at_checked(2)?;
        if !digits.iter().all(u8::is_ascii_hexdigit) {
            return None;
        }
        let digits = str::from_utf8(digits).ok()?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        rest = after;
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_wins_but_for_the_name_of_the_service() {
        let environment = Environment::of(&[
            ("OTEL_SERVICE_NAME", "operators"),
            (
                "OTEL_RESOURCE_ATTRIBUTES",
                "service.name=fleet, zone = a%2Cb ,team=x",
            ),
        ]);
        let set = [("team".to_owned(), "y".to_owned())];
        let resource = resource("programs", &set, &environment).unwrap();
        assert_eq!(resource.get("service.name"), Some("operators"));
        assert_eq!(resource.get("zone"), Some("a,b"));
        assert_eq!(resource.get("team"), Some("y"));
        assert_eq!(resource.get("telemetry.sdk.name"), Some("monitoring"));
        let pid = process::id().to_string();
        assert_eq!(resource.get("process.pid"), Some(pid.as_str()));
    }

    #[test]
    fn the_programs_name_wins_over_that_of_a_fleet() {
        let environment = Environment::of(&[("OTEL_RESOURCE_ATTRIBUTES", "service.name=fleet")]);
        let resource = resource("programs", &[], &environment).unwrap();
        assert_eq!(resource.get("service.name"), Some("programs"));
    }

    #[test]
    fn lists_that_are_none_are_errors() {
        for text in ["a", "=b", "a=b,", "a=%2", "a=%zz", "a=%+1", "a=%ff"] {
            let environment = Environment::of(&[("OTEL_RESOURCE_ATTRIBUTES", text)]);
            let said = pairs(&environment).unwrap_err().to_string();
            assert!(said.contains("OTEL_RESOURCE_ATTRIBUTES"), "{said}");
            assert!(said.contains(text), "{said}");
        }
    }
}
