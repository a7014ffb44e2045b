//! Files of /proc and calls of the kernel that tell of this process, in base units.
//!
//! Knows no metrics.

use std::{fs, mem::MaybeUninit, sync::OnceLock};

/// CPU time of all threads, also of those that have ended, in seconds. To the nanosecond, where
/// /proc has ticks of ten milliseconds.
pub(super) fn cpu_seconds() -> Option<f64> {
    let mut time = MaybeUninit::<libc::timespec>::uninit();
    // SAFETY: the pointer is to room for one time, which the call fills when it returns 0.
    let time = unsafe {
        (libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, time.as_mut_ptr()) == 0)
            .then(|| time.assume_init())
    }?;
    Some(time.tv_sec as f64 + time.tv_nsec as f64 / 1e9)
}

/// Address space and resident memory, in bytes.
pub(super) fn memory() -> Option<(f64, f64)> {
    let text = fs::read_to_string("/proc/self/statm").ok()?;
    memory_of(&text, setting(libc::_SC_PAGESIZE)?)
}

/// The number of threads, and when the process started, in seconds since the beginning of 1970.
pub(super) fn threads_and_start() -> Option<(f64, f64)> {
    // When the machine booted is what its clock said then, or what it was set to since. The process
    // stands by what it was told first, as its start does not change.
    static BOOTED: OnceLock<Option<f64>> = OnceLock::new();
    let text = fs::read_to_string("/proc/self/stat").ok()?;
    let (threads, start_ticks) = threads_and_start_of(&text)?;
    let booted = BOOTED.get_or_init(|| boot_time_of(&fs::read_to_string("/proc/stat").ok()?));
    let start_seconds = (*booted)? + start_ticks / setting(libc::_SC_CLK_TCK)?;
    Some((threads, start_seconds))
}

/// The number of open file descriptors, without the one by which they are counted.
pub(super) fn open_fds() -> Option<f64> {
    let entries = fs::read_dir("/proc/self/fd").ok()?;
    Some(entries.count().checked_sub(1)? as f64)
}

/// How many file descriptors may be open; infinite if there is no limit.
pub(super) fn most_fds() -> Option<f64> {
    let mut limit = MaybeUninit::<libc::rlimit>::uninit();
    // SAFETY: the pointer is to room for one limit, which the call fills when it returns 0.
    let limit = unsafe {
        (libc::getrlimit(libc::RLIMIT_NOFILE, limit.as_mut_ptr()) == 0).then(|| limit.assume_init())
    }?;
    Some(if limit.rlim_cur == libc::RLIM_INFINITY {
        f64::INFINITY
    } else {
        limit.rlim_cur as f64
    })
}

fn setting(name: libc::c_int) -> Option<f64> {
    // SAFETY: the call takes a number, and knows which ones it knows.
    let value = unsafe { libc::sysconf(name) };
    (value > 0).then_some(value as f64)
}

/// The first two numbers of `statm` are in pages.
fn memory_of(statm: &str, page_size: f64) -> Option<(f64, f64)> {
    let mut pages = statm.split_whitespace().map(str::parse::<f64>);
    let mut next = || Some(pages.next()?.ok()? * page_size);
    Some((next()?, next()?))
}

/// Threads, and ticks since the machine booted. The name in `stat` may contain anything, also spaces
/// and parentheses; the state follows its last parenthesis, and is field 3.
fn threads_and_start_of(stat: &str) -> Option<(f64, f64)> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace();
    let threads = fields.nth(20 - 3)?.parse().ok()?;
    let start_ticks = fields.nth(22 - 21)?.parse().ok()?;
    Some((threads, start_ticks))
}

fn boot_time_of(stat: &str) -> Option<f64> {
    let time = stat.lines().find_map(|line| line.strip_prefix("btime "))?;
    time.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn process_metrics_read_stat() {
        let check = |stat: &str, want| assert_eq!(threads_and_start_of(stat), want, "{stat}");
        let fields = "S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 7 0 1234 19 20";
        check(&format!("1 (name) {fields}"), Some((7.0, 1234.0)));
        check(&format!("1 (a) b (c) d) {fields}"), Some((7.0, 1234.0)));
        check("1 (name) S 1 2", None);
        check("1 name", None);
        check("", None);
    }

    #[test]
    fn process_metrics_read_statm_and_boot_time() {
        assert_eq!(
            memory_of("10 5 3 1 0 9 0\n", 4096.0),
            Some((40960.0, 20480.0))
        );
        assert_eq!(memory_of("10\n", 4096.0), None);
        assert_eq!(memory_of("ten 5", 4096.0), None);
        assert_eq!(
            boot_time_of("cpu 1 2\nbtime 1700000000\nprocesses 3\n"),
            Some(1.7e9)
        );
        assert_eq!(boot_time_of("cpu 1 2\n"), None);
    }
}
