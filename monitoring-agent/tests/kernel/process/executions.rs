//! Executions: the label is right for processes that live a millisecond, the first time as well.

use std::{ffi::OsStr, io::Write as _, os::unix::ffi::OsStrExt as _, process::Command};

use super::{Program, Running, counted, rule, watch_all};
use crate::{
    node::{ME, Node, losses, me},
    poll::poll_until,
};

#[test]
fn the_first_execution_of_a_program_counts_under_it() {
    let mut node = Node::with(&["process"], watch_all);
    for at in 1..=20 {
        let program = Program::named(format!("swarmlet-first-{at}"));
        program.run("exit 0");
        let batch = node.collect("process");
        let theirs = counted(&batch, "by-name");
        assert_eq!(theirs.events("exec"), at);
        assert_eq!(theirs.events("start"), at);
        assert_eq!(theirs.events("exit"), at);
        assert_eq!(theirs.exits("success"), at);
        assert_eq!(counted(&batch, ME).events("exit"), 0);
        assert_eq!(losses(&batch), []);
    }
}

#[test]
fn a_program_that_executes_another_at_once() {
    let mut node = Node::with(&["process"], watch_all);
    let program = Program::named("swarmlet-second");
    let path = program.path.display().to_string();
    for _ in 0..50 {
        let script = format!("exec {path} -c 'exit 3'");
        // BusyBox goes by the name of its link, which the copy does not have.
        let line = if std::fs::canonicalize("/bin/sh")
            .unwrap()
            .ends_with("busybox")
        {
            format!("exec -a sh {path} -c 'exit 3'")
        } else {
            script
        };
        Command::new("/bin/sh")
            .args(["-c", &line])
            .status()
            .unwrap();
    }
    let batch = node.collect("process");
    let theirs = counted(&batch, "by-name");
    assert_eq!(theirs.events("exec"), 50);
    // A look at the shell may find the program that follows, before the kernel's program for that
    // runs: then nobody counts that the process became the agent's. Rare, but where a processor is
    // emulated a look takes long.
    let starts = theirs.events("start");
    assert!((30..=50).contains(&starts), "{starts}");
    assert_eq!(theirs.exits("failure"), 50);
    assert_eq!(counted(&batch, ME).events("exit"), 0);
    assert_eq!(losses(&batch), []);
}

#[test]
fn a_script_is_its_interpreter() {
    let mut node = Node::with(&["process"], |config| {
        config.agents = vec![
            me(),
            rule("by-name", &["swarmlet-*"], &[]),
            monitoring_agent::config::AgentRule {
                name: "by-script".to_owned(),
                comm: vec![glob::Pattern::new("job.sh").unwrap()],
                ..Default::default()
            },
        ];
    });
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("job.sh");
    let mut file = std::fs::File::create(&script).unwrap();
    file.write_all(b"#!/bin/sh\nexit 0\n").unwrap();
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    file.set_permissions(open).unwrap();
    drop(file);
    for _ in 0..3 {
        assert!(Command::new(&script).status().unwrap().success());
    }
    let batch = node.collect("process");
    assert_eq!(counted(&batch, "by-script").events("exec"), 3);
    assert_eq!(counted(&batch, "by-script").exits("success"), 3);
    assert_eq!(losses(&batch), []);
}

#[test]
fn new_rules_hold_for_programs_that_the_kernel_knows() {
    let mut node = Node::with(&["process"], watch_all);
    let program = Program::named("swarmlet-known");
    program.run("exit 0");
    program.run("exit 0");
    // What waits for an answer gets one by the rules of then.
    node.collect("process");
    let rules = [me(), rule("renamed", &["swarmlet-*"], &[])];
    node.labels.set_rules(&rules);
    program.run("exit 0");
    program.run("exit 0");
    node.collect("process");
    node.labels.set_rules(&[me()]);
    program.run("exit 0");
    let batch = node.collect("process");
    assert_eq!(counted(&batch, "by-name").events("exit"), 2);
    assert_eq!(counted(&batch, "renamed").events("exit"), 2);
    assert_eq!(counted(&batch, "renamed").events("start"), 2);
    assert_eq!(losses(&batch), []);
}

#[test]
fn without_rules_nothing_is_asked_and_all_is_counted() {
    let mut node = Node::with(&["process"], |config| config.agents = Vec::new());
    let before = node.collect("process");
    let program = Program::named("swarmlet-nobody");
    for _ in 0..50 {
        program.run("exit 1");
    }
    let after = node.collect("process");
    for event in ["start", "exec", "exit"] {
        let count = |batch| counted(batch, "other").events(event);
        assert!(count(&after) - count(&before) >= 50, "{event}");
    }
    assert!(counted(&after, "other").exits("failure") >= 50);
    assert_eq!(losses(&after), []);
}

#[test]
fn hostile_names_are_labelled_like_others() {
    let mut node = Node::with(&["process"], watch_all);
    let name = OsStr::from_bytes(b"swarmlet-\n\"\x1b\xff) Z 1 (");
    let program = Program::named(name);
    program.run("exit 0");
    let sleeper = Running::sleeper(name, &[]);
    let pid = sleeper.child.id();
    poll_until("the label of a hostile name", || {
        (node.labels.agent_of(pid)? == "by-name").then_some(())
    });
    let batch = node.collect("process");
    // Its start is read right, whatever stands before it: the sweep leaves it its label.
    assert_eq!(node.labels.agent_of(pid).as_deref(), Some("by-name"));
    assert_eq!(counted(&batch, "by-name").events("exec"), 2);
    assert_eq!(counted(&batch, "by-name").exits("success"), 1);
    assert_eq!(losses(&batch), []);
}

#[test]
fn a_long_row_of_executions() {
    const EACH: u64 = 500;
    let mut node = Node::with(&["process"], |config| {
        config.agents = vec![me(), rule("by-name", &["swarmlet-*"], &[])];
    });
    let programs = ["swarmlet-a", "swarmlet-b", "unwatched"].map(Program::named);
    let idle = node.collect("process");
    for _ in 0..EACH {
        let children = programs
            .each_ref()
            .map(|program| program.command("exit 0").spawn().unwrap());
        for mut child in children {
            assert!(child.wait().unwrap().success());
        }
    }
    let batch = node.collect("process");
    let theirs = counted(&batch, "by-name");
    for event in ["start", "exec", "exit"] {
        assert_eq!(theirs.events(event), 2 * EACH, "{event}");
    }
    assert_eq!(counted(&batch, ME).events("start"), 3 * EACH);
    assert_eq!(counted(&batch, ME).events("exit"), 0);
    assert_eq!(losses(&batch), []);
    // Nobody is left in the map: the kernel itself removes those that end.
    let watched = |batch: &monitoring_agent::source::Batch| {
        let map = batch.maps.iter().find(|map| map.name == "AGENT_OF");
        map.unwrap().entries.unwrap()
    };
    assert_eq!(watched(&batch), watched(&idle));
}
