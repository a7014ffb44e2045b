//! Starts, executions and ends beside bpftrace's count of the same, labels and memory under a
//! steady load of short programs, and what hostile names look like.

use std::{
    ffi::OsStr,
    fs,
    io::Read as _,
    os::unix::{ffi::OsStrExt as _, process::CommandExt as _},
    path::Path,
    process::{Command, Stdio},
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
const SECONDS: u32 = 10;

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
    let agent = Agent::start(&[]);
    let mut command = Command::new("bpftrace");
    // The end of its first thread stands for the end of a process.
    command.args([
        "-e",
        "BEGIN { printf(\"counting\\n\"); }
        tracepoint:sched:sched_process_fork { @forks = count(); }
        tracepoint:sched:sched_process_exec { @execs = count(); }
        tracepoint:sched:sched_process_exit /pid == tid/ { @ends = count(); }",
    ]);
    let mut bpftrace = Running::start(command.stdout(Stdio::piped()));
    let mut output = bpftrace.child.stdout.take().unwrap();
    let mut text = String::new();
    while !text.contains("counting") {
        let mut byte = [0];
        output
            .read_exact(&mut byte)
            .expect("bpftrace starts to count");
        text.push(char::from(byte[0]));
    }
    let before = agent.fresh_metrics();
    for _ in 0..BURST {
        assert!(Command::new("/bin/true").status().unwrap().success());
    }
    let after = agent.fresh_metrics();
    bpftrace.signal(libc::SIGINT);
    output.read_to_string(&mut text).unwrap();
    for (event, map) in [("start", "forks"), ("exec", "execs"), ("exit", "ends")] {
        let label = format!("event=\"{event}\"");
        let count = |metrics: &str| sum(metrics, "agent_lifecycle_events_total", &label);
        let ours = count(&after) - count(&before);
        let theirs = bpftrace_count(&text, map);
        assert!(ours >= f64::from(BURST), "{event}: {ours} of {BURST}");
        // Its forks are of threads, too, and its time is a little longer.
        assert!(
            (ours - theirs).abs() <= 0.03 * theirs,
            "{event}: ours {ours}, bpftrace {theirs}"
        );
    }
}

/// A configuration that watches programs by their names.
fn watching(folder: &Path, glob: &str) -> String {
    let file = folder.join("monitoring.toml");
    let text = format!("[[agents]]\nname = \"watched\"\nexe = \"{glob}\"\n");
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
    let memory = |metrics: &str| value(metrics, "process_resident_memory_bytes").unwrap();
    let begun = Instant::now();
    let mut early = None;
    for number in 0..PER_SECOND * SECONDS {
        let program = &programs[number as usize % programs.len()];
        assert!(Command::new(program).status().unwrap().success());
        if early.is_none() && number >= PER_SECOND {
            early = Some(memory(&agent.fresh_metrics()));
        }
        let due = begun + Duration::from_secs(1) * number / PER_SECOND;
        while Instant::now() < due {
            std::thread::yield_now();
        }
    }
    let metrics = agent.fresh_metrics();
    for event in ["start", "exec", "exit"] {
        let sample = format!("agent_lifecycle_events_total{{agent=\"watched\",event=\"{event}\"}}");
        let count = value(&metrics, &sample);
        assert_eq!(count, Some(f64::from(PER_SECOND * SECONDS)), "{event}");
    }
    let lost = sum(
        &metrics,
        "monitoring_agent_lost_total",
        "source=\"process\"",
    );
    assert!(lost.abs() < 0.5, "{lost} lost");
    let (early, late) = (early.unwrap(), memory(&metrics));
    assert!(late <= early + 1e6, "from {early} to {late} bytes");
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
    assert!(report.lines().all(|line| line.chars().count() < 120));
    let pid = format!("  {:>8}  ", sleeper.child.id());
    assert!(report.contains(&pid), "{report}");
    for child in [&mut sleeper.child, &mut other.child] {
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
