//! What leaves the agent. Exporters see snapshots and know no source.

pub mod http;
pub mod json;
pub mod negotiate;
pub mod prometheus;
pub mod render;
