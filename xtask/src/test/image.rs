//! Debian's kernels: fetches a package without installing it, and takes out the kernel and the
//! modules that the guest loads. Which those are is not its business.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};

use super::modules;
use crate::{
    bounded::run_within,
    command::{command, read, run},
    packages,
};

/// Where kernels are kept, by version, relative to the workspace.
const CACHE: &str = ".tools/kernels";

/// The kernel's name in its folder, and the beginning of its name in the package.
const KERNEL: &str = "vmlinuz";

/// A kernel is some thirty megabytes; a download that stands still is given up.
const DOWNLOAD_LIMIT: Duration = Duration::from_mins(4);

/// The newest kernel of a series, such as `6.1`.
pub(super) fn of_series(root: &Path, series: &str) -> Result<PathBuf> {
    let cache = root.join(CACHE);
    let fetched = fetch_newest(root, &cache, series);
    choose(&cache, series, fetched)
}

/// The newest kernel that is kept. Only where there is none does it matter why none was fetched.
fn choose(cache: &Path, series: &str, fetched: Result<()>) -> Result<PathBuf> {
    match (cached(cache, series)?, fetched) {
        (Some(image), Ok(())) => Ok(image),
        (Some(image), Err(error)) => {
            println!("note: {error:#}; taking {}", image.display());
            Ok(image)
        }
        (None, Ok(())) => bail!("the package had no kernel"),
        (None, Err(error)) => Err(error).with_context(|| {
            format!(
                "no kernel to test with; put one into {CACHE}/{series}.x/vmlinuz, for example \
                 from Debian's linux-image-{series}*-cloud-amd64"
            )
        }),
    }
}

/// Sees to it that the newest kernel on offer is kept.
fn fetch_newest(root: &Path, cache: &Path, series: &str) -> Result<()> {
    if !packages::debian() {
        bail!("kernels are fetched on Debian only");
    }
    let listed = newest(root, series);
    let first = match &listed {
        Some(package) => fetch(cache, package),
        None => Ok(()),
    };
    if listed.is_some() && first.is_ok() {
        return first;
    }
    // Lists that are out of date name files that are gone.
    packages::update()?;
    let updated = newest(root, series);
    if updated == listed {
        first?;
    }
    fetch(cache, &updated.context("no package source offers one")?)
}

/// The package that Debian's meta packages name for a series.
fn newest(root: &Path, series: &str) -> Option<String> {
    let own = format!("linux-image-{series}-cloud-amd64");
    let metas = [own.as_str(), "linux-image-cloud-amd64"];
    metas.into_iter().find_map(|meta| {
        let depends = read(&mut command(root, "apt-cache", &["depends", meta])).ok()?;
        dependency(&depends, series)
    })
}

/// Reads the answer of `apt-cache depends`.
fn dependency(depends: &str, series: &str) -> Option<String> {
    let wanted = format!("linux-image-{series}.");
    let mut names = depends
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Depends: "));
    names
        .find(|name| name.starts_with(&wanted))
        .map(str::to_owned)
}

/// Downloads a package and keeps its kernel and modules, unless they are kept already.
fn fetch(cache: &Path, package: &str) -> Result<()> {
    let folder = cache.join(package.trim_start_matches("linux-image-"));
    if folder.join(KERNEL).is_file() && modules::are_kept(&folder) {
        return Ok(());
    }
    // What is kept stays until its successor is complete. No kernel's version begins like this.
    let new = cache.join("incomplete");
    // What an interrupted download left is not part of this one.
    let _ = fs::remove_dir_all(&new);
    let unpacked = new.join("package");
    fs::create_dir_all(&unpacked).with_context(|| format!("create {}", unpacked.display()))?;
    // Apt's own user may not write below here, and has no need to: apt checks what it fetched.
    let unsandboxed = "APT::Sandbox::User=root";
    let arguments = ["--quiet", "-o", unsandboxed, "download", package];
    let mut download = command(&new, "apt-get", &arguments);
    run_within(DOWNLOAD_LIMIT, &mut download)?;
    let archive = only_file(&new, |name| name.starts_with("linux-image-"))?;
    run(command(&new, "dpkg", &["-x"]).args([&archive, &unpacked]))?;
    let kernel = only_file(&unpacked.join("boot"), |name| name.starts_with(KERNEL))?;
    fs::rename(&kernel, new.join(KERNEL)).context("keep the kernel")?;
    modules::keep(&unpacked.join("lib/modules"), &new).context("keep the modules")?;
    fs::remove_dir_all(&unpacked).context("remove what was unpacked")?;
    fs::remove_file(&archive).context("remove the package")?;
    if folder.is_dir() {
        fs::remove_dir_all(&folder).context("remove an older set of files")?;
    }
    fs::rename(&new, &folder).with_context(|| format!("keep {}", folder.display()))
}

fn only_file(folder: &Path, wanted: impl Fn(&str) -> bool) -> Result<PathBuf> {
    let entries = fs::read_dir(folder).with_context(|| format!("read {}", folder.display()))?;
    let mut found = entries.filter_map(|entry| entry.ok().map(|entry| entry.path()));
    let matches = |path: &PathBuf| {
        path.file_name()
            .is_some_and(|name| wanted(&name.to_string_lossy()))
    };
    found
        .find(matches)
        .with_context(|| format!("{} lacks a file", folder.display()))
}

/// The newest kernel of a series that is kept already.
fn cached(cache: &Path, series: &str) -> Result<Option<PathBuf>> {
    if !cache.is_dir() {
        return Ok(None);
    }
    let mut versions = Vec::new();
    for entry in fs::read_dir(cache).with_context(|| format!("read {}", cache.display()))? {
        let path = entry.context("read the kernels' folder")?.path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let image = path.join(KERNEL);
        if name.starts_with(&format!("{series}.")) && image.is_file() {
            versions.push((numbers(&name), image));
        }
    }
    versions.sort();
    Ok(versions.pop().map(|(_, image)| image))
}

/// A version as numbers, which sort as versions do.
fn numbers(version: &str) -> Vec<u64> {
    version
        .split(|c: char| !c.is_ascii_digit())
        .filter_map(|word| word.parse().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    #[test]
    fn reads_the_dependency_of_a_meta_package() {
        let check = |depends: &str, series: &str, want: Option<&str>| {
            assert_eq!(dependency(depends, series).as_deref(), want, "{depends}");
        };
        let six_one = "linux-image-cloud-amd64\n  Depends: linux-image-6.1.0-56-cloud-amd64\n";
        check(six_one, "6.1", Some("linux-image-6.1.0-56-cloud-amd64"));
        check(six_one, "6.12", None);
        let six_twelve =
            "linux-image-cloud-amd64\n  Depends: linux-image-6.12.9+deb12-cloud-amd64\n";
        check(six_twelve, "6.1", None);
        check(
            six_twelve,
            "6.12",
            Some("linux-image-6.12.9+deb12-cloud-amd64"),
        );
        check("", "6.1", None);
    }

    #[test]
    fn takes_the_newest_kernel_of_the_series() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(cached(&folder.path().join("none"), "6.1").unwrap(), None);
        for version in [
            "6.1.0-9-x",
            "6.1.0-56-x",
            "6.12.117-x",
            "6.1.0-60-incomplete",
        ] {
            let kept = folder.path().join(version);
            fs::create_dir(&kept).unwrap();
            if !version.ends_with("incomplete") {
                fs::write(kept.join("vmlinuz"), "").unwrap();
            }
        }
        let newest = cached(folder.path(), "6.1").unwrap().unwrap();
        assert_eq!(newest, folder.path().join("6.1.0-56-x/vmlinuz"));
    }

    #[test]
    fn a_kept_kernel_does_without_the_network() {
        let folder = tempfile::tempdir().unwrap();
        let offline = || Err(anyhow!("no network"));
        let error = choose(folder.path(), "6.1", offline()).unwrap_err();
        assert!(format!("{error:#}").ends_with("no network"), "{error:#}");
        assert!(choose(folder.path(), "6.1", Ok(())).is_err());
        let kept = folder.path().join("6.1.0-9-x");
        fs::create_dir(&kept).unwrap();
        fs::write(kept.join("vmlinuz"), "").unwrap();
        for fetched in [offline(), Ok(())] {
            let image = choose(folder.path(), "6.1", fetched).unwrap();
            assert_eq!(image, kept.join("vmlinuz"));
        }
        assert!(choose(folder.path(), "6.12", offline()).is_err());
    }
}
