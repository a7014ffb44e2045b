//! NVIDIA's own CUDA runtimes, which tests call for real: without a driver their calls fail, but
//! they are made. Fetched by pip from the Python Package Index, where NVIDIA publishes them, and
//! kept. Knows nothing of what is done with them.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result};

use super::wheels::{self, KEPT, Wheel};

/// A runtime is three megabytes; a download that stands still is given up.
const DOWNLOAD_LIMIT: Duration = Duration::from_mins(2);

/// A runtime library.
struct Runtime {
    /// What brings it.
    wheel: Wheel,
    /// The library's file.
    library: &'static str,
}

/// Versions are written down, because the tests compare what these libraries do.
const RUNTIMES: [Runtime; 2] = [
    Runtime {
        wheel: Wheel {
            package: "nvidia-cuda-runtime-cu12",
            version: "12.9.79",
        },
        library: "libcudart.so.12",
    },
    Runtime {
        wheel: Wheel {
            package: "nvidia-cuda-runtime",
            version: "13.5.37",
        },
        library: "libcudart.so.13",
    },
];

impl Runtime {
    /// Where the library is kept: in a folder of its version.
    fn place(&self, root: &Path) -> PathBuf {
        root.join(KEPT).join(self.wheel.version).join(self.library)
    }

    /// Downloads the package and keeps its library.
    fn fetch(&self, root: &Path) -> Result<()> {
        let place = self.place(root);
        let folder = place.parent().context("a file has a folder")?;
        let unpacked = wheels::empty_folder(&root.join(KEPT))?;
        let wheel = self.wheel.unpack(&unpacked, DOWNLOAD_LIMIT)?;
        let library = wheels::find(&wheel, &|file| file.ends_with(self.library))?;
        let library =
            library.with_context(|| format!("{} has no {}", self.wheel.package, self.library))?;
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
    wheels::ensure_pip(root)?;
    for runtime in missing {
        let Wheel { package, version } = runtime.wheel;
        println!("setup: the tests need NVIDIA's {package} {version}");
        runtime.fetch(root).with_context(|| {
            let place = runtime.place(root);
            format!("put {package} {version}'s library into {}", place.display())
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

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
