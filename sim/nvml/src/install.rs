//! Puts the library into a folder, with a script beside it, and replaces the script.
//!
//! For tests: what goes wrong ends them. Knows nothing of what a script says.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

/// The name under which programs look for NVML.
const NAME: &str = "libnvidia-ml.so.1";

/// The file that Cargo makes of this package.
const BUILT: &str = "libnvml_sim.so";

/// Copies the library to `folder/libnvidia-ml.so.1`, with a script beside it, and returns its
/// path. Each copy has GPUs of its own, so each test wants a folder of its own.
///
/// # Panics
///
/// If the library is not found beside the running program, where Cargo puts it for tests of
/// packages that depend on this one; or if it cannot be written.
pub fn install(folder: &Path, script: &str) -> PathBuf {
    let library = folder.join(NAME);
    rewrite(&library, script);
    // Under another name first, because a library that is loaded must not change.
    let copy = folder.join(format!("{NAME}.new"));
    fs::copy(built(), &copy).expect("copy the library");
    fs::rename(&copy, &library).expect("rename the library");
    library
}

/// Replaces the script of a library at once: whoever reads it sees the old or the new one whole.
///
/// # Panics
///
/// If it cannot be written.
pub fn rewrite(library: &Path, script: &str) {
    let mut path = library.to_path_buf().into_os_string();
    path.push(".toml");
    let path = PathBuf::from(path);
    let new = path.with_extension("toml.new");
    fs::write(&new, script).expect("write the script");
    fs::rename(&new, &path).expect("rename the script");
}

/// The library that Cargo built with the running program.
fn built() -> PathBuf {
    let program = env::current_exe().expect("the running program has a file");
    let folder = program.parent().expect("a file lies in a folder");
    let folders = [
        folder.to_path_buf(),
        folder.join("deps"),
        folder.join("../deps"),
    ];
    let mut files = folders.iter().map(|folder| folder.join(BUILT));
    let found = files.find(|file| file.exists());
    found.unwrap_or_else(|| panic!("no {BUILT} beside {}", program.display()))
}
