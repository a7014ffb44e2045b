//! Packages from the Python Package Index, fetched by pip and unpacked; nothing of them is installed
//! or run. Knows nothing of what is in them.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};

use crate::{
    bounded::run_within,
    command::{command, read, run},
    packages,
};

/// Where files of NVIDIA's packages are kept, relative to the workspace.
pub(super) const KEPT: &str = ".tools/cuda";

/// A package, in the version that is written down.
pub(super) struct Wheel {
    pub(super) package: &'static str,
    pub(super) version: &'static str,
}

/// An empty folder beside what is kept. What an interrupted download left is not part of the next.
pub(super) fn empty_folder(kept: &Path) -> Result<PathBuf> {
    let folder = kept.join("incomplete");
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
    Ok(folder)
}

impl Wheel {
    /// Downloads the package into a folder, and unpacks it into the folder `wheel` there, where
    /// others may have been unpacked before. A download that stands still is given up.
    pub(super) fn unpack(&self, folder: &Path, limit: Duration) -> Result<PathBuf> {
        let wanted = format!("{}=={}", self.package, self.version);
        let arguments = ["-m", "pip", "download", "--no-deps", "--no-cache-dir"];
        let mut download = command(folder, "python3", &arguments);
        download.args(["--quiet", "--disable-pip-version-check"]);
        // A package of sources would be built, which is to run what it says.
        download.args(["--only-binary=:all:", "--dest", ".", &wanted]);
        run_within(limit, &mut download)?;
        let wheel = find(folder, &|file| {
            file.extension().is_some_and(|end| end == "whl")
        })?;
        let wheel = wheel.with_context(|| format!("pip brought no wheel of {wanted}"))?;
        let mut unzip = command(folder, "python3", &["-m", "zipfile", "-e"]);
        run(unzip.arg(&wheel).arg("wheel"))?;
        fs::remove_file(&wheel).with_context(|| format!("remove {}", wheel.display()))?;
        Ok(folder.join("wheel"))
    }
}

/// Sees to it that there is a pip.
pub(super) fn ensure_pip(root: &Path) -> Result<()> {
    if pip_works(root) {
        return Ok(());
    }
    println!("setup: fetching packages needs pip");
    packages::install(&["python3-pip"], &[])?;
    if !pip_works(root) {
        bail!("`python3 -m pip` does not work, although python3-pip is installed");
    }
    Ok(())
}

fn pip_works(root: &Path) -> bool {
    read(&mut command(root, "python3", &["-m", "pip", "--version"])).is_ok()
}

/// A file below a folder.
pub(super) fn find(folder: &Path, wanted: &impl Fn(&Path) -> bool) -> Result<Option<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| format!("read {}", folder.display()))?;
    for entry in entries {
        let entry = entry.with_context(|| format!("read {}", folder.display()))?;
        let kind = entry.file_type().context("tell files from folders")?;
        let found = if kind.is_dir() {
            find(&entry.path(), wanted)?
        } else {
            // A link may be to anything, and the libraries are none.
            let file = Some(entry.path()).filter(|_| kind.is_file());
            file.filter(|file| wanted(file))
        };
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_found_by_their_names() {
        let folder = tempfile::tempdir().unwrap();
        let below = folder.path().join("a/b");
        fs::create_dir_all(&below).unwrap();
        fs::write(below.join("library.so.12"), "").unwrap();
        std::os::unix::fs::symlink("library.so.12", below.join("library.so")).unwrap();
        let found = |name: &str| find(folder.path(), &|file| file.ends_with(name)).unwrap();
        assert_eq!(found("library.so.12"), Some(below.join("library.so.12")));
        assert_eq!(found("library.so"), None);
        assert_eq!(found("b"), None);
        assert!(find(&below.join("none"), &|_| true).is_err());
    }
}
