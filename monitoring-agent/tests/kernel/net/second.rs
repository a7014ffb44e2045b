//! Another process, under another agent's name.

use glob::Pattern;
use monitoring_agent::config::{AgentRule, Config};

use crate::{node::Node, work::Child};

/// The other agent.
pub(super) const SECOND: &str = "second";

/// What its process calls itself.
const COMM: &std::ffi::CStr = c"second-agent";

/// Adds the other agent to a configuration, before the one that this process's program belongs to.
pub(super) fn configure(config: &mut Config) {
    let rule = AgentRule {
        name: SECOND.to_owned(),
        comm: vec![Pattern::new(COMM.to_str().unwrap()).unwrap()],
        ..AgentRule::default()
    };
    config.agents.insert(0, rule);
}

/// Runs `work` in a child that belongs to the other agent, to its end.
///
/// `work` may only make system calls, as after every fork of a process with threads.
pub(super) fn run(node: &Node, work: impl FnOnce()) {
    let child = Child::start(|ready| {
        // SAFETY: the name is a string that outlives the call.
        unsafe { libc::prctl(libc::PR_SET_NAME, COMM.as_ptr()) };
        ready();
        work();
    });
    node.labels.scan().unwrap();
    assert_eq!(node.labels.agent_of(child.pid()).as_deref(), Some(SECOND));
    child.go();
    assert_eq!(child.wait(), 0, "the child's work succeeds");
}
