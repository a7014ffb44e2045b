//! What polls cost in time and memory, and many who ask at once.

use std::{fs, thread, time::Duration};

use super::rig::Sim;

/// CPU time of this process's threads that are the monitors' own, by the kernel's count.
fn cpu_time() -> Duration {
    let mut usage = std::mem::MaybeUninit::<libc::timespec>::zeroed();
    // SAFETY: the room is of the call's own type.
    let result = unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, usage.as_mut_ptr()) };
    assert_eq!(result, 0);
    // SAFETY: the call has filled it.
    let time = unsafe { usage.assume_init() };
    Duration::new(time.tv_sec.try_into().unwrap(), time.tv_nsec.try_into().unwrap())
}

/// Resident memory, in bytes.
fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = status.split_whitespace().nth(1).unwrap().parse().unwrap();
    pages * 4096
}
