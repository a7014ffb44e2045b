//! `cargo xtask bench`: measures what the agent costs.

use std::path::Path;

use anyhow::Result;

use crate::{
    command::{command, run},
    run, toolchain,
};

/// Builds the agent for release, and runs the benchmark of its overhead.
pub(crate) fn overhead(root: &Path, arguments: &[String]) -> Result<()> {
    toolchain::ensure(root)?;
    run::build(root)?;
    let bench = [
        "bench",
        "--package",
        "monitoring-agent",
        "--bench",
        "overhead",
        "--",
    ];
    run(command(root, "cargo", &bench).args(arguments))
}
