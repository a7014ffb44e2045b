//! Starts other programs: prints each command before it runs, gives none of them the terminal's
//! input, and turns a failure into an error that names the command.

use std::{
    env,
    ffi::OsStr,
    fmt::Write as _,
    io::{BufRead as _, BufReader, Read},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc::{self, Receiver, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
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

/// Runs a command that may wait for a network that is not there; it is killed at the limit.
pub(crate) fn run_within(limit: Duration, command: &mut Command) -> Result<()> {
    announce(command);
    let mut child = command
        .spawn()
        .with_context(|| format!("start {}", describe(command)))?;
    let deadline = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait().context("wait for a command")? {
            return succeeded(command, status);
        }
        if Instant::now() >= deadline {
            end(&mut child)?;
            bail!(
                "{} was not done after {} s",
                describe(command),
                limit.as_secs()
            );
        }
        thread::sleep(Duration::from_millis(50));
    }
}

/// What a command printed, trimmed. The command itself is not announced: it changes nothing.
pub(crate) fn read(command: &mut Command) -> Result<String> {
    let output = command
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

/// What a command printed, and how it ended.
pub(crate) struct Captured {
    /// Standard output, without line ends.
    pub(crate) lines: Vec<String>,
    /// How it ended; absent when it ran into its limit and was killed.
    pub(crate) status: Option<ExitStatus>,
}

/// Runs a command whose standard output is shown as it comes and kept.
pub(crate) fn tee(command: &mut Command, limit: Option<Duration>) -> Result<Captured> {
    announce(command);
    let spawned = command.stdout(Stdio::piped()).spawn();
    let mut child = spawned.with_context(|| format!("start {}", describe(command)))?;
    let stdout = child
        .stdout
        .take()
        .context("the child's output is a pipe")?;
    let (sender, output) = mpsc::channel();
    thread::spawn(move || {
        for line in lossy_lines(stdout) {
            println!("{line}");
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    let mut lines = Vec::new();
    let in_time = collect(
        &output,
        limit.map(|limit| Instant::now() + limit),
        &mut lines,
    );
    if !in_time {
        end(&mut child)?;
    }
    let status = child.wait().context("wait for a command")?;
    Ok(Captured {
        lines,
        status: in_time.then_some(status),
    })
}

/// Gathers lines until the end of the output (true) or the deadline (false).
fn collect(output: &Receiver<String>, deadline: Option<Instant>, lines: &mut Vec<String>) -> bool {
    loop {
        let received = match deadline {
            Some(at) => output.recv_timeout(at.saturating_duration_since(Instant::now())),
            None => output.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        match received {
            Ok(line) => lines.push(line),
            Err(RecvTimeoutError::Disconnected) => return true,
            Err(RecvTimeoutError::Timeout) => return false,
        }
    }
}

/// Lines of a stream that is mostly UTF-8, such as a serial console.
fn lossy_lines(stream: impl Read) -> impl Iterator<Item = String> {
    let mut reader = BufReader::new(stream);
    std::iter::from_fn(move || {
        let mut bytes = Vec::new();
        let count = reader.read_until(b'\n', &mut bytes).unwrap_or(0);
        let line = String::from_utf8_lossy(&bytes);
        (count > 0).then(|| line.trim_end_matches(['\r', '\n']).to_owned())
    })
}

fn end(child: &mut Child) -> Result<()> {
    child.kill().context("end a command that took too long")?;
    child.wait().context("wait for a command that was ended")?;
    Ok(())
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

fn succeeded(command: &Command, status: ExitStatus) -> Result<()> {
    if !status.success() {
        bail!("{} failed ({status})", describe(command));
    }
    Ok(())
}

/// A command as it could be typed.
fn describe(command: &Command) -> String {
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
    fn keeps_lines_and_status() {
        let captured = tee(&mut shell("printf 'one\\r\\ntwo'; exit 3"), None).unwrap();
        assert_eq!(captured.lines, ["one", "two"]);
        assert_eq!(captured.status.and_then(|status| status.code()), Some(3));
    }

    #[test]
    fn ends_what_takes_too_long() {
        let limit = Duration::from_millis(200);
        let captured = tee(&mut shell("echo started; exec sleep 600"), Some(limit)).unwrap();
        assert_eq!(captured.lines, ["started"]);
        assert!(captured.status.is_none());
        let error = run_within(limit, &mut shell("exec sleep 600")).unwrap_err();
        assert!(error.to_string().contains("was not done"), "{error}");
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
}
