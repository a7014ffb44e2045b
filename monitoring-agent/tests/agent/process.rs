//! Starts the agent and talks HTTP to it.

use std::{
    fs,
    io::{self, Read as _, Write as _},
    net::TcpStream,
    path::Path,
    process::Command,
    time::Instant,
};

use crate::poll::{PATIENCE, poll_until};
pub(crate) use crate::running::Running;

/// The agent.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_monitoring-agent");

/// A configuration with the defaults, but for profiles, of which it keeps none on disk.
const NOTHING_KEPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/agent/nothing_kept.toml");

/// A running agent and its address.
pub(crate) struct Agent {
    pub(crate) process: Running,
    pub(crate) address: String,
}

impl Agent {
    /// Starts the agent on a free port with a fast interval; further arguments as given. Unless a
    /// file is among them, it keeps nothing on disk.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        Self::start_by(Command::new(PROGRAM), arguments)
    }

    /// Like [`Agent::start`], by a command that the agent's arguments are appended to.
    pub(crate) fn start_by(mut command: Command, arguments: &[&str]) -> Self {
        command.args(["--listen", "127.0.0.1:0", "--collection-interval", "200ms"]);
        if !arguments.contains(&"--config") {
            command.args(["--config", NOTHING_KEPT]);
        }
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

    /// Starts the agent with a configuration file of this text. Unless that has something to say of
    /// profiles, it keeps none on disk.
    pub(crate) fn with_config(folder: &Path, text: &str) -> Self {
        let file = folder.join("monitoring.toml");
        let mut text = text.to_owned();
        if !text.contains("[sources.profile]") {
            text.push_str("\n[sources.profile]\nhistory = false\n");
        }
        fs::write(&file, text).unwrap();
        Self::start(&["--config", file.to_str().unwrap()])
    }

    /// A figure of its `/proc/PID/status`, in KiB.
    pub(crate) fn status_kib(&self, key: &str) -> u64 {
        let status =
            fs::read_to_string(format!("/proc/{}/status", self.process.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(key));
        let number = line.and_then(|line| line.split_whitespace().nth(1));
        number.unwrap().parse().unwrap()
    }

    pub(crate) fn get(&self, path: &str) -> (u16, String) {
        get(&self.address, path)
    }

    /// The metrics in OpenMetrics' format.
    pub(crate) fn openmetrics(&self) -> String {
        let accept = "Accept: application/openmetrics-text; version=1.0.0\r\n";
        let (status, text) = ask(&self.address, "/metrics", accept).unwrap();
        assert_eq!(status, 200, "{text}");
        assert!(text.ends_with("# EOF\n"), "another format: {text}");
        text
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
    ask(address, path, "")
}

/// The same with further headers, of a line each.
fn ask(address: &str, path: &str, headers: &str) -> io::Result<(u16, String)> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let request =
        format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n{headers}Connection: close\r\n\r\n");
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
