//! The kernel suite: real programs in the running kernel, known work, exact counts, zero losses.
//!
//! Needs root and nothing else, so that the same binary also runs in a bare guest with another
//! kernel. Its tests share the node's tracepoints and run one at a time (`--test-threads=1`).

mod block;
mod cuda;
mod loader;
mod net;
mod node;
mod process;
mod process_usage;
mod profile;
mod sched;
mod shutdown;
mod swarm;
mod syscalls;
mod trace;
mod work;

#[path = "../rig/namespace.rs"]
mod namespace;
#[path = "../poll/mod.rs"]
mod poll;
