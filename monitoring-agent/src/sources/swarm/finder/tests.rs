//! This process, and a file that it has mapped to execute.

use std::{fs::File, io::Write as _, os::fd::AsRawFd as _, os::unix::fs::FileExt as _};

use super::*;

const PAGE: usize = 4096;

/// A file that this process executes, as far as the kernel knows.
fn mapped(contents: &[u8]) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(contents).unwrap();
    // SAFETY: a fresh mapping that nobody looks into, and that stays.
    let page = unsafe {
        let access = libc::PROT_READ | libc::PROT_EXEC;
        let to = std::ptr::null_mut();
        libc::mmap(to, PAGE, access, libc::MAP_PRIVATE, file.as_raw_fd(), 0)
    };
    assert_ne!(page, libc::MAP_FAILED);
    file
}

fn count(counts: &Counts, reason: &str) -> u64 {
    let counts = counts.read();
    let (_, count) = counts.iter().find(|(known, _)| *known == reason).unwrap();
    *count
}

#[test]
fn what_cannot_be_read_is_counted_once_and_looked_at_again() {
    let own = std::process::id();
    let counts = Arc::default();
    let mut finder = Finder::new(Path::new("/proc"), &counts);
    finder.visit(own, true);
    assert!(!finder.is_incomplete());
    assert_eq!(count(&counts, "unreadable"), 0);
    // A program's first bytes, and nothing behind them.
    let mut torn = [0; 16];
    File::open("/proc/self/exe")
        .unwrap()
        .read_exact_at(&mut torn, 0)
        .unwrap();
    let file = mapped(&torn);
    for _ in 0..3 {
        finder.visit(own, false);
        assert!(finder.is_incomplete());
        assert_eq!(count(&counts, "unreadable"), 1);
    }
    // The other files of the process are known all the same.
    assert!(!finder.processes[&own].uses.is_empty());
    // Now it is none.
    file.write_all_at(b"#!/bin/sh", 0).unwrap();
    finder.visit(own, false);
    assert!(!finder.is_incomplete());
    assert_eq!(count(&counts, "unreadable"), 1);
    let refused = Err("refused".to_owned());
    let key = finder.processes[&own].uses[0].1;
    finder.probed(key, "/file", refused);
    assert_eq!(count(&counts, "probe_refused"), 1);
}
