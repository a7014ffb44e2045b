//! `cargo xtask run`: builds the agent and becomes it.

use std::{os::unix::process::CommandExt as _, path::Path, process::Command};

use anyhow::{Context as _, Result};

use crate::{
    command::{command, run},
    packages::is_root,
    toolchain,
};

/// Builds the agent for release and runs it as root until it ends.
pub(crate) fn agent(root: &Path, arguments: &[String]) -> Result<()> {
    toolchain::ensure(root)?;
    build(root)?;
    let binary = root.join("target/release/monitoring-agent");
    let mut agent = if is_root()? {
        Command::new(&binary)
    } else {
        // Asks for the password if it must: somebody sits at the terminal.
        let mut sudo = Command::new("sudo");
        sudo.arg("--").arg(&binary);
        sudo
    };
    println!("$ {} {}", binary.display(), arguments.join(" "));
    let error = agent.args(arguments).exec();
    Err(error).with_context(|| format!("start {}", binary.display()))
}

/// Builds the agent for release.
pub(crate) fn build(root: &Path) -> Result<()> {
    // The target folder is given so that the binary lies where it is looked for, whatever the
    // environment says.
    let arguments = [
        "build",
        "--release",
        "--package",
        "monitoring-agent",
        "--target-dir",
        "target",
    ];
    run(&mut command(root, "cargo", &arguments))
}
