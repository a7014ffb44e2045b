//! Root's rights: whether this program has them, and how a command gets them. Asks for no password.

use std::{path::Path, process::Command};

use anyhow::{Result, bail};

use crate::command::{command, read};

/// A command with root's rights: directly, or by sudo where that needs no password.
pub(crate) fn as_root(program: &str) -> Result<Command> {
    let folder = Path::new("/");
    if is_root()? {
        return Ok(command(folder, program, &[]));
    }
    if read(&mut command(folder, "sudo", &["-n", "true"])).is_err() {
        bail!("this is not root, and there is no passwordless sudo");
    }
    Ok(command(folder, "sudo", &["-n", program]))
}

/// Whether this program runs as root.
pub(crate) fn is_root() -> Result<bool> {
    Ok(read(&mut command(Path::new("/"), "id", &["-u"]))? == "0")
}
