//! Family `process`: labels follow processes from their first instruction on, and every start and
//! end is counted.

mod cgroups;
mod containers;
mod ends;
mod executions;
mod limits;
mod programs;
mod threads;

use std::process::Command;

use monitoring_agent::{config::AgentRule, source::Batch};

use self::programs::{Program, Running};
use crate::{
    node::{ME, Node, counter, losses, me},
    poll::poll_until,
    work,
};

/// Counters of one agent that a test asks for.
struct Counted<'a> {
    batch: &'a Batch,
    agent: &'a str,
}

impl Counted<'_> {
    fn events(&self, event: &str) -> u64 {
        self.of("agent_lifecycle_events_total", "event", event)
    }

    fn exits(&self, status: &str) -> u64 {
        self.of("agent_exits_total", "status", status)
    }

    fn crashes(&self, signal: &str) -> u64 {
        self.of("agent_crashes_total", "signal", signal)
    }

    fn of(&self, name: &str, label: &str, value: &str) -> u64 {
        counter(self.batch, name, &[("agent", self.agent), (label, value)])
    }
}

fn counted<'a>(batch: &'a Batch, agent: &'a str) -> Counted<'a> {
    Counted { batch, agent }
}

fn rule(name: &str, exe: &[&str], environment: &[&str]) -> AgentRule {
    let globs = |texts: &[&str]| {
        texts
            .iter()
            .map(|text| glob::Pattern::new(text).unwrap())
            .collect()
    };
    AgentRule {
        name: name.to_owned(),
        exe: globs(exe),
        environment: globs(environment),
        ..AgentRule::default()
    }
}

fn watch_all(config: &mut monitoring_agent::config::Config) {
    config.agents = vec![
        me(),
        rule("by-name", &["swarmlet-*"], &[]),
        rule("by-environment", &[], &["SWARM_ROLE=worker"]),
    ];
}

#[test]
fn processes_that_run_already() {
    let by_name = Running::sleeper("swarmlet-1", &[]);
    let node = Node::with(&["process"], watch_all);
    let agent_of = |pid| node.labels.agent_of(pid);
    // Between fork and exec the child is this process; the event of its exec settles it.
    poll_until("the label of a running process", || {
        (agent_of(by_name.child.id())? == "by-name").then_some(())
    });
    assert_eq!(agent_of(std::process::id()).as_deref(), Some(ME));
    assert_eq!(agent_of(1), None);
}

#[test]
fn processes_that_start_later() {
    let mut node = Node::with(&["process"], watch_all);
    let by_name = Running::sleeper("swarmlet-2", &[]);
    let by_environment = Running::sleeper("anything", &[("SWARM_ROLE", "worker")]);
    let unwatched = Running::sleeper("unwatched", &[("SWARM_ROLE", "keeper")]);
    let becomes = |pid: u32, want: Option<&str>| {
        poll_until("a label after exec", || {
            (node.labels.agent_of(pid).as_deref() == want).then_some(())
        });
    };
    becomes(by_name.child.id(), Some("by-name"));
    becomes(by_environment.child.id(), Some("by-environment"));
    // It began as a copy of this process, with this process's label.
    becomes(unwatched.child.id(), None);
    assert_eq!(losses(&node.collect("process")), []);
}

#[test]
fn a_label_ends_with_its_process() {
    let mut node = Node::with(&["process"], watch_all);
    let sleeper = Running::sleeper("swarmlet-3", &[]);
    let pid = sleeper.child.id();
    poll_until("the label", || {
        (node.labels.agent_of(pid)? == "by-name").then_some(())
    });
    drop(sleeper);
    let batch = node.collect("process");
    assert_eq!(node.labels.agent_of(pid), None);
    assert_eq!(losses(&batch), []);
}

#[test]
fn new_rules_label_running_processes() {
    let node = Node::start(&["process"]);
    let sleeper = Running::sleeper("swarmlet-4", &[]);
    let pid = sleeper.child.id();
    poll_until("no label by the old rules", || {
        node.labels.agent_of(pid).is_none().then_some(())
    });
    let rules = [me(), rule("by-name", &["swarmlet-*"], &[])];
    node.labels.set_rules(&rules);
    node.labels.scan().unwrap();
    assert_eq!(node.labels.agent_of(pid).as_deref(), Some("by-name"));
    node.labels.set_rules(&[me()]);
    node.labels.scan().unwrap();
    assert_eq!(node.labels.agent_of(pid), None);
}

#[test]
fn children_from_before_the_label_get_it_too() {
    let node = Node::start(&["process"]);
    // A child that this process made while nobody knew a rule for it, and that executes nothing.
    let (mut wait, go) = std::io::pipe().unwrap();
    // SAFETY: the child makes one system call and ends.
    let child = match unsafe { libc::fork() } {
        0 => {
            let mut byte = [0_u8];
            // SAFETY: reads into a buffer of its own until the parent closes the pipe; ends the
            // child without running the parent's exit handlers.
            unsafe {
                libc::close(std::os::fd::AsRawFd::as_raw_fd(&go));
                libc::read(
                    std::os::fd::AsRawFd::as_raw_fd(&wait),
                    byte.as_mut_ptr().cast(),
                    1,
                );
                libc::_exit(0)
            }
        }
        pid => u32::try_from(pid).expect("fork"),
    };
    node.labels
        .set_rules(&[rule("renamed", &["kernel-*"], &[])]);
    node.labels.scan().unwrap();
    assert_eq!(
        node.labels.agent_of(std::process::id()).as_deref(),
        Some("renamed")
    );
    assert_eq!(node.labels.agent_of(child).as_deref(), Some("renamed"));
    drop(go);
    let _ = std::io::Read::read(&mut wait, &mut [0]);
    let child = i32::try_from(child).unwrap();
    // SAFETY: waits for the child made above.
    let waited = unsafe { libc::waitpid(child, std::ptr::null_mut(), 0) };
    assert_eq!(waited, child);
}

#[test]
fn what_changed_while_the_source_was_off_is_seen() {
    let mut node = Node::with(&["process"], watch_all);
    node.stop("process");
    let sleeper = Running::sleeper("swarmlet-5", &[]);
    let pid = sleeper.child.id();
    poll_until("the sleeper executes its program", || {
        let exe = std::fs::read_link(format!("/proc/{pid}/exe")).ok()?;
        exe.ends_with("swarmlet-5").then_some(())
    });
    assert_ne!(node.labels.agent_of(pid).as_deref(), Some("by-name"));
    node.restart("process", watch_all);
    assert_eq!(node.labels.agent_of(pid).as_deref(), Some("by-name"));
}

#[test]
fn a_storm_of_processes_loses_nothing_or_says_so() {
    let mut node = Node::with(&["process"], watch_all);
    for _ in 0..300 {
        assert_eq!(work::in_fork(|| ()), 0);
    }
    let statuses = (0..100).map(|_| Command::new("/bin/true").status().unwrap());
    assert!(statuses.into_iter().all(|status| status.success()));
    let batch = node.collect("process");
    assert_eq!(losses(&batch), []);
    assert!(
        batch.programs.iter().all(|program| program.attached),
        "{:?}",
        batch.programs
    );
    assert_eq!(
        node.labels.agent_of(std::process::id()).as_deref(),
        Some(ME)
    );
}
