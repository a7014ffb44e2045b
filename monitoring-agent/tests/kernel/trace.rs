//! Spans as the kernel tells of them: the right events, each counted once, and whose they are. The truth
//! is what the test did, by its own clock, which is the kernel's monotonic one as well.

mod assembled;
mod disks;
mod joined;
mod net;
mod off;
mod process;
mod program;
mod reader;
pub(crate) mod ring;
mod sched;
mod system_calls;

use std::time::Duration;

use monitoring_common::trace::{Header, flags};

/// What a clock reads now, as events are timed.
fn now_ns() -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the result lives across the call.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    let parts = [time.tv_sec, time.tv_nsec].map(|part| u64::try_from(part).unwrap());
    parts[0] * 1_000_000_000 + parts[1]
}

/// Asserts that a span has the length of what the test measured by itself, within 5 % and 50 µs.
fn assert_lasted(what: &str, header: &Header, measured: Duration) {
    let lasted = Duration::from_nanos(header.end_ns - header.start_ns);
    let tolerance = measured.mul_f64(0.05) + Duration::from_micros(50);
    assert!(
        lasted.abs_diff(measured) <= tolerance,
        "{what} lasted {lasted:?}, and by the test's clock {measured:?}"
    );
}

/// Whether an event is told of as one that failed.
fn has_failed(header: &Header) -> bool {
    header.flags & flags::FAILED != 0
}

/// A name as the kernel keeps it, of the calling thread.
fn comm() -> [u8; 16] {
    let mut name = [0_u8; 16];
    // SAFETY: the call writes at most 16 bytes.
    unsafe { libc::prctl(libc::PR_GET_NAME, name.as_mut_ptr()) };
    name
}

/// The calling thread's number.
fn gettid() -> u32 {
    // SAFETY: the call has no arguments and cannot fail.
    unsafe { libc::gettid() }.cast_unsigned()
}
