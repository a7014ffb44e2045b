//! Another process, under another agent's name.

use std::io::{Read as _, Write as _, pipe};

use glob::Pattern;
use monitoring_agent::config::{AgentRule, Config};

use crate::node::Node;

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
    let (mut named, mut tell) = pipe().unwrap();
    let (mut wait, mut go) = pipe().unwrap();
    // SAFETY: the child makes system calls only, as the caller promises, and never returns.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0, "fork: {}", std::io::Error::last_os_error());
    if pid == 0 {
        // SAFETY: the name is a string that outlives the call.
        unsafe { libc::prctl(libc::PR_SET_NAME, COMM.as_ptr()) };
        let ready = tell.write_all(&[1]).is_ok() && wait.read_exact(&mut [0]).is_ok();
        if ready {
            work();
        }
        // SAFETY: ends the child without running the parent's exit handlers.
        unsafe { libc::_exit(i32::from(!ready)) };
    }
    named.read_exact(&mut [0]).unwrap();
    node.labels.scan().unwrap();
    assert_eq!(
        node.labels.agent_of(pid.unsigned_abs()).as_deref(),
        Some(SECOND)
    );
    go.write_all(&[1]).unwrap();
    let mut status = 0;
    // SAFETY: waits for the child made above.
    assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
    assert_eq!(status, 0, "the child's work succeeds");
}
