//! The clock that simulated work runs by, and waiting on it.

use std::{
    hint, thread,
    time::{Duration, Instant},
};

/// The end of a wait is spun out, because a sleep ends about this much late.
const SPIN_NS: u64 = 100_000;

/// Nanoseconds since the process first asked; never 0.
pub fn now_ns() -> u64 {
    static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    let since = START.get_or_init(Instant::now).elapsed();
    u64::try_from(since.as_nanos()).map_or(u64::MAX, |ns| ns + 1)
}

/// Returns at this time of [`now_ns`], or at once if it has passed. 0 costs no look at the clock.
pub fn wait_until(end_ns: u64) {
    if end_ns == 0 {
        return;
    }
    loop {
        let left = end_ns.saturating_sub(now_ns());
        match left {
            0 => return,
            1..=SPIN_NS => hint::spin_loop(),
            _ => thread::sleep(Duration::from_nanos(left - SPIN_NS)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_no_less_than_asked() {
        for wait_ns in [0, 1, 50_000, 2_000_000] {
            let end = now_ns() + wait_ns;
            wait_until(end);
            assert!(now_ns() >= end, "{wait_ns}");
        }
    }
}
