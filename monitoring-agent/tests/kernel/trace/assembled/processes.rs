//! Spans of processes that are gone, and of those that have their numbers afterwards.

use std::{mem, time::Duration};

use super::{
    node,
    received::{Received, Receiver},
};
use crate::{node::ME, poll::poll_until, work};

/// What the children call themselves.
const NAMES: [&[u8]; 2] = [b"first-child\0", b"next-child\0"];

/// Calls itself something, sleeps for a moment, and ends. Makes system calls only.
fn sleep_as(name: &[u8]) {
    let request = libc::timespec {
        tv_sec: 0,
        tv_nsec: 5_000_000,
    };
    // SAFETY: the name ends with a zero, and the request lives across the call.
    unsafe {
        libc::prctl(libc::PR_SET_NAME, name.as_ptr());
        libc::syscall(libc::SYS_nanosleep, &raw const request, 0);
    }
}

fn is_of(pid: u32) -> impl Fn(&Received) -> bool {
    let pid = pid.to_string();
    move |received| received.of_resource("process.pid").as_ref() == Some(&pid)
}

/// A child that sleeps, by a number that is free. `None` if somebody else has it by now.
fn child_of_number(pid: i32, name: &[u8]) -> Option<i32> {
    // SAFETY: a plain structure of integers.
    let mut arguments: libc::clone_args = unsafe { mem::zeroed() };
    arguments.exit_signal = libc::SIGCHLD.unsigned_abs().into();
    arguments.set_tid = (&raw const pid).expose_provenance() as u64;
    arguments.set_tid_size = 1;
    let size = size_of_val(&arguments);
    // SAFETY: as a fork: the child has a copy of everything, makes system calls only, and ends.
    match unsafe { libc::syscall(libc::SYS_clone3, &raw const arguments, size) } {
        0 => {
            sleep_as(name);
            // SAFETY: ends the child without running the parent's exit handlers.
            unsafe { libc::_exit(0) }
        }
        -1 => {
            let error = std::io::Error::last_os_error();
            assert_eq!(error.raw_os_error(), Some(libc::EEXIST), "{error}");
            None
        }
        child => Some(i32::try_from(child).unwrap()),
    }
}

#[test]
fn processes_that_are_gone_and_their_successors_are_told_apart() {
    let node = node(&["nanosleep"], |config| {
        config.sources.trace.process = Some(Duration::ZERO);
    });
    let mut receiver = Receiver::of(&node);
    let first = work::fork(|| sleep_as(NAMES[0]));
    work::wait_for(first);
    let next = poll_until("the number is free", || child_of_number(first, NAMES[1]));
    work::wait_for(next);
    assert_eq!(next, first);
    let is_child = is_of(first.unsigned_abs());
    let mut instances = Vec::new();
    for name in NAMES {
        let name = str::from_utf8(&name[..name.len() - 1]).unwrap();
        let is_named = |received: &Received| received.text("thread.name").as_deref() == Some(name);
        let call = receiver.wait_where("the call", |received| {
            is_child(received) && is_named(received) && received.span.name == "nanosleep"
        });
        assert!(call.lasted() >= Duration::from_millis(5));
        let process = receiver.wait_where("the process", |received| {
            is_child(received) && is_named(received) && received.span.name == "process"
        });
        assert_eq!(process.text("process.exit.code").as_deref(), Some("0"));
        let own = std::process::id().to_string();
        assert_eq!(process.text("process.parent_pid"), Some(own));
        // Its root does not wait for the end of the minute.
        let root = receiver.wait_where("the root", |received| {
            is_child(received) && received.span.span_id == call.span.parent_span_id
        });
        assert_eq!(root.scope, "stratoswarm.trace");
        assert!(root.began() <= call.began() && call.ended() <= root.ended());
        assert!(root.ended() <= process.ended());
        for span in [&call, &process, &root] {
            assert_eq!(span.span.trace_id, call.span.trace_id);
            assert_eq!(span.of_resource("service.name").as_deref(), Some(ME));
            // What it was when it was looked at, or what it called itself if it was gone by then.
            let program = span.of_resource("process.executable.name").unwrap();
            let file = std::env::current_exe().unwrap();
            let file = file.file_name().unwrap().to_str().unwrap();
            assert!(program == name || program == file, "{program}");
        }
        instances.push(call.of_resource("service.instance.id").unwrap());
    }
    assert_ne!(instances[0], instances[1]);
}
