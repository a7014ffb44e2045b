//! NVIDIA's compiler for CUDA, with which tests build programs as their users do: no GPU is needed
//! for that. Fetched by pip from the Python Package Index, where NVIDIA publishes it in parts, and
//! kept. Knows nothing of what is compiled.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result};

use super::wheels::{self, KEPT, Wheel};

/// The version of all parts, which is written down, because the tests look at what it compiles.
const VERSION: &str = "13.5.37";

/// The parts: the driver of the compilation with the front end and the assembler, the compiler in
/// the middle, and headers and libraries. 125 MB are downloaded.
const PARTS: [&str; 4] = [
    "nvidia-cuda-nvcc",
    "nvidia-nvvm",
    "nvidia-cuda-crt",
    "nvidia-cuda-runtime",
];

/// For each part.
const DOWNLOAD_LIMIT: Duration = Duration::from_mins(10);

/// Where all parts put their files.
const IN_WHEEL: &str = "nvidia/cu13";

/// What nobody calls here: the compiler in the middle once more, as a library of 74 MB.
const NOT_KEPT: &str = "lib/libnvvm.so.4";

/// Folders of programs: unpacking forgets what may be executed.
const PROGRAMS: [&str; 2] = ["bin", "nvvm/bin"];

/// Sees to it that the compiler is kept.
pub(super) fn ensure(root: &Path) -> Result<()> {
    let place = place(root);
    if place.join("bin/nvcc").is_file() {
        println!("setup: NVIDIA's compiler is here, in {KEPT}");
        return Ok(());
    }
    wheels::ensure_pip(root)?;
    println!("setup: the tests need NVIDIA's nvcc {VERSION}: 125 MB to download, 260 MB to keep");
    fetch(root, &place).with_context(|| format!("put nvcc {VERSION} into {}", place.display()))
}

fn place(root: &Path) -> PathBuf {
    root.join(KEPT).join(format!("nvcc-{VERSION}"))
}

fn fetch(root: &Path, place: &Path) -> Result<()> {
    let folder = wheels::empty_folder(&root.join(KEPT))?;
    for package in PARTS {
        let part = Wheel {
            package,
            version: VERSION,
        };
        part.unpack(&folder, DOWNLOAD_LIMIT)?;
    }
    let unpacked = folder.join("wheel").join(IN_WHEEL);
    complete(&unpacked)?;
    let _ = fs::remove_dir_all(place);
    fs::rename(&unpacked, place).context("keep what was unpacked")?;
    fs::remove_dir_all(&folder).context("remove what was unpacked")
}

/// Makes what was unpacked a compiler that works.
fn complete(unpacked: &Path) -> Result<()> {
    let unwanted = unpacked.join(NOT_KEPT);
    fs::remove_file(&unwanted).with_context(|| format!("remove {}", unwanted.display()))?;
    for folder in PROGRAMS.map(|folder| unpacked.join(folder)) {
        let entries =
            fs::read_dir(&folder).with_context(|| format!("read {}", folder.display()))?;
        for entry in entries {
            let path = entry.context("read a folder of programs")?.path();
            if path.is_file() {
                fs::set_permissions(&path, fs::Permissions::from_mode(0o755))
                    .with_context(|| format!("make {} a program", path.display()))?;
            }
        }
    }
    // The name by which the linker looks for it.
    symlink("libcudart.so.13", unpacked.join("lib/libcudart.so"))
        .context("link the runtime to its plain name")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_may_be_executed_and_the_runtime_has_its_plain_name() {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        for folder in ["bin/crt", "nvvm/bin", "lib"] {
            fs::create_dir_all(at(folder)).unwrap();
        }
        for file in ["bin/nvcc", "nvvm/bin/cicc", "lib/libcudart.so.13", NOT_KEPT] {
            fs::write(at(file), file).unwrap();
            fs::set_permissions(at(file), fs::Permissions::from_mode(0o600)).unwrap();
        }
        complete(root.path()).unwrap();
        let mode = |file: &str| fs::metadata(at(file)).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode("bin/nvcc"), mode("nvvm/bin/cicc")), (0o755, 0o755));
        let library = fs::read(at("lib/libcudart.so")).unwrap();
        assert_eq!(library, b"lib/libcudart.so.13");
        assert!(!at(NOT_KEPT).exists());
    }

    #[test]
    fn what_is_kept_is_not_fetched() {
        let root = tempfile::tempdir().unwrap();
        let nvcc = place(root.path()).join("bin/nvcc");
        fs::create_dir_all(nvcc.parent().unwrap()).unwrap();
        fs::write(&nvcc, "kept").unwrap();
        ensure(root.path()).unwrap();
        assert_eq!(fs::read(nvcc).unwrap(), b"kept");
    }
}
