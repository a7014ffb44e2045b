//! What the agent sends by OTLP: to Rotel, a collector that nobody here wrote, and to collectors of
//! the tests' own that do what collectors should not.

#[path = "../../../monitoring/tests/certificates/mod.rs"]
mod certificates;
#[path = "../poll/mod.rs"]
mod poll;
#[path = "../../../monitoring/tests/ports/mod.rs"]
mod ports;
#[path = "../../../monitoring/tests/rotel/mod.rs"]
mod rotel;

mod agent;
mod away;
mod bounds;
mod ends;
mod exporter;
mod grpc_answers;
mod hostile;
mod http_answers;
mod log_lines;
mod made;
mod metrics;
mod panics;
mod sizes;
mod stub;
mod whole;
