//! What a process forgets in a child that goes on without executing another program: random numbers,
//! which would be its parent's, and sinks, whose threads are not there.
//!
//! Knows nothing of how spans are recorded.

use std::sync::Once;

use super::{thread, tracer::Core};

/// From now on, children of this process forget.
pub(super) fn prepare() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: The function only writes words of this thread and of the tracers, and takes no
        // lock, which is allowed after a fork. That it could not be registered, for want of memory,
        // is no reason to do without spans.
        let _ = unsafe { libc::pthread_atfork(None, None, Some(forget)) };
    });
}

/// Only the thread that forks lives on, so that it is enough to forget that thread's seed.
extern "C" fn forget() {
    thread::with(|thread| thread.random.forget());
    Core::all().for_each(Core::is_in_child);
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, pipe},
        os::fd::AsRawFd,
        time::{Duration, Instant},
    };

    use super::super::{SinkError, Tracer, finished::FinishedSpan, sink::SpanSink};

    const LIMIT: Duration = Duration::from_secs(20);

    struct Nowhere;

    impl SpanSink for Nowhere {
        fn export(&mut self, _batch: &[FinishedSpan]) -> Result<(), SinkError> {
            Ok(())
        }
    }

    /// What `f` says in a child, which must do only what a child may.
    fn in_child(f: impl FnOnce() -> u8) -> u8 {
        let (mut theirs, ours) = pipe().unwrap();
        // SAFETY: The child calls only what may be called after a fork of a process with threads.
        let child = unsafe { libc::fork() };
        if child == 0 {
            let said = f();
            // SAFETY: The pointer is to one byte; the process ends here.
            unsafe {
                libc::write(ours.as_raw_fd(), (&raw const said).cast(), 1);
                libc::_exit(0);
            }
        }
        drop(ours);
        let mut said = [0];
        let read = theirs.read_exact(&mut said);
        // SAFETY: The child is ours.
        unsafe { libc::waitpid(child, std::ptr::null_mut(), 0) };
        read.unwrap();
        said[0]
    }

    #[test]
    fn a_tracer_of_the_parent_has_no_sink_in_the_child() {
        let builder = Tracer::builder("test").sample_rate(1.0).sink(Nowhere);
        let tracer = builder.build().unwrap();
        // The thread has then what it needs, so that the child allocates nothing.
        tracer.start_span("before").end();
        let open = tracer.start_span("open");
        let said = in_child(|| {
            let start = Instant::now();
            let is_recording = tracer.start_span("child").is_recording();
            let has_worked = tracer.flush(LIMIT) || tracer.shutdown(LIMIT);
            let is_late = start.elapsed() > LIMIT / 2;
            let has_numbers = tracer.stats().recorded > 0;
            [is_recording, has_worked, is_late, has_numbers]
                .iter()
                .fold(0, |said, bit| said << 1 | u8::from(*bit))
        });
        assert_eq!(said, 0, "{said:b}");
        // Nothing of that is so in the parent.
        assert!(open.is_recording());
        open.end();
        assert!(tracer.flush(LIMIT));
        assert_eq!(tracer.stats().exported, 2);
    }
}
