//! The emulator that other kernels run in: the one on `PATH`, or else Debian's, unpacked beside the
//! workspace without being installed. Debian's package does not go together with tools of a newer QEMU,
//! such as backports bring, and those are somebody else's.

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};

use crate::{
    bounded::run_within,
    command::{command, find, read, run, untranslated},
    packages,
};

const PROGRAM: &str = "qemu-system-x86_64";

/// The package that brings it.
const PACKAGE: &str = "qemu-system-x86";

/// Where it is unpacked, relative to the workspace.
const KEPT: &str = ".tools/qemu";

/// What dpkg knows of this machine's packages.
const STATUS: &str = "/var/lib/dpkg/status";

/// For some 20 MB; a download that stands still is given up.
const DOWNLOAD_LIMIT: Duration = Duration::from_mins(3);

/// Sees to it that there is an emulator.
pub(crate) fn ensure(root: &Path) -> Result<()> {
    let kept = root.join(KEPT);
    if find(PROGRAM).is_some() || starts(&kept) {
        println!("setup: the emulator is here");
        return Ok(());
    }
    println!("setup: the tests need {PROGRAM}");
    let Err(refused) = packages::install(&[PACKAGE], &[]) else {
        return Ok(());
    };
    println!("note: {refused:#}");
    println!("setup: unpacking {PACKAGE} into {KEPT} instead: 20 MB to download, 100 MB to keep");
    unpack(root, &kept)
        .with_context(|| format!("{PACKAGE} can neither be installed nor unpacked into {KEPT}"))
}

/// The command that starts the emulator in a folder.
pub(crate) fn emulator(root: &Path, folder: &Path) -> Command {
    let kept = root.join(KEPT);
    if find(PROGRAM).is_none() && kept.is_dir() {
        return unpacked(&kept, folder);
    }
    command(folder, PROGRAM, &[])
}

/// The same for what was unpacked, with its own libraries and firmware.
fn unpacked(kept: &Path, folder: &Path) -> Command {
    let mut emulator = command(folder, kept.join("usr/bin").join(PROGRAM), &[]);
    let libraries = ["usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu"].map(|at| kept.join(at));
    let mut path = OsString::new();
    for folder in libraries {
        path.push(folder);
        path.push(":");
    }
    path.push(std::env::var_os("LD_LIBRARY_PATH").unwrap_or_default());
    emulator.env("LD_LIBRARY_PATH", path);
    for firmware in ["usr/share/qemu", "usr/share/seabios"] {
        emulator.arg("-L").arg(kept.join(firmware));
    }
    emulator
}

fn starts(kept: &Path) -> bool {
    kept.is_dir() && read(unpacked(kept, kept).arg("--version")).is_ok()
}

/// Fetches the package, and all that it needs and this machine lacks, and unpacks them.
fn unpack(root: &Path, kept: &Path) -> Result<()> {
    if !packages::debian() {
        bail!("packages are unpacked on Debian only");
    }
    let new = root.join(KEPT).with_extension("incomplete");
    // What an interrupted download left is not part of this one.
    let _ = fs::remove_dir_all(&new);
    let (archives, files) = (new.join("archives"), new.join("files"));
    // Apt keeps what is not complete in a folder of its own.
    for folder in [archives.join("partial"), files.clone()] {
        fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
    }
    let mut simulated = command(&new, "apt-get", &["--simulate", "--no-install-recommends"]);
    let said = read(untranslated(&mut simulated).args(["install", PACKAGE]))?;
    let status = fs::read_to_string(STATUS).with_context(|| format!("read {STATUS}"))?;
    let without = new.join("status");
    fs::write(&without, without_packages(&status, &removed(&said))).context("write a status")?;
    let option = |name: &str, path: &Path| format!("{name}={}", path.display());
    let mut download = command(&new, "apt-get", &["--quiet", "--yes", "--download-only"]);
    // Apt's own user may not write below here; nothing is changed that others would have to wait for.
    for option in [
        option("Dir::State::status", &without),
        option("Dir::Cache::archives", &archives),
        "APT::Sandbox::User=root".to_owned(),
        "Debug::NoLocking=1".to_owned(),
    ] {
        download.args(["-o", &option]);
    }
    download.args(["--no-install-recommends", "install", PACKAGE]);
    run_within(DOWNLOAD_LIMIT, &mut download)?;
    for archive in packages_in(&archives)? {
        run(command(&new, "dpkg", &["-x"]).args([&archive, &files]))?;
    }
    if !starts(&files) {
        bail!("what was unpacked does not start");
    }
    let _ = fs::remove_dir_all(kept);
    fs::rename(&files, kept).with_context(|| format!("keep {}", kept.display()))?;
    fs::remove_dir_all(&new).context("remove what was downloaded")
}

/// The packages that a simulated installation would remove.
fn removed(simulation: &str) -> Vec<&str> {
    let lines = simulation.lines();
    let removals = lines.filter_map(|line| line.strip_prefix("Remv "));
    removals
        .filter_map(|removal| removal.split(' ').next())
        .collect()
}

/// dpkg's status as it would be without some packages.
fn without_packages(status: &str, names: &[&str]) -> String {
    let is_other = |paragraph: &&str| {
        let name = paragraph.lines().next().unwrap_or_default();
        !names.iter().any(|left_out| {
            name.strip_prefix("Package: ")
                .is_some_and(|name| name == *left_out)
        })
    };
    let paragraphs: Vec<&str> = status.split("\n\n").filter(is_other).collect();
    paragraphs.join("\n\n")
}

fn packages_in(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("read {}", folder.display()))? {
        let path = entry.context("read an entry")?.path();
        if path.extension().is_some_and(|extension| extension == "deb") {
            found.push(path);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_the_way_is_left_out_of_the_status() {
        let said =
            "NOTE: simulated\nRemv qemu-utils [1:10.0]\nInst seabios (1.16)\nRemv other [2]\n";
        assert_eq!(removed(said), ["qemu-utils", "other"]);
        let status = "Package: qemu-utils\nVersion: 1\n\nPackage: qemu-utils-doc\nVersion: 2\n\n\
            Package: bash\nDescription: not\n Package: other\n";
        let left = without_packages(status, &removed(said));
        let want = "Package: qemu-utils-doc\nVersion: 2\n\nPackage: bash\nDescription: not\n \
            Package: other\n";
        assert_eq!(left, want);
        assert_eq!(without_packages(status, &[]), status);
    }
}
