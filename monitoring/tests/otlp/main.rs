//! Spans that are sent by OTLP, as a collector that nobody here wrote shows them: Rotel, which
//! `cargo xtask setup` fetches. What a collector may answer besides is answered by one of the tests'
//! own.

#[path = "../certificates/mod.rs"]
mod certificates;
#[path = "../../../monitoring-agent/tests/poll/mod.rs"]
mod poll;
#[path = "../ports/mod.rs"]
mod ports;
#[path = "../rotel/mod.rs"]
mod rotel;

mod answers;
mod away;
mod collector;
mod environment;
#[cfg(feature = "layer")]
mod feedback;
mod grpc;
mod parts;
mod sdk;
mod tls;
mod whole;
