//! Where a tool's answer goes: to a file, a pipe or a terminal. Knows no tool.

use std::{
    env, fs,
    io::{self, IsTerminal as _, Write as _},
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::ExitCode,
};

use anyhow::{Context as _, Result, bail};

/// Writes an answer to a file, or to standard output. A file has either the whole answer or what it
/// had before; a device or a pipe is written to as it is.
///
/// # Errors
///
/// If it cannot be written, or if it is `binary` and would go to a terminal.
pub fn write(answer: &[u8], binary: bool, file: Option<&Path>) -> Result<()> {
    if let Some(file) = file {
        return replace(file, answer).with_context(|| format!("write {}", file.display()));
    }
    let mut out = io::stdout().lock();
    if binary && out.is_terminal() {
        bail!("this format is not for terminals: name a file with -o");
    }
    out.write_all(answer)
        .and_then(|()| out.flush())
        .context("write to standard output")
}

/// The answer under the file's name, in one step.
fn replace(file: &Path, answer: &[u8]) -> io::Result<()> {
    let there = fs::metadata(file);
    if there.as_ref().is_ok_and(|there| !there.is_file()) {
        return fs::write(file, answer);
    }
    // A link stays one: what it leads to is replaced.
    let place = fs::canonicalize(file).unwrap_or_else(|_| file.to_path_buf());
    let folder = place
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    let mut new = tempfile::Builder::new()
        .prefix(".new-")
        // As if it were created by its name: what the user's mask leaves of it.
        .permissions(fs::Permissions::from_mode(0o666))
        .tempfile_in(folder.unwrap_or(Path::new(".")))?;
    new.write_all(answer)?;
    if let Ok(there) = there {
        new.as_file().set_permissions(there.permissions())?;
    }
    new.persist(&place)?;
    Ok(())
}

/// Whether text on standard output may be bold: on a terminal that knows it, and for a user who
/// has not asked for plain text with `NO_COLOR`.
pub fn may_be_bold() -> bool {
    let asked = |name: &str| env::var_os(name).is_some_and(|value| !value.is_empty());
    let dumb = env::var_os("TERM").is_some_and(|terminal| terminal == "dumb");
    io::stdout().is_terminal() && !asked("NO_COLOR") && !dumb
}

/// Says what went wrong, and makes the exit code of it: 0, or 1 for a failure.
///
/// Whoever reads the answer may stop reading, as `head` does: that is no failure.
pub fn exit_code(tool: &str, outcome: Result<()>) -> ExitCode {
    exit_code_by(tool, outcome, |_| 1)
}

/// The same, for a tool whose failures have codes of their own.
pub fn exit_code_by(
    tool: &str,
    outcome: Result<()>,
    code: impl FnOnce(&anyhow::Error) -> u8,
) -> ExitCode {
    let Err(error) = outcome else {
        return ExitCode::SUCCESS;
    };
    let cause = error.root_cause().downcast_ref::<io::Error>();
    if cause.is_some_and(|cause| cause.kind() == io::ErrorKind::BrokenPipe) {
        return ExitCode::SUCCESS;
    }
    // Standard error may be closed as well; the exit code says the rest.
    let _ = writeln!(io::stderr(), "{tool}: {error:#}");
    ExitCode::from(code(&error))
}
