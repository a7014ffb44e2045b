//! The kernel's file system of tracepoints, which the programs look into that the tests compare with.
//! The agent mounts one of its own where there is none.

use std::{fs, path::Path};

use anyhow::{Context as _, Result};

use crate::{command::run, rights::as_root};

/// Where programs look for it.
const PLACE: &str = "/sys/kernel/tracing";

/// What is mounted, as this process sees it.
const MOUNTS: &str = "/proc/self/mounts";

/// Sees to it that it is mounted. What was mounted stays until the machine is started anew.
pub(super) fn ensure() -> Result<()> {
    let mounts = fs::read_to_string(MOUNTS).with_context(|| format!("read {MOUNTS}"))?;
    if is_mounted(&mounts) {
        println!("setup: tracefs is here");
        return Ok(());
    }
    if !Path::new(PLACE).is_dir() {
        println!("setup: this kernel has no tracefs; its sources and tests will say so");
        return Ok(());
    }
    println!("setup: the tests' tools need tracefs, mounted at {PLACE}");
    let mut mount = as_root("mount").context("mounting tracefs needs root")?;
    run(mount.args(["-t", "tracefs", "tracefs", PLACE]))
}

/// Whether a list of mounts has it where programs look.
fn is_mounted(mounts: &str) -> bool {
    mounts.lines().any(|mount| {
        let fields: Vec<&str> = mount.split(' ').collect();
        matches!(fields[..], [_, PLACE, "tracefs", ..])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_mount() {
        let check = |mounts: &str, want| assert_eq!(is_mounted(mounts), want, "{mounts}");
        let root = "/dev/vda / ext4 rw 0 0\n";
        check(root, false);
        check(&format!("{root}tracefs {PLACE} tracefs rw 0 0\n"), true);
        check(&format!("nodev {PLACE} tracefs rw,nosuid 0 0\n"), true);
        check(&format!("tracefs {PLACE}/x tracefs rw 0 0\n"), false);
        check(&format!("sysfs {PLACE} sysfs rw 0 0\n"), false);
        check("", false);
    }
}
