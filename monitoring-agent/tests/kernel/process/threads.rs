//! A process of several threads ends once, when the last of them does.

use std::{
    fs, ptr,
    sync::atomic::{AtomicBool, Ordering::SeqCst},
};

use super::counted;
use crate::{
    node::{ME, Node, losses},
    poll::poll_until,
    work,
};

const STACK_BYTES: usize = 64 * 1024;

/// Makes a thread of the calling process without the C library's knowledge, as a forked child of
/// a process with threads must. It may only make system calls, and must not return.
fn raw_thread(run: extern "C" fn(*mut libc::c_void) -> i32, argument: *mut libc::c_void) {
    let flags = libc::CLONE_VM
        | libc::CLONE_FS
        | libc::CLONE_FILES
        | libc::CLONE_SIGHAND
        | libc::CLONE_THREAD
        | libc::CLONE_SYSVSEM;
    // SAFETY: the stack is a mapping of the thread's own, which ends with the process.
    unsafe {
        let stack = libc::mmap(
            ptr::null_mut(),
            STACK_BYTES,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        );
        if libc::clone(run, stack.byte_add(STACK_BYTES), flags, argument) < 0 {
            libc::_exit(9);
        }
    }
}

static GO: AtomicBool = AtomicBool::new(false);

/// Ends its thread when all are told to.
extern "C" fn end_when_told(_: *mut libc::c_void) -> i32 {
    while !GO.load(SeqCst) {
        std::hint::spin_loop();
    }
    end_of_thread()
}

fn end_of_thread() -> i32 {
    // SAFETY: ends this thread alone; nothing of it is used any more.
    unsafe { libc::syscall(libc::SYS_exit, 0) };
    0
}

#[test]
fn threads_that_end_at_once_are_one_end() {
    const PROCESSES: u64 = 200;
    let mut node = Node::start(&["process"]);
    for _ in 0..PROCESSES {
        let status = work::in_fork(|| {
            for _ in 0..3 {
                raw_thread(end_when_told, ptr::null_mut());
            }
            GO.store(true, SeqCst);
            end_of_thread();
        });
        assert_eq!(status, 0);
    }
    let batch = node.collect("process");
    let mine = counted(&batch, ME);
    assert_eq!(mine.events("start"), PROCESSES);
    assert_eq!(mine.events("exit"), PROCESSES);
    assert_eq!(mine.exits("success"), PROCESSES);
    assert_eq!(losses(&batch), []);
}

/// Waits until the pipe's other end is closed, and ends the process with code 3.
extern "C" fn end_process_when_told(argument: *mut libc::c_void) -> i32 {
    // SAFETY: the leader's stack, with the two numbers in it, stays until the process ends.
    let [wait, go] = unsafe { argument.cast::<[i32; 2]>().read() };
    work::wait_for_end_of(wait, go);
    // SAFETY: ends the process without running the parent's exit handlers.
    unsafe { libc::_exit(3) }
}

#[test]
fn a_process_outlives_its_first_thread() {
    let mut node = Node::start(&["process"]);
    let (wait, go) = work::pipe();
    let child = work::fork(|| {
        let mut ends = [wait, go];
        raw_thread(end_process_when_told, (&raw mut ends).cast());
        end_of_thread();
    });
    poll_until("the first thread ends", || {
        let stat = fs::read_to_string(format!("/proc/{child}/stat")).unwrap();
        stat.contains(") Z ").then_some(())
    });
    let batch = node.collect("process");
    let pid = u32::try_from(child).unwrap();
    assert_eq!(counted(&batch, ME).events("exit"), 0, "it goes on");
    assert_eq!(node.labels.agent_of(pid).as_deref(), Some(ME));
    work::close(go);
    assert_eq!(work::wait_for(child), 3 << 8);
    work::close(wait);
    let batch = node.collect("process");
    assert_eq!(counted(&batch, ME).events("exit"), 1);
    assert_eq!(counted(&batch, ME).exits("failure"), 1);
    assert_eq!(losses(&batch), []);
}
