//! Where memory grows, to the byte.

use std::ptr;

use monitoring_agent::profile::session::{Kind, SessionOptions};
use monitoring_common::profile::memory::{MAPPED, RESIDENT};

use super::{
    program::{Leaf, callers},
    recorder::{Recorder, cpu},
    worker::{Task, Worker},
};

const MIB: u64 = 1024 * 1024;

/// A huge page.
const HUGE: u64 = 2 * MIB;

/// How deep the calls are that touch memory.
const DEPTH: u8 = 4;

/// Of the worker alone: a node that is busy with other things may have more stacks than there is room.
fn options(worker: &Worker) -> SessionOptions {
    SessionOptions {
        kind: Kind::Memory,
        pid: Some(worker.pid()),
        ..cpu(1)
    }
}

/// How much the first function touches; the other touches a quarter. A guest has little memory.
fn most_bytes() -> u64 {
    if std::env::var_os("MONITORING_TEST_GUEST").is_some() {
        64 * MIB
    } else {
        1024 * MIB
    }
}

fn in_memory(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap()
}

/// Maps memory that begins at a huge page, and touches it.
fn touch(leaf: Leaf, bytes: u64, advice: libc::c_int) {
    let [size, room] = [bytes, bytes + HUGE].map(in_memory);
    // SAFETY: new memory, which is touched and given back.
    unsafe {
        let memory = libc::mmap(
            ptr::null_mut(),
            room,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        );
        let start = (memory as u64).next_multiple_of(HUGE);
        libc::madvise(start as *mut _, size, advice);
        leaf.touch(start, bytes, DEPTH.into());
        libc::munmap(memory, room);
    }
}

fn touch_small_pages() {
    touch(Leaf::TouchA, most_bytes(), libc::MADV_NOHUGEPAGE);
    touch(Leaf::TouchB, most_bytes() / 4, libc::MADV_NOHUGEPAGE);
}

fn touch_huge_pages() {
    touch(Leaf::TouchA, most_bytes(), libc::MADV_HUGEPAGE);
    touch(Leaf::TouchB, most_bytes() / 4, libc::MADV_HUGEPAGE);
}

#[test]
fn resident_bytes_are_those_that_each_function_touches() {
    let mut worker = Worker::start();
    let mut recorder = Recorder::start(&options(&worker));
    for work in [touch_small_pages as fn(), touch_huge_pages] {
        recorder.sums.clear();
        recorder.watch(&mut worker, Task::Other(work));
        for (leaf, wanted) in [
            (Leaf::TouchA, most_bytes()),
            (Leaf::TouchB, most_bytes() / 4),
        ] {
            let mut bytes = 0;
            for (key, sum, stack) in recorder.of(&worker) {
                let at = stack.user.first().and_then(|address| Leaf::at(*address));
                if key.reason == RESIDENT && at == Some(leaf) {
                    assert_eq!(stack.user[1..], callers(DEPTH.into()));
                    bytes += sum.value;
                }
            }
            assert!(
                bytes.abs_diff(wanted) * 100 <= wanted,
                "{leaf:?}: {bytes} for {wanted}"
            );
        }
    }
    assert_eq!(recorder.losses(), []);
}

/// Maps 8 MiB, makes them 12, and moves the end of the heap by 3 MiB and back.
fn map() {
    // SAFETY: new memory, which is given back. Nobody else in this process uses the heap's end.
    unsafe {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        let [small, large] = [8 * MIB, 12 * MIB].map(in_memory);
        let memory = libc::mmap(ptr::null_mut(), small, protection, flags, -1, 0);
        let memory = libc::mremap(memory, small, large, libc::MREMAP_MAYMOVE);
        libc::munmap(memory, large);
        let end = libc::syscall(libc::SYS_brk, 0);
        libc::syscall(libc::SYS_brk, end + 3 * MIB.cast_signed());
        libc::syscall(libc::SYS_brk, end);
        // These fail, and make nothing.
        libc::mmap(ptr::null_mut(), 0, protection, flags, -1, 0);
        libc::mremap(ptr::null_mut(), small, large, 0);
    }
}

#[test]
fn mapped_bytes_are_those_by_which_address_space_grows() {
    let mut worker = Worker::start();
    let mut recorder = Recorder::start(&options(&worker));
    recorder.watch(&mut worker, Task::Other(map));
    let pid = worker.pid();
    let mapped = recorder.sum(|key| key.process == pid && key.reason == MAPPED);
    assert_eq!((mapped.samples, mapped.value), (3, (8 + 4 + 3) * MIB));
    assert_eq!(recorder.losses(), []);
}
