//! Debian packages: what is installed, and how to install the rest without leaving services
//! behind. Knows nothing of what the packages are for.

use std::{path::Path, process::Command, sync::Once};

use anyhow::{Context as _, Result, bail};

use crate::command::{command, find, read, run};

/// Whether `apt-get` manages this machine's packages.
pub(crate) fn debian() -> bool {
    find("apt-get").is_some() && find("dpkg-query").is_some()
}

/// The packages of a list that are not installed.
pub(crate) fn missing<'a>(packages: &[&'a str]) -> Vec<&'a str> {
    let format = "--showformat=${Package} ${db:Status-Status}\n";
    let mut query = command(Path::new("/"), "dpkg-query", &["--show", format]);
    query.args(packages);
    // The exit status only says that some name is unknown; what is known is printed all the same.
    let listed = query
        .output()
        .map(|output| output.stdout)
        .unwrap_or_default();
    let listed = String::from_utf8_lossy(&listed).into_owned();
    let installed = |name: &str| {
        listed
            .lines()
            .any(|line| line == format!("{name} installed"))
    };
    packages
        .iter()
        .copied()
        .filter(|name| !installed(name))
        .collect()
}

/// Installs packages. `services` are systemd units that they bring; they are neither started nor
/// enabled, because the tests start what they need themselves, on ports of their own.
pub(crate) fn install(packages: &[&str], services: &[&str]) -> Result<()> {
    if !debian() {
        bail!(
            "packages are installed with apt-get only; please install: {}",
            packages.join(" ")
        );
    }
    update()?;
    let systemd = Path::new("/run/systemd/system").is_dir() && !services.is_empty();
    let systemctl =
        |verb: &[&str]| -> Result<()> { run(as_root("systemctl")?.args(verb).args(services)) };
    if systemd {
        systemctl(&["mask", "--runtime"])?;
    }
    let mut install = apt_get()?;
    // Never at the price of a package that somebody else installed.
    install
        .args(["install", "--yes", "--no-install-recommends", "--no-remove"])
        .args(packages);
    let installed = run(&mut install).with_context(|| format!("install {}", packages.join(" ")));
    if systemd {
        systemctl(&["unmask", "--runtime"])?;
        if installed.is_ok() {
            systemctl(&["disable"])?;
        }
    }
    installed
}

/// Fetches the lists of packages, once per run of this program.
pub(crate) fn update() -> Result<()> {
    static UPDATED: Once = Once::new();
    let mut update = apt_get()?;
    update.arg("update");
    UPDATED.call_once(|| {
        if let Err(error) = run(&mut update) {
            // The lists that are there may do; if not, the installation says so.
            println!("note: {error:#}");
        }
    });
    Ok(())
}

fn apt_get() -> Result<Command> {
    let mut apt_get = as_root("env")?;
    // RUNLEVEL=1 keeps scripts of the System V kind from starting services.
    apt_get.args([
        "DEBIAN_FRONTEND=noninteractive",
        "RUNLEVEL=1",
        "apt-get",
        "--quiet",
    ]);
    apt_get.args(["-o", "DPkg::Lock::Timeout=120"]);
    Ok(apt_get)
}

/// A command with root's rights: directly, or by sudo where that needs no password.
pub(crate) fn as_root(program: &str) -> Result<Command> {
    let folder = Path::new("/");
    if is_root()? {
        return Ok(command(folder, program, &[]));
    }
    if read(&mut command(folder, "sudo", &["-n", "true"])).is_err() {
        bail!("{program} needs root, and there is no sudo without a password");
    }
    Ok(command(folder, "sudo", &["-n", program]))
}

/// Whether this program runs as root.
pub(crate) fn is_root() -> Result<bool> {
    Ok(read(&mut command(Path::new("/"), "id", &["-u"]))? == "0")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_installed_from_missing() {
        if debian() {
            assert_eq!(
                missing(&["base-files", "no-such-package-exists"]),
                ["no-such-package-exists"]
            );
        } else {
            assert_eq!(missing(&["base-files"]), ["base-files"]);
        }
    }
}
