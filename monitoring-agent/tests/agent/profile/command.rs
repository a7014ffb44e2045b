//! `monitoring-agent profile`, which needs no running agent.

use std::{
    fs,
    path::Path,
    process::{Command, Output, Stdio},
    time::Duration,
};

use monitoring_profile::pprof;

use super::{
    capture::{has_chain, is_of, shown, stacks, sum_of},
    workload::Workload,
};
use crate::process::Running;

const SIXTY: [&str; 4] = ["main", "work", "first_of_sixty", "sixty"];

fn command(output: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_monitoring-agent"));
    command.arg("profile").args(arguments).arg("-o").arg(output);
    command.stdin(Stdio::null());
    command
}

/// Runs it. It must succeed.
fn captured(output: &Path, arguments: &[&str]) -> Output {
    let done = command(output, arguments).output().unwrap();
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{said}");
    done
}

#[test]
fn the_command_writes_a_file_of_each_form() {
    let folder = tempfile::tempdir().unwrap();
    let mut split = Workload::start(folder.path(), "split", &["600", "1"]);
    split.begin();
    let pid = split.pid().to_string();
    let of_split = ["--seconds", "2", "--hz", "199", "--pid", &pid];
    let file = |name: &str| folder.path().join(name);

    let graph = file("out.svg");
    captured(&graph, &of_split);
    let text = fs::read_to_string(&graph).unwrap();
    assert!(
        text.starts_with("<?xml") && text.contains("<title>sixty ("),
        "{text:.300}"
    );

    let lines = file("out.folded");
    captured(&lines, &of_split);
    let text = fs::read_to_string(&lines).unwrap();
    let whole = format!("{} ", SIXTY.join(";"));
    assert!(text.lines().any(|line| line.contains(&whole)), "{text}");
    assert!(
        text.lines().all(|line| line.starts_with("split;")),
        "{text}"
    );

    let file = file("out.pb.gz");
    captured(&file, &of_split);
    let profile = fs::read(&file).unwrap();
    let profile = pprof::read(&profile, pprof::Limits::default()).unwrap();
    let all = stacks(&profile, "samples", |sample| is_of(sample, split.pid()));
    let sixty = sum_of(&all, |stack| has_chain(stack, &SIXTY));
    // It is a coarse look: the share itself is measured elsewhere.
    assert!(sixty * 10 > profile.total(0) * 3, "{}", shown(&all));
}

#[test]
fn an_interrupted_command_writes_what_there_is() {
    let folder = tempfile::tempdir().unwrap();
    let mut split = Workload::start(folder.path(), "split", &["600", "1"]);
    split.begin();
    let file = folder.path().join("out.pb.gz");
    let mut command = command(
        &file,
        &["--seconds", "600", "--pid", &split.pid().to_string()],
    );
    let mut running = Running::start(command.stdout(Stdio::null()));
    super::capture::wait_until_settled(running.child.id(), 0);
    running.signal(libc::SIGINT);
    assert!(running.wait().success(), "{}", running.log());
    let profile = fs::read(&file).unwrap();
    let profile = pprof::read(&profile, pprof::Limits::default()).unwrap();
    assert!(profile.total(0) > 0);
    let lasted = Duration::from_nanos(profile.duration_ns().try_into().unwrap());
    assert!(lasted < Duration::from_mins(2), "{lasted:?}");
}

#[test]
fn the_command_says_what_is_wrong_and_leaves_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("out.svg");
    for (arguments, want) in [
        (&["--pid", "4194304"][..], "there is no process 4194304"),
        (&["--agent", "nobody"], "nobody"),
        (
            &["--hz", "99", "--type", "memory"],
            "--hz is for --type cpu",
        ),
    ] {
        let done = command(&file, arguments).output().unwrap();
        let said = String::from_utf8_lossy(&done.stderr);
        assert!(
            !done.status.success() && said.contains(want),
            "{arguments:?}: {said}"
        );
        assert!(!file.exists(), "{arguments:?}");
    }
}
