//! Time off the CPU: what has ended plus what still lasts, as values that never fall. Knows no map
//! and no metric.

use monitoring_common::sched::{InProgress, REASON_SLOTS, REASONS};

/// Nanoseconds by reason. 128 bits wide: 5,000 sleeping threads fill 64 bits in six weeks.
type Sums = [u128; REASONS];

const NS_PER_US: u128 = 1_000;

/// One agent's time off the CPU, in nanoseconds.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct OffCpu {
    /// The kernel's sums when they were last looked at; they wrap.
    seen: [u64; REASONS],
    /// What has ended, in full width.
    ended: Sums,
    /// The last values that were given out.
    shown: Sums,
}

impl OffCpu {
    /// The time in seconds until now, by reason. `ended_ns` must have been read before the pass
    /// that found `in_progress`: time that ends in between is then counted once and not twice.
    ///
    /// It may even be missing until the next collection. Then, and when a process that sleeps is
    /// given to another agent, the value stands still instead of falling.
    pub(super) fn seconds(
        &mut self,
        ended_ns: &[u64; REASON_SLOTS],
        in_progress: &InProgress,
    ) -> [f64; REASONS] {
        let mut seconds = [0.0; REASONS];
        for (reason, second) in seconds.iter_mut().enumerate() {
            let more_ns = ended_ns[reason].wrapping_sub(self.seen[reason]);
            self.seen[reason] = ended_ns[reason];
            self.ended[reason] += u128::from(more_ns);
            let lasting_ns = u128::from(in_progress.offcpu_us[reason]) * NS_PER_US;
            let now_ns = self.ended[reason] + lasting_ns;
            self.shown[reason] = self.shown[reason].max(now_ns);
            *second = self.shown[reason] as f64 / 1e9;
        }
        seconds
    }
}

#[cfg(test)]
mod tests {
    use monitoring_common::sched::reason::SLEEP;

    use super::*;

    /// Collections of one agent: ended nanoseconds, lasting microseconds, seconds wanted.
    #[allow(
        clippy::float_cmp,
        reason = "both are rounded once, from the same number"
    )]
    fn check(collections: &[(u64, u64, f64)]) {
        let mut offcpu = OffCpu::default();
        for (ended, lasting, want) in collections {
            let mut ended_ns = [0; REASON_SLOTS];
            let mut in_progress = InProgress::EMPTY;
            ended_ns[usize::from(SLEEP)] = *ended;
            in_progress.offcpu_us[usize::from(SLEEP)] = *lasting;
            let mut wanted = [0.0; REASONS];
            wanted[usize::from(SLEEP)] = *want;
            assert_eq!(offcpu.seconds(&ended_ns, &in_progress), wanted);
        }
    }

    #[test]
    fn a_sleep_shows_while_it_lasts_and_once_it_has_ended() {
        check(&[
            (0, 1_000_000, 1.0),
            (0, 2_000_000, 2.0),
            (2_500_000_000, 0, 2.5),
            (2_500_000_000, 500_000, 3.0),
        ]);
    }

    #[test]
    fn a_value_never_falls() {
        // Ended after the sums were read, and before the pass.
        check(&[(0, 5_000_000, 5.0), (0, 0, 5.0), (5_500_000_000, 0, 5.5)]);
    }

    #[test]
    fn the_kernels_sums_may_wrap() {
        let half = 1 << 63;
        let seconds = |ns: f64| ns / 1e9;
        check(&[
            (half, 0, seconds(2_f64.powi(63))),
            (0, 0, seconds(2_f64.powi(64))),
            (half, 0, seconds(2_f64.powi(63) * 3.0)),
        ]);
    }

    #[test]
    fn years_of_thousands_of_threads_fit() {
        let year_us = 365 * 86_400 * 1_000_000_u64;
        check(&[(0, 10_000 * year_us, 10_000.0 * 365.0 * 86_400.0)]);
    }
}
