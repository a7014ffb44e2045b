//! The built agent as its users run it: its binary, its signals, and the tools around it.
//!
//! Needs root and the tools that `cargo xtask setup` installs. The tests share the node and run
//! one at a time (`--test-threads=1`).

mod agreement;
mod block;
mod capabilities;
mod commands;
mod cuda;
mod deployment;
mod golden;
mod gpu;
mod lifecycle;
mod net;
mod page;
mod process;
mod profile;
mod prometheus;
mod queries;
mod rules;
mod runqlat;
mod signals;
mod traces;

#[path = "../poll/mod.rs"]
mod poll;
#[path = "../../../monitoring/tests/ports/mod.rs"]
mod ports;
#[path = "../rig/mod.rs"]
mod rig;
#[path = "../../../monitoring/tests/rotel/mod.rs"]
mod rotel;
#[path = "../running/mod.rs"]
mod running;
#[path = "../scraper/mod.rs"]
mod scraper;
