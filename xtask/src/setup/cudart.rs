//! NVIDIA's own CUDA runtimes, which tests call for real: without a driver their calls fail, but
//! they are made. Fetched by pip from the Python Package Index, where NVIDIA publishes them, and
//! kept. Knows nothing of what is done with them.

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

/// Where libraries are kept, each in a folder of its version, relative to the workspace.
const KEPT: &str = ".tools/cuda";

/// A runtime is three megabytes; a download that stands still is given up.
const DOWNLOAD_LIMIT: Duration = Duration::from_mins(2);

/// A runtime library.
struct Runtime {
    /// The package that brings it.
    package: &'static str,
    version: &'static str,
    /// The library's file.
    library: &'static str,
}

/// Versions are written down, because the tests compare what these libraries do.
const RUNTIMES: [Runtime; 2] = [
    Runtime {
        package: "nvidia-cuda-runtime-cu12",
        version: "12.9.79",
        library: "libcudart.so.12",
    },
    Runtime {
        package: "nvidia-cuda-runtime",
        version: "13.5.37",
        library: "libcudart.so.13",
    },
];

impl Runtime {
    /// Where the library is kept.
    fn place(&self, root: &Path) -> PathBuf {
        root.join(KEPT).join(self.version).join(self.library)
    }

    /// Downloads the package and keeps its library.
    fn fetch(&self, root: &Path) -> Result<()> {
        let place = self.place(root);
        let folder = place.parent().context("a file has a folder")?;
        // What an interrupted download left is not part of this one.
        let unpacked = root.join(KEPT).join("incomplete");
        let _ = fs::remove_dir_all(&unpacked);
        fs::create_dir_all(&unpacked).with_context(|| format!("create {}", unpacked.display()))?;
        let wanted = format!("{}=={}", self.package, self.version);
        let arguments = ["-m", "pip", "download", "--no-deps", "--no-cache-dir"];
        let mut download = command(&unpacked, "python3", &arguments);
        download.args(["--quiet", "--disable-pip-version-check"]);
        // A package of sources would be built, which is to run what it says.
        download.args(["--only-binary=:all:", "--dest", ".", &wanted]);
        run_within(DOWNLOAD_LIMIT, &mut download)?;
        let wheel = find(&unpacked, &|file| {
            file.extension().is_some_and(|end| end == "whl")
        })?;
        let wheel = wheel.with_context(|| format!("pip brought no wheel of {wanted}"))?;
        let mut unzip = command(&unpacked, "python3", &["-m", "zipfile", "-e"]);
        run(unzip.arg(&wheel).arg("wheel"))?;
        let library = find(&unpacked, &|file| file.ends_with(self.library))?;
        let library = library.with_context(|| format!("{wanted} has no {}", self.library))?;
        fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
        fs::rename(&library, &place).with_context(|| format!("keep {}", place.display()))?;
        fs::remove_dir_all(&unpacked).context("remove what was unpacked")
    }
}

/// Sees to it that both runtimes are kept.
pub(super) fn ensure(root: &Path) -> Result<()> {
    let missing: Vec<&Runtime> = RUNTIMES
        .iter()
        .filter(|runtime| !runtime.place(root).is_file())
        .collect();
    if missing.is_empty() {
        println!("setup: NVIDIA's CUDA runtimes are here, in {KEPT}");
        return Ok(());
    }
    if !pip_works(root) {
        println!("setup: fetching NVIDIA's CUDA runtimes needs pip");
        packages::install(&["python3-pip"], &[])?;
        if !pip_works(root) {
            bail!("`python3 -m pip` does not work, although python3-pip is installed");
        }
    }
    for runtime in missing {
        let Runtime {
            package, version, ..
        } = runtime;
        println!("setup: the tests need NVIDIA's {package} {version}");
        runtime.fetch(root).with_context(|| {
            let place = runtime.place(root);
            format!("put {package} {version}'s library into {}", place.display())
        })?;
    }
    Ok(())
}

fn pip_works(root: &Path) -> bool {
    read(&mut command(root, "python3", &["-m", "pip", "--version"])).is_ok()
}

/// A file below a folder.
fn find(folder: &Path, wanted: &impl Fn(&Path) -> bool) -> Result<Option<PathBuf>> {
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

    #[test]
    fn what_is_kept_is_not_fetched() {
        let root = tempfile::tempdir().unwrap();
        for runtime in RUNTIMES {
            let place = runtime.place(root.path());
            fs::create_dir_all(place.parent().unwrap()).unwrap();
            fs::write(&place, "kept").unwrap();
        }
        ensure(root.path()).unwrap();
        for runtime in RUNTIMES {
            assert_eq!(fs::read(runtime.place(root.path())).unwrap(), b"kept");
        }
    }
}
