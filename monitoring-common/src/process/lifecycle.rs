//! How processes start, change and end, counted by agent.

/// Signals have the numbers 1 to 64; slot 0 stays empty.
pub const SIGNALS: usize = 65;

/// What has happened to an agent's processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Lifecycle {
    /// Processes that became this agent's: forked by one of its processes, or turned into one by
    /// what they executed.
    pub started: u64,
    /// Programs executed.
    pub executed: u64,
    /// Processes that ended with code 0.
    pub succeeded: u64,
    /// Processes that ended with another code.
    pub failed: u64,
    /// Processes that the kernel killed for lack of memory. They are in `signalled`, too.
    pub out_of_memory: u64,
    /// Processes that a signal ended, by its number.
    pub signalled: [u64; SIGNALS],
}

const _: () = assert!(size_of::<Lifecycle>() == 8 * (5 + SIGNALS));
crate::plain_data!(Lifecycle);

/// `SIGKILL`, by which the kernel ends processes when it is out of memory.
const SIGKILL: u32 = 9;

impl Lifecycle {
    /// Nothing happened yet.
    pub const EMPTY: Self = Self {
        started: 0,
        executed: 0,
        succeeded: 0,
        failed: 0,
        out_of_memory: 0,
        signalled: [0; SIGNALS],
    };

    /// Counts a process's end. `status` is as `wait` says it: the signal in the low 7 bits, or the
    /// code in the next 8.
    #[inline(always)]
    pub fn count_end(&mut self, status: u32, out_of_memory: bool) {
        let signal = status & 0x7f;
        if signal != 0 {
            if let Some(count) = self.signalled.get_mut(signal as usize) {
                *count += 1;
            }
            self.out_of_memory += u64::from(out_of_memory && signal == SIGKILL);
        } else if status & 0xff00 == 0 {
            self.succeeded += 1;
        } else {
            self.failed += 1;
        }
    }

    /// Adds what was counted elsewhere.
    pub fn merge(&mut self, other: &Self) {
        self.started += other.started;
        self.executed += other.executed;
        self.succeeded += other.succeeded;
        self.failed += other.failed;
        self.out_of_memory += other.out_of_memory;
        for (sum, count) in self.signalled.iter_mut().zip(&other.signalled) {
            *sum += count;
        }
    }

    /// Processes that a signal ended.
    #[must_use]
    pub fn all_signalled(&self) -> u64 {
        self.signalled.iter().sum()
    }

    /// Processes that ended, however.
    #[must_use]
    pub fn ended(&self) -> u64 {
        self.succeeded + self.failed + self.all_signalled()
    }
}

#[cfg(test)]
mod tests {
    use super::Lifecycle;

    #[test]
    fn ends_are_told_apart_as_by_wait() {
        let check = |status: u32, out_of_memory: bool, want: fn(&mut Lifecycle)| {
            let (mut counted, mut wanted) = (Lifecycle::EMPTY, Lifecycle::EMPTY);
            counted.count_end(status, out_of_memory);
            want(&mut wanted);
            assert_eq!(counted, wanted, "{status:#x}");
            assert_eq!(counted.ended(), 1);
        };
        check(0, false, |sum| sum.succeeded = 1);
        check(0x0100, false, |sum| sum.failed = 1);
        check(0xff00, false, |sum| sum.failed = 1);
        check(11, false, |sum| sum.signalled[11] = 1);
        // With a core dump.
        check(0x80 | 6, false, |sum| sum.signalled[6] = 1);
        check(64, false, |sum| sum.signalled[64] = 1);
        check(9, true, |sum| {
            sum.signalled[9] = 1;
            sum.out_of_memory = 1;
        });
        // Chosen by the kernel, but ended by itself before the signal came.
        check(0x0200, true, |sum| sum.failed = 1);
    }

    #[test]
    fn sums_are_of_everything() {
        let mut sum = Lifecycle::EMPTY;
        for status in [0, 0x0100, 9, 9, 64] {
            let mut one = Lifecycle::EMPTY;
            one.started = 1;
            one.executed = 2;
            one.count_end(status, true);
            sum.merge(&one);
        }
        assert_eq!((sum.started, sum.executed), (5, 10));
        assert_eq!(
            (sum.ended(), sum.all_signalled(), sum.out_of_memory),
            (5, 3, 2)
        );
    }
}
