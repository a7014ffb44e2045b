//! `cargo xtask run`: builds the agent and becomes it.

use std::{
    env,
    ffi::{OsStr, OsString},
    os::unix::process::CommandExt as _,
    path::Path,
    process::Command,
};

use anyhow::{Context as _, Result};

use crate::{
    command::{announce, command, run},
    rights::is_root,
    toolchain,
};

/// What the names of the agent's variables begin with.
const PREFIX: &str = "MONITORING_";

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
        sudo.args(preserved(env::vars_os().map(|(name, _)| name)));
        sudo.arg("--").arg(&binary);
        sudo
    };
    announce(agent.args(arguments));
    let error = agent.exec();
    Err(error).with_context(|| format!("start {}", binary.display()))
}

/// The option by which sudo hands on the agent's variables, if there are any.
fn preserved(variables: impl Iterator<Item = OsString>) -> Option<OsString> {
    let is_ours = |name: &OsString| name.as_encoded_bytes().starts_with(PREFIX.as_bytes());
    let mut names: Vec<OsString> = variables.filter(is_ours).collect();
    names.sort();
    let mut option = OsString::from("--preserve-env=");
    option.push(names.join(OsStr::new(",")));
    (!names.is_empty()).then_some(option)
}

/// Builds the agent for release.
fn build(root: &Path) -> Result<()> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sudo_hands_on_the_agents_variables() {
        let check = |names: &[&str], want: Option<&str>| {
            let option = preserved(names.iter().map(OsString::from));
            assert_eq!(option.as_deref(), want.map(OsStr::new), "{names:?}");
        };
        check(&[], None);
        check(&["PATH", "MY_MONITORING_NODE"], None);
        check(
            &["PATH", "MONITORING_NODE"],
            Some("--preserve-env=MONITORING_NODE"),
        );
        check(
            &["MONITORING_NODE", "HOME", "MONITORING_LISTEN"],
            Some("--preserve-env=MONITORING_LISTEN,MONITORING_NODE"),
        );
    }
}
