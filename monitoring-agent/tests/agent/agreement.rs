//! Agreement with bpftrace, which counts the same tracepoint by other means.

use std::{
    io::Read as _,
    process::{Command, Stdio},
};

use crate::process::{Agent, Running, known_calls, sum};

/// Counts by number of the call, as bpftrace prints its map: `@[110]: 300001`.
fn bpftrace_count(output: &str, number: libc::c_long) -> f64 {
    let start = format!("@[{number}]: ");
    let line = output.lines().find_map(|line| line.strip_prefix(&start));
    line.unwrap_or_else(|| panic!("bpftrace counted no {number}: {output}"))
        .trim()
        .parse()
        .unwrap()
}

#[test]
fn counts_agree_with_bpftrace() {
    let agent = Agent::start(&[]);
    let mut command = Command::new("bpftrace");
    command.args([
        "-e",
        "BEGIN { printf(\"counting\\n\"); }
        tracepoint:raw_syscalls:sys_exit { @[args->id] = count(); }",
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
    known_calls(300_000, 100_000);
    let after = agent.fresh_metrics();
    bpftrace.signal(libc::SIGINT);
    output.read_to_string(&mut text).unwrap();
    for (name, number, made) in [
        ("getppid", libc::SYS_getppid, 300_000.0),
        ("fchdir", libc::SYS_fchdir, 100_000.0),
    ] {
        let label = format!("syscall=\"{name}\"");
        let count = |metrics: &str| sum(metrics, "syscall_total", &label);
        let ours = count(&after) - count(&before);
        let theirs = bpftrace_count(&text, number);
        assert!(ours >= made, "{name}: {ours} of {made} calls");
        assert!(
            (ours - theirs).abs() <= 0.01 * theirs,
            "{name}: ours {ours}, bpftrace {theirs}"
        );
    }
}
