//! Tracefs of the running kernel. Needs root.

use std::{ffi::CStr, fs, io, path::Path, ptr, thread};

use monitoring_agent::offsets::{Location, Mount, TracepointFormat, mount_tracefs, tracepoint};

const TRACEFS: &CStr = c"/sys/kernel/tracing";
const IN_DEBUGFS: &CStr = c"/sys/kernel/debug/tracing";
const DEBUGFS: &CStr = c"/sys/kernel/debug";

/// Gives the calling thread mounts of its own, in which tracefs is not mounted.
fn without_tracefs() {
    // SAFETY: the call changes nothing but the calling thread's namespace.
    let separated = unsafe { libc::unshare(libc::CLONE_NEWNS) };
    let error = io::Error::last_os_error();
    assert_eq!(
        separated, 0,
        "run this test as root: it needs CAP_SYS_ADMIN ({error})"
    );
    let flags = libc::MS_REC | libc::MS_PRIVATE;
    // SAFETY: all strings end in zero; a change of propagation needs neither type nor data.
    let private = unsafe {
        libc::mount(
            c"none".as_ptr(),
            c"/".as_ptr(),
            ptr::null(),
            flags,
            ptr::null(),
        )
    };
    assert_eq!(private, 0, "{}", io::Error::last_os_error());
    for path in [IN_DEBUGFS, DEBUGFS, TRACEFS] {
        // SAFETY: the path ends in zero. Mounts may be stacked; the last call finds none.
        while unsafe { libc::umount2(path.as_ptr(), libc::MNT_DETACH) } == 0 {}
    }
}

#[test]
fn is_mounted_once() {
    let in_own_namespace = || {
        without_tracefs();
        assert!(!Path::new("/sys/kernel/tracing/events").exists());
        assert!(tracepoint("sched", "sched_process_exec").is_err());
        assert_eq!(mount_tracefs().expect("mounts"), Mount::Mounted);
        assert_eq!(
            mount_tracefs().expect("finds its own mount"),
            Mount::AlreadyThere
        );
        let exec = tracepoint("sched", "sched_process_exec").expect("a tracepoint of every kernel");
        assert_eq!(
            exec.field("filename").map(|field| field.location),
            Some(Location::FromRecord)
        );
        assert_eq!(exec.field("old_pid").map(|field| field.size), Some(4));
    };
    thread::spawn(in_own_namespace)
        .join()
        .expect("the test in a thread of its own");
}

#[test]
fn every_format_of_this_kernel_is_understood() {
    let in_own_namespace = || {
        without_tracefs();
        mount_tracefs().expect("mounts");
        let mut seen = 0;
        for group in fs::read_dir("/sys/kernel/tracing/events")
            .expect("tracefs")
            .flatten()
        {
            for event in fs::read_dir(group.path()).into_iter().flatten().flatten() {
                let Ok(text) = fs::read_to_string(event.path().join("format")) else {
                    continue;
                };
                check(
                    &group.file_name().to_string_lossy(),
                    &event.file_name().to_string_lossy(),
                    &text,
                );
                seen += 1;
            }
        }
        assert!(seen > 100, "a kernel with only {seen} tracepoints");
    };
    thread::spawn(in_own_namespace)
        .join()
        .expect("the test in a thread of its own");
}

fn check(group: &str, name: &str, text: &str) {
    let format = tracepoint(group, name).unwrap_or_else(|error| panic!("{group}:{name}: {error}"));
    assert_eq!(TracepointFormat::parse(text).expect(name), format);
    assert_eq!(
        format.fields.len(),
        text.matches("\tfield:").count(),
        "{group}:{name}"
    );
    let mut end = 0;
    for field in &format.fields {
        let path = format!("{group}:{name} {}", field.name);
        assert!(field.offset >= end, "{path} overlaps what is before it");
        end = field.offset + field.size;
        assert!(
            field.location == Location::Inline || field.size == 4,
            "{path}"
        );
        assert!(
            field
                .array_len
                .is_none_or(|len| len == 0 || field.size % len == 0),
            "{path}"
        );
    }
}
