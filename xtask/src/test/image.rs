//! Debian's kernels: fetches a package without installing it, and takes out the kernel.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use crate::{
    command::{command, read, run},
    packages,
};

/// Where kernels are kept, by version, relative to the workspace.
const CACHE: &str = ".tools/kernels";

/// The newest kernel of a series, such as `6.1`.
pub(super) fn of_series(root: &Path, series: &str) -> Result<PathBuf> {
    let cache = root.join(CACHE);
    let mut package = newest(root, series);
    if package.is_none() && packages::debian() {
        packages::update()?;
        package = newest(root, series);
    }
    let Some(package) = package else {
        return cached(&cache, series)?.with_context(|| {
            format!(
                "no package source offers one; put its image into {CACHE}/{series}.x/vmlinuz, \
                 for example from Debian's linux-image-{series}*-cloud-amd64"
            )
        });
    };
    let version = package.trim_start_matches("linux-image-");
    let image = cache.join(version).join("vmlinuz");
    if !image.is_file() {
        fetch(&cache, &package).or_else(|error| {
            // Lists that are out of date name files that are gone.
            println!("note: {error:#}");
            packages::update()?;
            let package = newest(root, series).context("it is no longer offered")?;
            fetch(&cache, &package)
        })?;
    }
    cached(&cache, series)?.context("the package had no kernel")
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

/// Downloads a package and keeps its kernel.
fn fetch(cache: &Path, package: &str) -> Result<()> {
    let folder = cache.join(package.trim_start_matches("linux-image-"));
    let unpacked = folder.join("package");
    fs::create_dir_all(&unpacked).with_context(|| format!("create {}", unpacked.display()))?;
    // Apt's own user may not write below here, and has no need to: apt checks what it fetched.
    let unsandboxed = "APT::Sandbox::User=root";
    let arguments = ["--quiet", "-o", unsandboxed, "download", package];
    run(&mut command(&folder, "apt-get", &arguments))?;
    let archive = only_file(&folder, |name| name.starts_with("linux-image-"))?;
    run(command(&folder, "dpkg", &["-x"]).args([&archive, &unpacked]))?;
    let kernel = only_file(&unpacked.join("boot"), |name| name.starts_with("vmlinuz"))?;
    // Renamed last, so that an interrupted download does not look complete.
    fs::rename(&kernel, folder.join("vmlinuz")).context("keep the kernel")?;
    fs::remove_dir_all(&unpacked).context("remove what was unpacked")?;
    fs::remove_file(&archive).context("remove the package")
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
        let image = path.join("vmlinuz");
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
}
