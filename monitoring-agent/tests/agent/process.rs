//! Starts the agent and other programs, talks HTTP to them, and ends them by their process id.

use std::{
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::Instant,
};

use crate::poll::{PATIENCE, poll_until};

/// A child process that ends with the test, however that ends, and what it wrote to stderr so far.
pub(crate) struct Running {
    pub(crate) child: Child,
    log: Arc<Mutex<String>>,
}

impl Running {
    /// Starts a program. One that is missing fails the test with what to do.
    pub(crate) fn start(command: &mut Command) -> Self {
        let program = command.get_program().to_string_lossy().into_owned();
        let end_with_this_thread = || {
            // SAFETY: the call takes numbers only.
            match unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) } {
                0 => Ok(()),
                _ => Err(io::Error::last_os_error()),
            }
        };
        // SAFETY: only a system call is made between fork and exec.
        unsafe { command.pre_exec(end_with_this_thread) };
        let spawned = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn();
        let mut child = spawned.unwrap_or_else(|error| {
            panic!("{program}: {error}; `cargo xtask setup` installs what the tests need")
        });
        let log = Arc::new(Mutex::new(String::new()));
        let (stderr, sink) = (child.stderr.take().unwrap(), Arc::clone(&log));
        thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let mut log = sink.lock().unwrap();
                log.push_str(&line);
                log.push('\n');
            }
        });
        Self { child, log }
    }

    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// Waits until the log has a line with `text`, and gives that line.
    pub(crate) fn wait_for(&self, text: &str) -> String {
        poll_until(&format!("the log says {text:?}"), || {
            let log = self.log();
            log.lines()
                .find(|line| line.contains(text))
                .map(str::to_owned)
        })
    }

    pub(crate) fn signal(&self, signal: libc::c_int) {
        let pid = i32::try_from(self.child.id()).unwrap();
        // SAFETY: signals the process that this test started and has not waited for.
        assert_eq!(unsafe { libc::kill(pid, signal) }, 0);
    }

    pub(crate) fn wait(&mut self) -> ExitStatus {
        poll_until("the process ends", || self.child.try_wait().unwrap())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Ends the process that `start` made; it may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A running agent and its address.
pub(crate) struct Agent {
    pub(crate) process: Running,
    pub(crate) address: String,
}

impl Agent {
    /// Starts the agent on a free port with a fast interval; further arguments as given.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_monitoring-agent"));
        command.args(["--listen", "127.0.0.1:0", "--collection-interval", "200ms"]);
        let process = Running::start(command.args(arguments));
        let line = process.wait_for("metrics at http://");
        let (_, address) = line.split_once("http://").unwrap();
        let address = address.split('/').next().unwrap().to_owned();
        let agent = Self { process, address };
        poll_until("the agent is ready", || {
            (agent.get("/readyz").0 == 200).then_some(())
        });
        agent
    }

    /// Starts the agent with a configuration file of this text.
    pub(crate) fn with_config(folder: &Path, text: &str) -> Self {
        let file = folder.join("monitoring.toml");
        std::fs::write(&file, text).unwrap();
        Self::start(&["--config", file.to_str().unwrap()])
    }

    pub(crate) fn get(&self, path: &str) -> (u16, String) {
        get(&self.address, path)
    }

    /// The metrics of a snapshot that was taken after this call began, with no source's older
    /// values in it: on a busy machine one may not deliver in time, and is shown as it was. But for
    /// `gpu`, whose values are as old as its last poll.
    pub(crate) fn fresh_metrics(&self) -> String {
        let begun = Instant::now();
        poll_until("a fresh snapshot", || {
            let (status, text) = self.get("/metrics");
            assert_eq!(status, 200, "{text}");
            let age = value(&text, "monitoring_agent_snapshot_age_seconds")?;
            // The age counts from when the sources were asked.
            let sources = text.lines().filter_map(|line| {
                let of_source =
                    line.strip_prefix("monitoring_agent_source_age_seconds{source=\"")?;
                let (name, older) = of_source.split_once("\"} ")?;
                (name != "gpu").then(|| older.parse::<f64>().unwrap())
            });
            let age = age + sources.fold(0.0, f64::max);
            (age < begun.elapsed().as_secs_f64()).then_some(text)
        })
    }
}

/// A GET request; the status and the body.
pub(crate) fn get(address: &str, path: &str) -> (u16, String) {
    try_get(address, path).unwrap_or_else(|error| panic!("GET {address}{path}: {error}"))
}

/// A GET request to a server that may be gone.
pub(crate) fn try_get(address: &str, path: &str) -> io::Result<(u16, String)> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer
        .split_once("\r\n\r\n")
        .ok_or(io::ErrorKind::UnexpectedEof)?;
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    Ok((status.expect("a status"), body.to_owned()))
}

/// The value of a sample in the text format, by its whole name and labels.
pub(crate) fn value(metrics: &str, sample: &str) -> Option<f64> {
    let mut lines = metrics.lines().filter_map(|line| line.rsplit_once(' '));
    lines.find(|(name, _)| *name == sample)?.1.parse().ok()
}

/// The sum of a metric's samples whose labels contain `label`.
pub(crate) fn sum(metrics: &str, name: &str, label: &str) -> f64 {
    let lines = metrics.lines().filter_map(|line| line.rsplit_once(' '));
    let of_metric = lines.filter(|(sample, _)| {
        sample
            .strip_prefix(name)
            .is_some_and(|rest| rest.starts_with('{') && rest.contains(label))
    });
    of_metric
        .map(|(_, value)| value.parse::<f64>().unwrap())
        .sum()
}

/// A port that was free a moment ago, for programs that cannot choose one.
pub(crate) fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

/// Calls `getppid`, and `fchdir` with a bad descriptor.
pub(crate) fn known_calls(getppids: u64, bad_fchdirs: u64) {
    for _ in 0..getppids {
        // SAFETY: the call has no arguments.
        unsafe { libc::syscall(libc::SYS_getppid) };
    }
    for _ in 0..bad_fchdirs {
        // SAFETY: the kernel refuses the descriptor.
        unsafe { libc::syscall(libc::SYS_fchdir, -1) };
    }
}
