//! Starts what is measured, reads its cost from /proc, ends it by its process id.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    os::fd::OwnedFd,
    path::Path,
    process::{Child, ChildStdout, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// How long a tool's descriptors have to stay the same for it to be ready.
const SETTLED: Duration = Duration::from_millis(500);

/// How often a program is asked to end, how long it then has each time, and how often that is
/// looked at.
const ASKED_TO_END: u32 = 4;
const A_WHILE: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(10);

/// A running program that ends when dropped.
pub(crate) struct Running {
    child: Child,
    /// Kept open, so that the program can go on to write.
    output: Option<BufReader<ChildStdout>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        let pid = i32::try_from(self.child.id()).expect("a process id");
        // Nobody reads what it may have to say at its end, and it is not to wait for somebody.
        drop(self.output.take());
        // Programs have been seen that miss being asked while they are busy; they are asked again.
        for _ in 0..ASKED_TO_END {
            // SAFETY: asks the process that `start` made, and that nobody has waited for, to end.
            unsafe { libc::kill(pid, libc::SIGTERM) };
            if self.ends_within(A_WHILE) {
                return;
            }
        }
        // Nothing is left to do about a process that can neither be ended nor waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Running {
    /// Whether it ends so soon.
    fn ends_within(&mut self, time: Duration) -> bool {
        let deadline = Instant::now() + time;
        while Instant::now() < deadline {
            if matches!(self.child.try_wait(), Ok(Some(_)) | Err(_)) {
                return true;
            }
            thread::sleep(LOOK);
        }
        false
    }

    /// The agent on `port`, ready to be scraped.
    pub(crate) fn agent(port: u16, arguments: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_monitoring-agent"));
        command.args([
            "--listen",
            &format!("127.0.0.1:{port}"),
            "--log-level",
            "error",
        ]);
        let running = Self::start(command.args(arguments));
        wait_for("the agent is ready", || {
            scrape(port, "/readyz").starts_with("HTTP/1.1 200")
        });
        running
    }

    /// Debian's `node_exporter` on `port`, ready to be scraped.
    pub(crate) fn node_exporter(port: u16) -> Self {
        let mut command = Command::new("prometheus-node-exporter");
        command
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .arg("--log.level=error");
        let running = Self::start(&mut command);
        wait_for("node_exporter answers", || {
            !scrape(port, "/metrics").is_empty()
        });
        running
    }

    /// bpftrace with a script whose `BEGIN` prints `ready`, after its probes are attached.
    pub(crate) fn bpftrace(script: &str) -> Self {
        let mut command = Command::new("bpftrace");
        command.args(["-e", &format!("BEGIN {{ printf(\"ready\\n\"); }} {script}")]);
        let mut running = Self::start(command.stdout(Stdio::piped()));
        let mut output = BufReader::new(running.child.stdout.take().expect("a piped stdout"));
        let mut line = String::new();
        while line.trim() != "ready" {
            line.clear();
            let read = output
                .read_line(&mut line)
                .expect("read what bpftrace prints");
            assert!(read > 0, "bpftrace ended before it was ready");
        }
        running.output = Some(output);
        running
    }

    /// A tracing tool that runs until it is ended, once its programs are attached.
    pub(crate) fn tracer(program: &str, arguments: &[&str]) -> Self {
        // Where Debian puts them is not on everybody's path.
        let mut command = Command::new(format!("/usr/sbin/{program}"));
        // What it prints is not wanted; writing it is part of what it costs.
        let running = Self::start(command.args(arguments).stdout(Stdio::null()));
        running.wait_until_settled("bpf");
        running
    }

    /// `perf record`, which samples the stacks of all CPUs 99 times a second into this file.
    pub(crate) fn perf(file: &Path) -> Self {
        let mut command = Command::new("perf");
        command.args([
            "record",
            "--quiet",
            "-g",
            "-F",
            "99",
            "-a",
            "-e",
            "cpu-clock",
            "-o",
        ]);
        let running = Self::start(command.arg(file).stdout(Stdio::null()));
        running.wait_until_settled("perf_event");
        running
    }

    /// Waits until it has descriptors of this kind, and opens no more of any.
    fn wait_until_settled(&self, kind: &str) {
        wait_for("the tracing tool has attached its programs", || {
            let before = self.descriptors();
            thread::sleep(SETTLED);
            before.iter().any(|name| name.contains(kind)) && before == self.descriptors()
        });
    }

    /// What its descriptors refer to.
    fn descriptors(&self) -> Vec<String> {
        let entries = fs::read_dir(format!("/proc/{}/fd", self.child.id())).into_iter();
        let entries = entries.flatten().map_while(Result::ok);
        entries
            .filter_map(|entry| Some(fs::read_link(entry.path()).ok()?.display().to_string()))
            .collect()
    }

    /// Time spent in its kernel programs so far, in nanoseconds, while BPF statistics are on.
    pub(crate) fn program_ns(&self) -> u64 {
        let entries = fs::read_dir(format!("/proc/{}/fdinfo", self.child.id()));
        let entries = entries.expect("the process runs").map_while(Result::ok);
        let mut by_program = BTreeMap::new();
        for text in entries.filter_map(|entry| fs::read_to_string(entry.path()).ok()) {
            let value = |key: &str| {
                let line = text.lines().find_map(|line| line.strip_prefix(key))?;
                line.trim().parse::<u64>().ok()
            };
            if let (Some(program), Some(time)) = (value("prog_id:"), value("run_time_ns:")) {
                by_program.insert(program, time);
            }
        }
        by_program.values().sum()
    }

    fn start(command: &mut Command) -> Self {
        let program = command.get_program().to_string_lossy().into_owned();
        let spawned = command.stdin(Stdio::null()).spawn();
        let child = spawned.unwrap_or_else(|error| {
            panic!("{program}: {error}; `cargo xtask setup` installs what the benchmarks need")
        });
        Self {
            child,
            output: None,
        }
    }

    /// CPU time of all its threads so far, also of those that have ended, in nanoseconds.
    pub(crate) fn cpu_ns(&self) -> u64 {
        let pid = i32::try_from(self.child.id()).expect("a process id");
        let mut clock = 0;
        let mut time = libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        // SAFETY: both results live across the calls.
        let results = unsafe {
            [
                libc::clock_getcpuclockid(pid, &raw mut clock),
                libc::clock_gettime(clock, &raw mut time),
            ]
        };
        assert_eq!(results, [0, 0], "the process runs");
        let parts = [time.tv_sec, time.tv_nsec].map(|part| u64::try_from(part).unwrap_or(0));
        parts[0] * 1_000_000_000 + parts[1]
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// A memory figure of `/proc/PID/status`, in KiB.
    pub(crate) fn memory_kib(&self, key: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()));
        let status = status.expect("the process runs");
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
        let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
        number.unwrap_or_else(|| panic!("/proc/PID/status has no {key}"))
    }
}

/// One HTTP answer, or nothing when nobody answers.
pub(crate) fn scrape(port: u16, path: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n");
    let mut answer = String::new();
    if let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) {
        // What did not come is not an answer; the caller asks again.
        let _ = stream.write_all(request.as_bytes());
        let _ = stream.read_to_string(&mut answer);
    }
    answer
}

/// A port that was free a moment ago.
pub(crate) fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a loopback address");
    listener.local_addr().expect("a bound address").port()
}

pub(crate) fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    for _ in 0..500 {
        if done() {
            return;
        }
        thread::sleep(Duration::from_millis(20));
    }
    panic!("not within 10 s: {what}");
}

/// The kernel's BPF statistics: on for as long as this lives, however that ends.
pub(crate) struct Statistics {
    _enabled: OwnedFd,
}

impl Statistics {
    pub(crate) fn on() -> Self {
        let enabled = aya::sys::enable_stats(aya::sys::Stats::RunTime);
        Self {
            _enabled: enabled.expect("the kernel has BPF statistics, since 5.8"),
        }
    }
}
