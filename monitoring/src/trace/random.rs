//! Random numbers for ids: each thread has its own, so that none waits for another.
//!
//! Knows nothing of what they are used for.

use std::cell::Cell;

use super::fork;

/// What the steps of a weak generator have fewer of: changes from one bit to the next.
const LEAST_CHANGES: u32 = 24;

/// A thread's generator: `SplitMix` of Steele, Lea and Flood, with a random step as well as a random
/// start. That these 127 bits are the same for two threads of a cluster is as good as impossible,
/// and so is that they ever draw the same two numbers in turn.
///
/// From one number to the next there is but an addition. The rest of the work for one is done by the
/// processor while it does something else.
///
/// It is no secret what it draws next, so that it is for ids, and not for keys.
pub(super) struct Random {
    at: Cell<u64>,
    /// Odd; 0 until it is seeded.
    step: Cell<u64>,
}

impl Random {
    pub(super) const fn unseeded() -> Self {
        Self {
            at: Cell::new(0),
            step: Cell::new(0),
        }
    }

    /// 64 random bits.
    #[inline]
    pub(super) fn draw(&self) -> u64 {
        if self.step.get() == 0 {
            self.seed();
        }
        let at = self.at.get().wrapping_add(self.step.get());
        self.at.set(at);
        mixed(at)
    }

    /// Random bits, not all of them 0.
    #[inline]
    pub(super) fn draw_id(&self) -> u64 {
        self.draw().max(1)
    }

    #[cold]
    #[inline(never)]
    fn seed(&self) {
        const WHY: &str = "the kernel has random numbers for everybody";
        fork::prepare();
        let word = || getrandom::u64().expect(WHY);
        self.at.set(word());
        self.step.set(step(word()));
    }

    /// The next draw seeds it anew: a process that forks goes on in its child with a copy of the
    /// generator, and would draw there what its parent draws.
    pub(super) fn forget(&self) {
        self.step.set(0);
    }
}

/// A step of random bits that is not a weak one.
fn step(random: u64) -> u64 {
    let step = random | 1;
    if (step ^ (step >> 1)).count_ones() < LEAST_CHANGES {
        step ^ 0xaaaa_aaaa_aaaa_aaaa
    } else {
        step
    }
}

/// All bits of the number depend on all bits of this one, and no two numbers become the same. The
/// constants are the thirteenth ones of Stafford, which he found best.
#[inline]
fn mixed(at: u64) -> u64 {
    let at = (at ^ (at >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let at = (at ^ (at >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    at ^ (at >> 31)
}

#[cfg(test)]
mod tests {
    use std::{collections::HashSet, thread};

    use super::*;

    #[test]
    fn draws_are_those_of_the_published_generator() {
        // With the golden ratio as its step and a seed of 1234567 it is Java's, whose first numbers
        // are known.
        let random = Random {
            at: Cell::new(1_234_567),
            step: Cell::new(0x9e37_79b9_7f4a_7c15),
        };
        let drawn: Vec<u64> = (0..5).map(|_| random.draw()).collect();
        let known = [
            6_457_827_717_110_365_317,
            3_203_168_211_198_807_973,
            9_817_491_932_198_370_423,
            4_593_380_528_125_082_431,
            16_408_922_859_458_223_821,
        ];
        assert_eq!(drawn, known);
    }

    #[test]
    fn steps_are_odd_and_not_weak() {
        for random in [0, 1, u64::MAX, 0xff00_ff00_ff00_ff00, 0x9e37_79b9_7f4a_7c15] {
            let step = step(random);
            assert_eq!(step % 2, 1, "{random:x}");
            assert!(
                (step ^ (step >> 1)).count_ones() >= LEAST_CHANGES,
                "{random:x}"
            );
        }
    }

    #[test]
    fn no_two_threads_draw_the_same() {
        let draw = || -> Vec<u64> {
            let random = Random::unseeded();
            (0..1000).map(|_| random.draw_id()).collect()
        };
        let threads: Vec<_> = (0..4).map(|_| thread::spawn(draw)).collect();
        let drawn = threads
            .into_iter()
            .flat_map(|thread| thread.join().unwrap());
        assert_eq!(drawn.collect::<HashSet<u64>>().len(), 4000);
    }

    #[test]
    fn a_forked_child_draws_otherwise() {
        let drawn = super::super::thread::with(|thread| thread.random.draw());
        assert_ne!(drawn, 0);
        let mut pipe = [0; 2];
        // SAFETY: The array has room for both ends.
        assert_eq!(unsafe { libc::pipe(pipe.as_mut_ptr()) }, 0);
        // SAFETY: The child calls only what may be called after a fork of a process with threads.
        let child = unsafe { libc::fork() };
        if child == 0 {
            let drawn = super::super::thread::with(|thread| thread.random.draw());
            // SAFETY: The pointer is to as many bytes; the process ends here.
            unsafe {
                libc::write(pipe[1], (&raw const drawn).cast(), 8);
                libc::_exit(0);
            }
        }
        let mut theirs = 0_u64;
        // SAFETY: The pointer is to as many bytes, and the child is ours.
        let length = unsafe {
            let length = libc::read(pipe[0], (&raw mut theirs).cast(), 8);
            libc::waitpid(child, std::ptr::null_mut(), 0);
            libc::close(pipe[0]);
            libc::close(pipe[1]);
            length
        };
        assert_eq!(length, 8);
        assert_ne!(
            theirs,
            super::super::thread::with(|thread| thread.random.draw())
        );
    }
}
