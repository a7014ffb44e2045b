//! The kernel suite on another kernel: packs its binary into an initial file system and boots a
//! virtual machine that runs it and ends.
//!
//! The machine is emulated (TCG) even where the processor could virtualise: a nested KVM may offer
//! itself and then refuse a register that QEMU sets, and emulation boots within seconds anywhere.

use std::{
    collections::BTreeSet,
    ffi::OsStr,
    fs::{self, File},
    io::{self, Write as _},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use super::{
    modules,
    report::{Outcome, Totals, failures},
    suites::KERNEL,
};
use crate::{
    bounded::tee,
    command::{announce, command, find, quoted, read, untranslated},
    qemu,
};

const INIT: &str = include_str!("guest/init.sh");

/// What `init.sh` prints before the suite's exit status.
const MARKER: &str = "guest: tests ended with status ";

/// The test that is no test: the process that others start. All others that are ignored are for guests,
/// where nobody minds that a CPU goes.
const STARTED_BY_TESTS: &str = "process_usage::worker::works";

/// Longest life of a guest. It boots in some seconds; the rest is for the tests.
const LIMIT: Duration = Duration::from_mins(30);

/// Memory beside what the initial file system takes, in MiB. Files may take half of all memory, and
/// some tests make hundreds of copies of the shell.
const MEMORY_MIB: u64 = 2048;

/// Where the guest is packed, relative to the workspace.
const FOLDER: &str = "target/guest";

/// Files for a guest, ready to boot with any kernel.
pub(super) struct Guest {
    root: PathBuf,
    folder: PathBuf,
    initrd: PathBuf,
}

impl Guest {
    /// Builds the suite and packs it with all that it needs.
    pub(super) fn build(root: &Path, filter: &[String]) -> Result<Self> {
        let programs = programs(root)?;
        let is_suite = |path: &&PathBuf| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with(&format!("{KERNEL}-"))
        };
        let suite = programs
            .iter()
            .find(is_suite)
            .context("cargo built no kernel suite")?;
        let folder = root.join(FOLDER);
        let files = folder.join("files");
        // What an earlier build left is not part of this one.
        let _ = fs::remove_dir_all(&files);
        fs::create_dir_all(files.join("bin")).context("create the guest's folder")?;
        let busybox = find("busybox").context("busybox is missing: run `cargo xtask setup`")?;
        fs::copy(&busybox, files.join("bin/busybox")).context("copy busybox")?;
        for program in &programs {
            copy(program, &files)?;
        }
        for library in libraries(programs.iter().chain([&busybox]))? {
            copy(&library, &files)?;
        }
        // Tests run in their package's folder.
        let package = root.join("monitoring-agent");
        fs::create_dir_all(inside(&files, &package)).context("create the suite's folder")?;
        let options = ["--test-threads=1", "--include-ignored", "--skip"];
        let options = options.into_iter().chain([STARTED_BY_TESTS]);
        let words = options.chain(filter.iter().map(String::as_str));
        let words = [suite.as_os_str()].into_iter().chain(words.map(OsStr::new));
        let command = words.map(quoted).collect::<Vec<_>>().join(" ");
        let init = INIT.replace("FOLDER", &package.display().to_string());
        let init_file = files.join("init");
        fs::write(&init_file, init.replace("COMMAND", &command)).context("write init")?;
        let executable = fs::Permissions::from_mode(0o755);
        fs::set_permissions(&init_file, executable).context("make init executable")?;
        let initrd = folder.join("initrd.cpio");
        pack(&files, &initrd).context("pack the initial file system")?;
        Ok(Self {
            root: root.to_owned(),
            folder,
            initrd,
        })
    }

    /// Runs the suite under a kernel.
    pub(super) fn boot(&self, image: &Path) -> Result<Outcome> {
        let initrd = self.with_modules(image).context("pack the modules")?;
        let size = fs::metadata(&initrd)
            .context("look at the initial file system")?
            .len();
        // It is in memory twice while the kernel unpacks it.
        let memory = (MEMORY_MIB + 2 * size.div_ceil(1024 * 1024)).to_string();
        let mut machine = qemu::emulator(&self.root, &self.folder);
        machine.args(["-display", "none"]);
        // With one thread for both processors: with more, 6.12 has crashed under emulation.
        machine.args([
            "-accel",
            "tcg,thread=single",
            "-cpu",
            "max",
            "-smp",
            "2",
            "-m",
            &memory,
        ]);
        machine.args(["-no-reboot", "-nodefaults", "-serial", "stdio"]);
        machine.args([
            "-append",
            "console=ttyS0 quiet loglevel=1 panic=-1 oops=panic",
        ]);
        machine
            .arg("-kernel")
            .arg(image)
            .arg("-initrd")
            .arg(&initrd);
        let captured = tee(LIMIT, &mut machine)?;
        // Something may stand before it when a test ended within a line.
        let status = captured
            .lines
            .iter()
            .find_map(|line| Some(line.split_once(MARKER)?.1));
        let problem = match (status, captured.status) {
            (Some("0"), _) => None,
            (Some(status), _) => Some(format!("the suite ended with status {status}")),
            (None, None) => Some(format!(
                "the guest was not done after {} s",
                LIMIT.as_secs()
            )),
            (None, Some(status)) => Some(format!("the guest did not run to its end ({status})")),
        };
        Ok(Outcome {
            totals: Totals::of(&captured.lines),
            problem,
            failures: failures(&captured.lines),
            second_try: Vec::new(),
        })
    }

    /// The initial file system, with the modules that are kept beside this kernel.
    fn with_modules(&self, image: &Path) -> Result<PathBuf> {
        let kernel = image.parent().context("a kernel lies in a folder")?;
        let files = self.folder.join("modules");
        // They are another kernel's.
        let _ = fs::remove_dir_all(&files);
        fs::create_dir_all(&files).context("create the modules' folder")?;
        for file in modules::kept(kernel)? {
            let below = file.strip_prefix(kernel).context("it lies below")?;
            copy_to(&file, &files.join(below))?;
        }
        let archive = self.folder.join("modules.cpio");
        pack(&files, &archive)?;
        // The kernel unpacks archives that lie behind each other one after the other.
        let whole = self.folder.join("initrd-with-modules.cpio");
        let mut out =
            File::create(&whole).with_context(|| format!("create {}", whole.display()))?;
        for part in [&self.initrd, &archive] {
            let context = || format!("copy {}", part.display());
            let mut part = File::open(part).with_context(context)?;
            io::copy(&mut part, &mut out).with_context(context)?;
        }
        Ok(whole)
    }
}

/// The suite, and the other programs that cargo builds for it: tests may start the agent itself.
fn programs(root: &Path) -> Result<Vec<PathBuf>> {
    let arguments = [
        "test",
        "--no-run",
        "--package",
        "monitoring-agent",
        "--test",
        KERNEL,
    ];
    let mut build = command(root, "cargo", &arguments);
    build
        .arg("--message-format=json-render-diagnostics")
        .stderr(Stdio::inherit());
    announce(&build);
    let messages = read(&mut build)?;
    let executables = messages.lines().filter_map(|message| {
        let message: Value = serde_json::from_str(message).ok()?;
        message["executable"].as_str().map(PathBuf::from)
    });
    Ok(executables.collect())
}

/// The shared libraries of programs, and the loader.
fn libraries<'a>(programs: impl Iterator<Item = &'a PathBuf>) -> Result<BTreeSet<PathBuf>> {
    let mut libraries = BTreeSet::new();
    for program in programs {
        let mut ldd = command(Path::new("/"), "ldd", &[]);
        // Cargo sets it for this program; the suite finds its libraries without.
        ldd.arg(program).env_remove("LD_LIBRARY_PATH");
        // It fails for static programs, which need none.
        let output = untranslated(&mut ldd).output().context("start ldd")?;
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            if line.contains("not found") {
                bail!("{} needs {}", program.display(), line.trim());
            }
            libraries.extend(
                line.split_whitespace()
                    .find(|word| word.starts_with('/'))
                    .map(PathBuf::from),
            );
        }
    }
    Ok(libraries)
}

/// Where an absolute path of this machine lies among the guest's files.
fn inside(files: &Path, path: &Path) -> PathBuf {
    files.join(path.strip_prefix("/").unwrap_or(path))
}

fn copy(file: &Path, files: &Path) -> Result<()> {
    copy_to(file, &inside(files, file))
}

fn copy_to(file: &Path, target: &Path) -> Result<()> {
    let folder = target.parent().context("a file lies in a folder")?;
    let context = || format!("copy {} into the guest", file.display());
    fs::create_dir_all(folder).with_context(context)?;
    fs::copy(file, target).with_context(context)?;
    Ok(())
}

/// Packs a folder into an archive that the kernel unpacks at boot.
fn pack(files: &Path, initrd: &Path) -> Result<()> {
    let names = read(&mut command(files, "find", &["."]))?;
    let archive = File::create(initrd).with_context(|| format!("create {}", initrd.display()))?;
    // Not compressed: an emulated processor would take longer to unpack it than it takes to load.
    let mut cpio = command(files, "busybox", &["cpio", "-o", "-H", "newc", "-R", "0:0"]);
    cpio.stdin(Stdio::piped()).stdout(archive);
    let mut child = cpio.spawn().context("start busybox cpio")?;
    let mut input = child.stdin.take().context("the child's input is a pipe")?;
    writeln!(input, "{names}").context("name the files to busybox cpio")?;
    drop(input);
    let status = child.wait().context("wait for busybox cpio")?;
    if !status.success() {
        bail!("busybox cpio failed ({status})");
    }
    Ok(())
}
