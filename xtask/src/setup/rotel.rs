//! Rotel, a collector for OTLP that prints what it receives: the tests send it spans. Fetched by pip
//! from the Python Package Index, where its authors publish it, and kept. Knows nothing of what is
//! sent.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
    path::Path,
    time::Duration,
};

use anyhow::{Context as _, Result};

use super::wheels::{self, Wheel};
use crate::command::{command, read};

/// Where it is kept, relative to the workspace. Tests find the program below the version's folder.
const KEPT: &str = ".tools/rotel";

/// The package that brings it. The version is written down, because the tests read what it prints.
/// It is linked to the library of the Python that fetches it, which `perf` needs as well.
const ROTEL: Wheel = Wheel {
    package: "rotel",
    version: "0.0.1a15",
};

/// The program, in the package and where it is kept.
const PROGRAM: &str = "rotel-agent";

/// For 10 MB; a download that stands still is given up.
const DOWNLOAD_LIMIT: Duration = Duration::from_mins(2);

/// Sees to it that the collector is kept.
pub(super) fn ensure(root: &Path) -> Result<()> {
    let folder = root.join(KEPT).join(ROTEL.version);
    if runs(root, &folder.join(PROGRAM)) {
        println!("setup: the collector Rotel is here, in {KEPT}");
        return Ok(());
    }
    wheels::ensure_pip(root)?;
    let Wheel { package, version } = ROTEL;
    println!("setup: the tests need the collector {package} {version}: 10 MB to download");
    fetch(root, &folder).with_context(|| format!("put {package} into {}", folder.display()))
}

/// Whether it is there and starts: a program that was kept may be torn, or linked to the library of a
/// Python that is gone.
fn runs(root: &Path, program: &Path) -> bool {
    program.is_file() && read(&mut command(root, program, &["version"])).is_ok()
}

fn fetch(root: &Path, folder: &Path) -> Result<()> {
    let unpacked = wheels::empty_folder(&root.join(KEPT))?;
    let wheel = ROTEL.unpack(&unpacked, DOWNLOAD_LIMIT)?;
    let program = wheels::find(&wheel, &|file| file.ends_with(PROGRAM))?;
    let program = program.with_context(|| format!("{} has no {PROGRAM}", ROTEL.package))?;
    // Unpacking forgets what may be executed.
    fs::set_permissions(&program, Permissions::from_mode(0o755))
        .with_context(|| format!("make {} a program", program.display()))?;
    read(&mut command(root, &program, &["version"]))
        .context("start it once; it needs the library of Python, as Debian's libpython3 has it")?;
    fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
    fs::rename(&program, folder.join(PROGRAM)).context("keep the program")?;
    fs::remove_dir_all(&unpacked).context("remove what was unpacked")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn what_is_kept_is_not_fetched() {
        let root = tempfile::tempdir().unwrap();
        let program = root.path().join(KEPT).join(ROTEL.version).join(PROGRAM);
        fs::create_dir_all(program.parent().unwrap()).unwrap();
        // A program that takes any argument, and is none that would be fetched.
        symlink("/bin/true", &program).unwrap();
        ensure(root.path()).unwrap();
        assert_eq!(fs::read_link(program).unwrap(), Path::new("/bin/true"));
    }

    #[test]
    fn what_does_not_start_is_not_kept() {
        let root = tempfile::tempdir().unwrap();
        let program = root.path().join(PROGRAM);
        assert!(!runs(root.path(), &program), "it is not there");
        fs::write(&program, "torn").unwrap();
        assert!(!runs(root.path(), &program), "it is no program");
        fs::remove_file(&program).unwrap();
        symlink("/bin/false", &program).unwrap();
        assert!(!runs(root.path(), &program), "it fails");
    }
}
