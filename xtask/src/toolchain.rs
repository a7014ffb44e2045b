//! The toolchain that builds the kernel programs: finds out which one this machine allows, sets it
//! up, proves it by compiling a program with it, and records it for the agent's build script.
//!
//! Two routes lead there. The usual one is rustup's nightly, which builds `core` for the BPF target
//! from `rust-src`. Where that cannot be fetched, Debian has a rustc that comes with `core` for
//! that target. A route that already works is taken before another is installed.

mod debian;
mod linker;
mod probe;
mod rustup;

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};

/// Where the answer is kept, relative to the workspace. `monitoring-agent/build.rs` reads it.
const RECORD: &str = ".tools/ebpf-toolchain";

/// The BPF target of little-endian machines.
const TARGET: &str = "bpfel-unknown-none";

/// A way to build the kernel programs that is installed, though not yet proven.
struct Route {
    /// Name of the toolchain for `rustup run`.
    toolchain: &'static str,
    /// Crates that may use unstable features on a stable compiler; absent for a nightly one.
    bootstrap: Option<&'static str>,
    /// Folder of `bpf-linker`.
    linker: PathBuf,
    /// Versions of compiler and linker; when they change, the proof is repeated.
    versions: String,
}

impl Route {
    /// The text of [`RECORD`]. Its last line is for people, and for noticing changes.
    fn record(&self) -> String {
        let bootstrap = self
            .bootstrap
            .map_or_else(String::new, |crates| format!("rustc_bootstrap={crates}\n"));
        format!(
            "toolchain={}\n{bootstrap}linker_path={}\nproven={}\n",
            self.toolchain,
            self.linker.display(),
            self.versions,
        )
    }
}

/// One of the two ways.
#[derive(Clone, Copy, PartialEq)]
enum Way {
    Rustup,
    Debian,
}

impl Way {
    fn name(self) -> &'static str {
        match self {
            Self::Rustup => "rustup's nightly with rust-src, and bpf-linker",
            Self::Debian => "Debian's rustc for BPF, and bpf-linker",
        }
    }

    fn toolchain(self) -> &'static str {
        match self {
            Self::Rustup => rustup::TOOLCHAIN,
            Self::Debian => debian::TOOLCHAIN,
        }
    }

    /// The route as it is installed. The error says what is missing.
    fn find(self, root: &Path) -> Result<Route> {
        match self {
            Self::Rustup => rustup::find(root),
            Self::Debian => debian::find(root),
        }
    }

    /// Installs what is missing.
    fn install(self, root: &Path) -> Result<()> {
        match self {
            Self::Rustup => rustup::install(root),
            Self::Debian => debian::install(root),
        }
    }
}

/// Makes sure that the kernel programs can be built.
pub(crate) fn ensure(root: &Path) -> Result<()> {
    let recorded = fs::read_to_string(root.join(RECORD)).unwrap_or_default();
    let mut ways = [Way::Rustup, Way::Debian];
    if recorded.starts_with(&format!("toolchain={}\n", Way::Debian.toolchain())) {
        // What worked last time is kept, so that the programs are not rebuilt without need.
        ways.reverse();
    }
    for way in ways {
        match way
            .find(root)
            .and_then(|route| prove(root, &route, &recorded))
        {
            Ok(()) => return accept(way),
            Err(error) => println!("setup: not ready: {}: {error:#}", way.name()),
        }
    }
    let mut reasons = Vec::new();
    for way in ways {
        println!("setup: installing {}", way.name());
        let installed = way.install(root).and_then(|()| way.find(root));
        match installed.and_then(|route| prove(root, &route, &recorded)) {
            Ok(()) => return accept(way),
            Err(error) => {
                println!("setup: did not work: {error:#}");
                reasons.push(format!("  - {}: {error:#}", way.name()));
            }
        }
    }
    bail!("{}\n{}", reasons.join("\n"), advice())
}

#[expect(clippy::unnecessary_wraps, reason = "ends the match arms of `ensure`")]
fn accept(way: Way) -> Result<()> {
    println!("setup: the kernel programs are built with {}", way.name());
    Ok(())
}

/// Compiles a program by the route, unless the record says that the same versions already did, and
/// records the route.
fn prove(root: &Path, route: &Route, recorded: &str) -> Result<()> {
    let record = route.record();
    if record == recorded {
        return Ok(());
    }
    probe::compile(root, route).context("a trial program was not built")?;
    let file = root.join(RECORD);
    fs::create_dir_all(root.join(".tools")).context("create .tools")?;
    fs::write(&file, record).with_context(|| format!("write {}", file.display()))
}

fn advice() -> String {
    format!(
        "No toolchain for the kernel programs could be set up. Please do one of these, and run \
         `cargo xtask setup` again:\n\
         - Any distribution: rustup toolchain install nightly --component rust-src\n\
         \x20 and bpf-linker {version} on PATH, for example: cargo binstall bpf-linker@{version}\n\
         - Debian, as root: apt-get install {packages}",
        version = linker::VERSION,
        packages = debian::PACKAGES.join(" "),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_record_is_what_the_build_script_reads() {
        let mut route = Route {
            toolchain: "bpf",
            bootstrap: Some("one,two"),
            linker: PathBuf::from("/w/.tools/bin"),
            versions: "rustc 1; bpf-linker 2".to_owned(),
        };
        let want = "toolchain=bpf\nrustc_bootstrap=one,two\nlinker_path=/w/.tools/bin\n\
                    proven=rustc 1; bpf-linker 2\n";
        assert_eq!(route.record(), want);
        route.bootstrap = None;
        assert!(!route.record().contains("rustc_bootstrap"));
    }
}
