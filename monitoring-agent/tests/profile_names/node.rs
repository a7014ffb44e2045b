//! A real just-in-time compiler, and the list that it writes.

use std::{
    fs,
    process::{Child, Command, Stdio},
};

use monitoring_agent::profile::mappings::Place;

use crate::{poll::poll_until, program::Asked};

/// A function that is worth compiling, called for ever.
const SCRIPT: &str = "function a_hot_function(n) { let s = 0; for (let i = 0; i < n; i++) s += i % 7; \
                      return s; } for (;;) a_hot_function(10000);";

/// Ends with the test.
struct Node(Child);

impl Drop for Node {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn functions_of_javascript_have_names() {
    let asked = Asked::new();
    let node = Command::new("node")
        .args(["--perf-basic-prof", "-e", SCRIPT])
        // Where it writes what else it has to say of itself.
        .current_dir("/tmp")
        .stdin(Stdio::null())
        .spawn();
    let node = Node(node.expect("`node` is of Debian's nodejs"));
    let pid = node.0.id();
    let path = format!("/tmp/perf-{pid}.map");
    // Marked as optimised: before that it is interpreted, and no code.
    let (address, want) = poll_until("the function is compiled", || {
        let list = fs::read_to_string(&path).ok()?;
        let line = list
            .lines()
            .rfind(|line| line.contains(" JS:*a_hot_function"))?;
        let mut words = line.splitn(3, ' ');
        let start = u64::from_str_radix(words.next()?, 16).ok()?;
        Some((start, words.nth(1)?.to_owned()))
    });
    // SAFETY: a plain structure of integers.
    let mut now: libc::timespec = unsafe { std::mem::zeroed() };
    // SAFETY: the structure lives across the call.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    let now_ns = u64::try_from(now.tv_sec * 1_000_000_000 + now.tv_nsec).unwrap();
    asked.mappings.catch_up();
    let (place, named) = asked.at(pid, now_ns, address + 8);
    assert!(matches!(place, Place::Jit { .. }), "{place:?}");
    assert_eq!(*named.functions[0].name, *want);
    drop(node);
    // What is left of it.
    fs::remove_file(path).unwrap();
}
