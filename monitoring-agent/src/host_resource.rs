//! What everything that is sent by OTLP says of the node that it is from, spans and metrics alike: by
//! OpenTelemetry's semantic conventions. Knows nothing of what is sent.

use opentelemetry_proto::tonic::common::v1::KeyValue;

use crate::spans::attributes::text;

/// This node, by the name and type that its configuration gives it. Its name is the kernel's host name
/// where nobody gave another one.
pub(crate) fn attributes(node: &str, node_type: &str) -> Vec<KeyValue> {
    let arch = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let texts = [
        ("host.name", node),
        ("host.id", &machine_id()),
        ("host.arch", arch),
        ("os.type", "linux"),
        ("stratoswarm.node.name", node),
        ("stratoswarm.node.type", node_type),
    ];
    let texts = texts.into_iter().filter(|(_, value)| !value.is_empty());
    texts.map(|(key, value)| text(key, value)).collect()
}

/// What tells the machine from all others; empty where it has no such thing.
pub(crate) fn machine_id() -> String {
    let id = std::fs::read_to_string("/etc/machine-id").unwrap_or_default();
    id.trim().to_owned()
}
