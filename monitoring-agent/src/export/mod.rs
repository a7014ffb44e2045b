//! What leaves the agent. Exporters see snapshots and know no source.

pub mod http;
pub mod json;
pub mod otlp;
pub mod prometheus;
pub mod protobuf;
pub mod render;
