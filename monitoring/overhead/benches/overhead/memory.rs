//! How much memory this process has.

use std::fs;

/// Memory in use, as the kernel counts it (`VmRSS`).
pub(crate) fn resident_bytes() -> u64 {
    of_status("VmRSS:")
}

/// The most that was ever in use (`VmHWM`).
pub(crate) fn peak_bytes() -> u64 {
    of_status("VmHWM:")
}

fn of_status(name: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("proc is mounted");
    let mut lines = status.lines();
    let words = lines.find_map(|line| line.strip_prefix(name));
    let number = words.and_then(|words| words.split_whitespace().next());
    let kib: u64 = number
        .and_then(|number| number.parse().ok())
        .expect("the kernel counts this in KiB");
    kib * 1024
}

/// What is allocated and not freed, with what the allocator needs for itself.
pub(crate) fn heap_bytes() -> usize {
    // SAFETY: the function has no arguments.
    let info = unsafe { libc::mallinfo2() };
    info.uordblks + info.hblkhd
}
