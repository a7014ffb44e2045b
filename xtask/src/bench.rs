//! `cargo xtask bench`: measures what the agent costs.

use std::path::Path;

use anyhow::Result;

use crate::{
    command::{command, run},
    setup,
};

/// Runs the benchmark of the agent's overhead, for which cargo builds the agent for release. It is
/// compared with programs that the tests use too.
pub(crate) fn overhead(root: &Path, arguments: &[String]) -> Result<()> {
    setup::everything(root)?;
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
