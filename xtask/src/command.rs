//! Starts other programs: prints each command before it runs, gives none of them the terminal's
//! input, and turns a failure into an error that names the command.

use std::{
    env,
    ffi::OsStr,
    fmt::Write as _,
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
};

use anyhow::{Context as _, Result, bail};

/// Where system administration programs lie; an ordinary user's `PATH` lacks them.
const ADMINISTRATION: [&str; 2] = ["/usr/sbin", "/sbin"];

/// A command that runs in `folder`.
pub(crate) fn command(folder: &Path, program: impl AsRef<OsStr>, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::null());
    command
}

/// Runs a command whose output the user sees.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    announce(command);
    let status = command
        .status()
        .with_context(|| format!("start {}", describe(command)))?;
    succeeded(command, status)
}

/// What a command printed, trimmed. The command itself is not announced: it changes nothing.
pub(crate) fn read(command: &mut Command) -> Result<String> {
    let output = untranslated(command)
        .output()
        .with_context(|| format!("start {}", describe(command)))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!(
            "{} failed ({}): {}",
            describe(command),
            output.status,
            said.trim()
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Has a command speak as its documentation does, whatever language the user reads: what it prints
/// is for this program.
pub(crate) fn untranslated(command: &mut Command) -> &mut Command {
    command.env("LC_ALL", "C").env_remove("LANGUAGE")
}

/// The path of a program, if this machine has it.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = env::split_paths(&path).chain(ADMINISTRATION.map(PathBuf::from));
    folders
        .map(|folder| folder.join(program))
        .find(|file| file.is_file())
}

/// Prints a command that is about to run.
pub(crate) fn announce(command: &Command) {
    println!("$ {}", describe(command));
}

/// An error unless the command ended well.
pub(crate) fn succeeded(command: &Command, status: ExitStatus) -> Result<()> {
    if !status.success() {
        bail!("{} failed ({status})", describe(command));
    }
    Ok(())
}

/// A command as it could be typed.
pub(crate) fn describe(command: &Command) -> String {
    let mut text = String::new();
    for (name, value) in command.get_envs() {
        if let Some(value) = value {
            // Writing to a string does not fail.
            let _ = write!(text, "{}={} ", name.display(), quoted(value));
        }
    }
    text.push_str(&quoted(command.get_program()));
    for argument in command.get_args() {
        text.push(' ');
        text.push_str(&quoted(argument));
    }
    text
}

/// A word as a shell reads it.
pub(crate) fn quoted(word: &OsStr) -> String {
    let word = word.to_string_lossy();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=./:+,@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.into_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        command(Path::new("/"), "sh", &["-c", script])
    }

    #[test]
    fn quotes_only_what_a_shell_would_split() {
        let check = |word: &str, want: &str| assert_eq!(quoted(OsStr::new(word)), want);
        check("plain", "plain");
        check("--option=a/b:c", "--option=a/b:c");
        check("", "''");
        check("two words", "'two words'");
        check("it's", r"'it'\''s'");
        check("$HOME", "'$HOME'");
    }

    #[test]
    fn an_error_names_the_command_and_what_it_said() {
        let error = read(&mut shell("echo reason >&2; exit 1"))
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("sh -c") && error.ends_with("reason"),
            "{error}"
        );
        assert!(run(&mut shell("exit 1")).is_err());
        assert_eq!(read(&mut shell("echo ' text '")).unwrap(), "text");
    }

    #[test]
    fn what_is_read_is_not_translated() {
        let mut echo = shell("echo $LC_ALL:$LANGUAGE");
        echo.env("LC_ALL", "de_DE.UTF-8").env("LANGUAGE", "de");
        assert_eq!(read(&mut echo).unwrap(), "C:");
    }
}
