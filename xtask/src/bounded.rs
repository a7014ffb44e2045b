//! Commands that might never end. Each runs in a process group of its own, so that at its limit it
//! is killed with all that it started. Knows nothing of what the commands are for.
//!
//! The terminal sends its signals to the group of this program alone. While a command of this kind
//! runs, such a signal ends the command's group first, and this program after it.

use std::{
    io::{BufRead as _, BufReader, Read},
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        atomic::{AtomicI32, Ordering},
        mpsc::{self, Receiver, RecvTimeoutError},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

use crate::{
    command::{announce, command, describe, succeeded},
    rights::as_root,
};

/// What asks this program to end.
const SIGNALS: [libc::c_int; 3] = [libc::SIGHUP, libc::SIGINT, libc::SIGTERM];

/// The newest of [`SIGNALS`] that came while a group ran, or 0.
static RECEIVED: AtomicI32 = AtomicI32::new(0);

/// Pause between two looks at a command.
const PAUSE: Duration = Duration::from_millis(50);

/// Runs a command whose output the user sees.
pub(crate) fn run_within(limit: Duration, command: &mut Command) -> Result<()> {
    announce(command);
    let group = Group::start(command)?;
    match group.wait(Instant::now() + limit)? {
        Some(status) => succeeded(command, status),
        None => bail!(
            "{} was not done after {} s",
            describe(command),
            limit.as_secs()
        ),
    }
}

/// What a command printed, and how it ended.
pub(crate) struct Captured {
    /// Standard output, without line ends.
    pub(crate) lines: Vec<String>,
    /// How it ended; absent when it ran into its limit and was killed.
    pub(crate) status: Option<ExitStatus>,
}

/// Runs a command whose standard output is shown as it comes and kept. It has ended when nothing
/// that it started holds that output any more.
pub(crate) fn tee(limit: Duration, command: &mut Command) -> Result<Captured> {
    announce(command);
    let mut group = Group::start(command.stdout(Stdio::piped()))?;
    let deadline = Instant::now() + limit;
    let stdout = group.child.stdout.take();
    let output = shown(stdout.context("the child's output is a pipe")?);
    let mut lines = Vec::new();
    let status = if group.collect(&output, deadline, &mut lines)? {
        group.wait(deadline)?
    } else {
        group.kill()?;
        None
    };
    Ok(Captured { lines, status })
}

/// A command, and all that it starts and that does not leave its process group.
struct Group {
    child: Child,
    /// What [`SIGNALS`] did before.
    earlier: [libc::sighandler_t; SIGNALS.len()],
}

impl Group {
    fn start(command: &mut Command) -> Result<Self> {
        let earlier = SIGNALS.map(listen);
        match command.process_group(0).spawn() {
            Ok(child) => Ok(Self { child, earlier }),
            Err(error) => {
                restore(earlier);
                Err(error).with_context(|| format!("start {}", describe(command)))
            }
        }
    }

    /// Waits for the command's end. Absent at the deadline, when the group is killed.
    fn wait(mut self, deadline: Instant) -> Result<Option<ExitStatus>> {
        loop {
            if let Some(status) = self.child.try_wait().context("wait for a command")? {
                return Ok(Some(status));
            }
            if Instant::now() >= deadline {
                self.kill()?;
                return Ok(None);
            }
            self.heed_signals()?;
            thread::sleep(PAUSE);
        }
    }

    /// Gathers lines until the end of the output (true) or the deadline (false).
    fn collect(
        &mut self,
        output: &Receiver<String>,
        deadline: Instant,
        lines: &mut Vec<String>,
    ) -> Result<bool> {
        while Instant::now() < deadline {
            self.heed_signals()?;
            match output.recv_timeout(PAUSE) {
                Ok(line) => lines.push(line),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Ok(true),
            }
        }
        Ok(false)
    }

    /// Kills every process of the group. Until the command is waited for, below, its number is the
    /// group's and nobody else's.
    fn kill(&mut self) -> Result<()> {
        let script = format!("kill -s KILL -- -{}", self.child.id());
        // What sudo started is out of an ordinary user's reach.
        let mut shell = as_root("sh").unwrap_or_else(|_| command(Path::new("/"), "sh", &[]));
        let killed = shell.args(["-c", &script]).output();
        let killed = killed.context("start a shell that kills")?;
        if !killed.status.success() {
            let said = String::from_utf8_lossy(&killed.stderr);
            bail!("a group of processes was not killed: {}", said.trim());
        }
        self.child
            .wait()
            .context("wait for a command that was killed")?;
        Ok(())
    }

    /// After a signal, kills the group and lets the signal do to this program what it usually does.
    fn heed_signals(&mut self) -> Result<()> {
        let signal = RECEIVED.swap(0, Ordering::Relaxed);
        if signal == 0 {
            return Ok(());
        }
        self.kill()?;
        // SAFETY: both calls take a number of a signal, and no pointer.
        unsafe {
            libc::signal(signal, libc::SIG_DFL);
            libc::raise(signal);
        }
        bail!("interrupted by signal {signal}")
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        restore(self.earlier);
    }
}

extern "C" fn note(signal: libc::c_int) {
    RECEIVED.store(signal, Ordering::Relaxed);
}

/// Has a signal noted, unless it is ignored, and returns what it did before.
fn listen(signal: libc::c_int) -> libc::sighandler_t {
    let handler = note as extern "C" fn(libc::c_int) as libc::sighandler_t;
    // SAFETY: the handler is a function of the type that signals call, lives as long as the
    // program, and only stores to an atomic.
    let earlier = unsafe { libc::signal(signal, handler) };
    if earlier == libc::SIG_IGN {
        // SAFETY: the call takes two numbers, and no pointer.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
    earlier
}

fn restore(earlier: [libc::sighandler_t; SIGNALS.len()]) {
    for (signal, earlier) in SIGNALS.into_iter().zip(earlier) {
        // SAFETY: what is put back is what `signal` returned for this signal.
        unsafe { libc::signal(signal, earlier) };
    }
}

/// Shows the lines of a stream as they come, and passes them on.
fn shown(stream: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, output) = mpsc::channel();
    thread::spawn(move || {
        for line in lossy_lines(stream) {
            println!("{line}");
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    output
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

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const LONG: Duration = Duration::from_secs(30);
    const SHORT: Duration = Duration::from_secs(1);

    fn shell(script: &str) -> Command {
        command(Path::new("/"), "sh", &["-c", script])
    }

    /// Waits for a process to be gone; what nobody has waited for yet is gone too.
    fn wait_for_end(process: &str) {
        let deadline = Instant::now() + LONG;
        let runs = || {
            let status = fs::read_to_string(format!("/proc/{process}/status"));
            status.is_ok_and(|status| !status.contains("State:\tZ"))
        };
        while runs() {
            assert!(Instant::now() < deadline, "process {process} lives on");
            thread::sleep(PAUSE);
        }
    }

    #[test]
    fn keeps_lines_and_status() {
        let captured = tee(LONG, &mut shell("printf 'one\\r\\ntwo'; exit 3")).unwrap();
        assert_eq!(captured.lines, ["one", "two"]);
        assert_eq!(captured.status.and_then(|status| status.code()), Some(3));
        assert!(run_within(LONG, &mut shell("true")).is_ok());
        assert!(run_within(LONG, &mut shell("exit 1")).is_err());
    }

    #[test]
    fn kills_what_takes_too_long_and_what_it_started() {
        let cases = [
            // The command waits; the command has ended; the command prints without end.
            "sleep 600 & echo $!; wait",
            "sleep 600 & echo $!",
            "sleep 600 & echo $!; yes",
        ];
        for script in cases {
            let captured = tee(SHORT, &mut shell(script)).unwrap();
            assert!(captured.status.is_none(), "{script}");
            wait_for_end(&captured.lines[0]);
        }
    }

    #[test]
    fn an_error_names_what_was_not_done() {
        let started = tempfile::NamedTempFile::new().unwrap();
        let script = format!("sleep 600 & echo $! >{}; wait", started.path().display());
        let error = run_within(SHORT, &mut shell(&script)).unwrap_err();
        assert!(error.to_string().contains("was not done"), "{error}");
        wait_for_end(fs::read_to_string(started.path()).unwrap().trim());
        let absent = &mut command(Path::new("/"), "no-such-program-exists", &[]);
        let error = run_within(SHORT, absent).unwrap_err();
        assert!(error.to_string().contains("no-such-program"), "{error}");
    }
}
