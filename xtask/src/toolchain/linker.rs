//! bpf-linker, which links the kernel programs: where it is, and how it is built.

use std::{
    env,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};

use crate::{
    bounded::run_within,
    command::{command, find, read, run},
};

/// The version that is installed. Any other that is on `PATH` and proves itself is as good.
pub(super) const VERSION: &str = "0.13.0";

/// The releases of LLVM that this version can be built against, newest first.
const LLVMS: [u32; 3] = [23, 22, 21];

/// Where it is installed, relative to the workspace.
const FOLDER: &str = ".tools";

/// A prebuilt program is some ten megabytes; a download that stands still is given up.
const DOWNLOAD_LIMIT: Duration = Duration::from_mins(2);

/// A linker that runs.
pub(super) struct Linker {
    /// The folder it lies in.
    pub(super) folder: PathBuf,
    /// What it says of itself.
    pub(super) version: String,
}

/// The one on `PATH`.
pub(super) fn on_path(root: &Path) -> Result<Linker> {
    let program = find("bpf-linker").context("bpf-linker is not on PATH")?;
    let folder = program.parent().context("a program lies in a folder")?;
    inspect(root, folder)
}

/// The one that was installed for this workspace, in the version that is installed now.
pub(super) fn of_workspace(root: &Path) -> Result<Linker> {
    let linker = inspect(root, &root.join(FOLDER).join("bin"))?;
    if linker.version != format!("bpf-linker {VERSION}") {
        bail!("{} is not bpf-linker {VERSION}", linker.version);
    }
    Ok(linker)
}

fn inspect(root: &Path, folder: &Path) -> Result<Linker> {
    let program = folder.join("bpf-linker");
    if !program.is_file() {
        bail!("there is no {}", program.display());
    }
    let version = read(&mut command(root, &program, &["--version"]))?;
    Ok(Linker {
        folder: folder.to_path_buf(),
        version,
    })
}

/// Installs it for this workspace. It must understand the bitcode of the compiler, so its LLVM may
/// not be older than the compiler's.
pub(super) fn install(root: &Path, compiler_llvm: u32) -> Result<()> {
    if find("cargo-binstall").is_some() {
        let package = format!("bpf-linker@{VERSION}");
        let arguments = ["binstall", "--no-confirm", "--root", FOLDER, &package];
        match run_within(DOWNLOAD_LIMIT, &mut command(root, "cargo", &arguments)) {
            Ok(()) => return Ok(()),
            Err(error) => println!("setup: {error:#}"),
        }
    }
    let usable = LLVMS.into_iter().filter(|llvm| *llvm >= compiler_llvm);
    let found = usable
        .filter_map(|llvm| Some((llvm, llvm_prefix(root, llvm)?)))
        .next_back();
    let Some((llvm, prefix)) = found else {
        bail!(
            "bpf-linker cannot be built here: that needs LLVM {compiler_llvm} or later with its \
             headers, one of {LLVMS:?}"
        );
    };
    let feature = format!("llvm-{llvm}");
    let mut build = command(
        root,
        "cargo",
        &["install", "bpf-linker", "--locked", "--force"],
    );
    build.args(["--version", VERSION, "--root", FOLDER]);
    build.args(["--no-default-features", "--features", &feature]);
    // Without a target folder from the environment, cargo uses a temporary one and removes it.
    build
        .env("LLVM_PREFIX", prefix)
        .env_remove("CARGO_TARGET_DIR");
    run(&mut build)
}

/// The root folder of an LLVM with headers.
fn llvm_prefix(root: &Path, llvm: u32) -> Option<PathBuf> {
    let debian = PathBuf::from(format!("/usr/lib/llvm-{llvm}"));
    if debian.join("include/llvm-c/Core.h").is_file() {
        return Some(debian);
    }
    let given = env::var_os("LLVM_PREFIX").map(|prefix| PathBuf::from(prefix).join("bin"));
    let config = given.map(|folder| folder.join("llvm-config"));
    let config = config.or_else(|| find(&format!("llvm-config-{llvm}")))?;
    let says = |what: &str| read(&mut command(root, &config, &[what])).ok();
    let matches = says("--version")?.split('.').next()?.parse() == Ok(llvm);
    matches.then(|| says("--prefix").map(PathBuf::from))?
}
