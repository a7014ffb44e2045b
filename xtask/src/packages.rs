//! Debian packages: what is installed, and how to install the rest without leaving services
//! behind. Knows nothing of what the packages are for.

use std::{path::Path, process::Command, sync::Once, time::Duration};

use anyhow::{Context as _, Error, Result, anyhow, bail};

use crate::{
    bounded::run_within,
    command::{command, find, run, untranslated},
    rights::as_root,
};

/// The lists are some ten megabytes; a server that does not answer is given up.
const UPDATE_LIMIT: Duration = Duration::from_mins(3);

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
    let listed = untranslated(&mut query)
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
///
/// The error names the command that somebody with more rights can do it with.
pub(crate) fn install(packages: &[&str], services: &[&str]) -> Result<()> {
    if !debian() {
        bail!(
            "packages are installed with apt-get only; please install what Debian names {}",
            packages.join(" ")
        );
    }
    install_here(packages, services).map_err(|error| by_hand(&error, packages))
}

/// The error, with what to do about it.
fn by_hand(error: &Error, packages: &[&str]) -> Error {
    anyhow!(
        "{error:#}; please run as root: apt-get install {}",
        packages.join(" ")
    )
}

fn install_here(packages: &[&str], services: &[&str]) -> Result<()> {
    update()?;
    let systemd = Path::new("/run/systemd/system").is_dir() && !services.is_empty();
    let systemctl = |verb: &[&str]| {
        let mut systemctl = as_root("systemctl").context("systemctl needs root")?;
        run(systemctl.args(verb).args(services))
    };
    if systemd {
        systemctl(&["mask", "--runtime"])?;
    }
    let mut install = apt_get()?;
    // Never at the price of a package that somebody else installed.
    install
        .args(["install", "--yes", "--no-install-recommends", "--no-remove"])
        .args(packages);
    let installed = run(&mut install);
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
        if let Err(error) = run_within(UPDATE_LIMIT, &mut update) {
            // The lists that are there may do; if not, the installation says so.
            println!("note: {error:#}");
        }
    });
    Ok(())
}

fn apt_get() -> Result<Command> {
    let mut apt_get = as_root("env").context("apt-get needs root")?;
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

    #[test]
    fn an_error_says_what_to_install() {
        let error = by_hand(&anyhow!("why").context("what"), &["one", "two"]);
        let want = "what: why; please run as root: apt-get install one two";
        assert_eq!(error.to_string(), want);
    }
}
