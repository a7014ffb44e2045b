//! Which threads of a process live. Its first one may have ended before the others: then the process
//! itself shows nothing of what it has mapped, but they do.

use procfs::process::{Process, Task};

/// Whether any thread of a process lives.
pub(super) fn any(pid: u32) -> bool {
    first(pid).is_some()
}

/// A living thread of a process: that which gave it its number, as long as that lives.
pub(super) fn first(pid: u32) -> Option<u32> {
    let process = Process::new(pid.try_into().ok()?).ok()?;
    // One that has ended stays in the list until somebody takes notice.
    let is_alive = |thread: &Task| {
        let stat = thread.stat();
        stat.is_ok_and(|stat| !matches!(stat.state, 'Z' | 'X'))
    };
    let thread = process.tasks().ok()?.flatten().find(is_alive)?;
    thread.tid.try_into().ok()
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        process::Command,
        thread,
        time::{Duration, Instant},
    };

    use super::{super::follower::mappings, *};

    #[test]
    fn what_is_mapped_is_read_of_another_thread_than_the_first() {
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().join("headless.c");
        let text = "#include <pthread.h>\n#include <unistd.h>\n\
                    static void *work(void *none) { for (;;) pause(); return none; }\n\
                    int main(void) { pthread_t thread;\n\
                    pthread_create(&thread, 0, work, 0); pthread_exit(0); }\n";
        fs::write(&source, text).unwrap();
        let program = folder.path().join("headless");
        let mut build = Command::new("cc");
        let status = build.arg("-pthread").arg("-o").arg(&program).arg(&source);
        let status = status.status().expect("`cc` builds the program");
        assert!(status.success());
        let mut child = Command::new(&program).spawn().unwrap();
        let pid = child.id();
        let deadline = Instant::now() + Duration::from_mins(1);
        while first(pid) == Some(pid) {
            assert!(Instant::now() < deadline);
            thread::yield_now();
        }
        let other = first(pid);
        let mapped = mappings(pid).unwrap_or_default();
        child.kill().unwrap();
        // It has ended, and nobody has taken notice yet.
        while any(pid) {
            assert!(Instant::now() < deadline);
            thread::yield_now();
        }
        child.wait().unwrap();
        assert!(other.is_some_and(|other| other != pid));
        let path = program.as_os_str().as_encoded_bytes();
        assert!(
            mapped.iter().any(|mapping| *mapping.name == *path),
            "{mapped:?}"
        );
        assert!(mappings(pid).is_none());
    }
}
