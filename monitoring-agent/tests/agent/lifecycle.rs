//! Starts, executions and ends beside bpftrace's count of the same, labels and memory under a
//! steady load of short programs, and what hostile names look like.

use std::{
    ffi::OsStr,
    fs,
    io::Read as _,
    os::unix::{ffi::OsStrExt as _, process::CommandExt as _},
    path::Path,
    process::{Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use crate::{
    poll::poll_until,
    process::{Agent, Running, sum, value},
};

/// Executions of the burst.
const BURST: u32 = 2_000;

/// The steady load, and for how long.
const PER_SECOND: u32 = 500;
const SECONDS: u32 = 60;

/// Who start the programs: enough that the rate holds beside other work on the machine.
const LAUNCHERS: u32 = 4;

/// After so long all that is made once is there: buffers, and what allocators keep.
const WARM_SECONDS: u32 = 15;

/// Growth for each process that is no leak. The smallest thing that could be kept is larger.
const LEAK_BYTES: f64 = 20.0;

/// bpftrace while it counts, and what it has written so far.
struct Bpftrace {
    running: Running,
    text: Arc<Mutex<String>>,
}

impl Bpftrace {
    fn start(program: &str) -> Self {
        let mut command = Command::new("bpftrace");
        command.args(["-e", program]).stdout(Stdio::piped());
        let mut running = Running::start(&mut command);
        let mut output = running.child.stdout.take().unwrap();
        let text = Arc::new(Mutex::new(String::new()));
        let sink = Arc::clone(&text);
        // So that a silent bpftrace meets a deadline. Ends with it.
        std::thread::spawn(move || {
            let mut bytes = [0; 1024];
            while let Ok(length @ 1..) = output.read(&mut bytes) {
                let new = String::from_utf8_lossy(&bytes[..length]);
                sink.lock().unwrap().push_str(&new);
            }
        });
        let bpftrace = Self { running, text };
        poll_until("bpftrace starts to count", || {
            bpftrace.has("counting").then_some(())
        });
        bpftrace
    }

    fn has(&self, text: &str) -> bool {
        self.text.lock().unwrap().contains(text)
    }

    /// Ends it; what it wrote. It writes its maps by their names, of which `last` is the last.
    fn end(mut self, last: &str) -> String {
        self.running.signal(libc::SIGINT);
        self.running.wait();
        let last = format!("@{last}: ");
        let counted = || {
            let text = self.text.lock().unwrap();
            let (_, rest) = text.split_once(&last)?;
            rest.contains('\n').then(|| text.clone())
        };
        poll_until("what bpftrace has counted", counted)
    }
}

fn bpftrace_count(output: &str, map: &str) -> f64 {
    let start = format!("@{map}: ");
    let line = output.lines().find_map(|line| line.strip_prefix(&start));
    line.unwrap_or_else(|| panic!("bpftrace counted no {map}: {output}"))
        .trim()
        .parse()
        .unwrap()
}

#[test]
fn lifecycles_agree_with_bpftrace() {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("burst-program");
    fs::copy("/bin/true", &program).unwrap();
    let agent = Agent::start(&["--config", &watching(folder.path(), "burst-*")]);
    // Of the burst only, so that both count the same whatever else this machine does. The end of
    // its first thread stands for the end of a process.
    let bpftrace = Bpftrace::start(
        "BEGIN { printf(\"counting\\n\"); }
        tracepoint:sched:sched_process_exec /comm == \"burst-program\"/ { @a_execs = count(); }
        tracepoint:sched:sched_process_exit /pid == tid && comm == \"burst-program\"/
        { @b_ends = count(); }",
    );
    for _ in 0..BURST {
        assert!(Command::new(&program).status().unwrap().success());
    }
    let metrics = agent.fresh_metrics();
    let text = bpftrace.end("b_ends");
    for (event, map) in [("exec", "a_execs"), ("exit", "b_ends")] {
        let sample = format!("agent_lifecycle_events_total{{agent=\"watched\",event=\"{event}\"}}");
        let ours = value(&metrics, &sample);
        assert_eq!(ours, Some(bpftrace_count(&text, map)), "{event}");
        assert_eq!(ours, Some(f64::from(BURST)), "{event}");
    }
    assert!(lost(&metrics).abs() < 0.5, "{} lost", lost(&metrics));
}

/// What source `process` has lost.
fn lost(metrics: &str) -> f64 {
    let label = "source=\"process\"";
    sum(metrics, "monitoring_agent_lost_total", label)
}

/// A configuration that watches programs by their names.
fn watching(folder: &Path, glob: &str) -> String {
    let file = folder.join("monitoring.toml");
    // The tables of the profiler, which are bounded, fill with such a load; it has a test of its own.
    let text = format!(
        "[[agents]]\nname = \"watched\"\nexe = \"{glob}\"\n[sources.profile]\nenabled = false\n"
    );
    fs::write(&file, text).unwrap();
    file.to_str().unwrap().to_owned()
}

#[test]
fn short_programs_at_a_steady_rate() {
    let folder = tempfile::tempdir().unwrap();
    let programs = ["steady-a", "steady-b"].map(|name| folder.path().join(name));
    for program in &programs {
        fs::copy("/bin/true", program).unwrap();
    }
    let agent = Agent::start(&["--config", &watching(folder.path(), "steady-*")]);
    // Its own: pages of its program that it comes to use for the first time are no leak. A scrape before
    // it makes what scrapes take a part of it each time.
    let memory = || {
        agent.fresh_metrics();
        agent.status_kib("RssAnon") as f64 * 1024.0
    };
    let done = AtomicU32::new(0);
    let begun = Instant::now();
    let (early, took) = std::thread::scope(|scope| {
        let launchers: Vec<_> = programs
            .iter()
            .cycle()
            .take(LAUNCHERS as usize)
            .map(|program| scope.spawn(|| launch(program, begun, &done)))
            .collect();
        poll_until("the load is under way", || {
            (done.load(Relaxed) >= PER_SECOND * WARM_SECONDS).then_some(())
        });
        let early = memory();
        for launcher in launchers {
            launcher.join().unwrap();
        }
        (early, begun.elapsed())
    });
    let metrics = agent.fresh_metrics();
    for event in ["start", "exec", "exit"] {
        let sample = format!("agent_lifecycle_events_total{{agent=\"watched\",event=\"{event}\"}}");
        let count = value(&metrics, &sample);
        assert_eq!(count, Some(f64::from(PER_SECOND * SECONDS)), "{event}");
    }
    assert!(lost(&metrics).abs() < 0.5, "{} lost", lost(&metrics));
    let late = memory();
    let since = f64::from(PER_SECOND * (SECONDS - WARM_SECONDS));
    let each = (late - early) / since;
    assert!(
        each < LEAK_BYTES,
        "{each} bytes a process: {early} to {late}"
    );
    let plan = Duration::from_secs(SECONDS.into());
    assert!(took < plan.mul_f64(1.05), "{took:?} for {plan:?} of load");
}

/// One launcher's part of the steady load.
fn launch(program: &Path, begun: Instant, done: &AtomicU32) {
    let interval = Duration::from_secs(1) * LAUNCHERS / PER_SECOND;
    for number in 0..PER_SECOND * SECONDS / LAUNCHERS {
        let due = begun + interval * number;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        assert!(Command::new(program).status().unwrap().success());
        done.fetch_add(1, Relaxed);
    }
}

#[test]
fn check_shows_hostile_command_lines_escaped_and_cut() {
    let folder = tempfile::tempdir().unwrap();
    let name = OsStr::from_bytes(b"hostile-\n\"\x1b[2J\xff");
    let program = folder.path().join(name);
    fs::copy("/bin/sleep", &program).unwrap();
    let mut command = Command::new(&program);
    command.arg0("sl\x1b[31m\neep").arg("600");
    let long = "7".repeat(4096);
    let mut sleeper = Running::start(&mut command);
    let mut other = Running::start(Command::new(&program).args(["600", &format!("0.{long}")]));
    let file = watching(folder.path(), "hostile-*");
    let report = poll_until("both sleepers are found", || {
        let mut check = Command::new(env!("CARGO_BIN_EXE_monitoring-agent"));
        let output = check.args(["check", "--config", &file]).output().unwrap();
        let report = String::from_utf8(output.stdout).unwrap();
        report.contains("watched: 2").then_some(report)
    });
    assert!(report.contains(r"sl\u{1b}[31m\neep 600"), "{report}");
    let mut lines = report.lines();
    assert!(lines.any(|line| line.ends_with("777…")), "{report}");
    // Above them stands what the sources say, in their own words.
    let (_, processes) = report.split_once("Watched processes").unwrap();
    let mut lines = processes.lines();
    assert!(lines.all(|line| line.chars().count() < 120), "{report}");
    let pid = format!("  {:>8}  ", sleeper.child.id());
    assert!(report.contains(&pid), "{report}");
    for child in [&mut sleeper.child, &mut other.child] {
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
