//! Which counter is the clock of this process, and reading it.
//!
//! Knows nothing of how long a tick is.

use std::{
    sync::{
        OnceLock,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use super::calibration::Anchor;

/// What all readings of this process have in common.
#[derive(Debug)]
pub(super) struct Start {
    /// Whether ticks are those of the processor, and not the operating system's nanoseconds.
    by_processor: bool,
    /// Where the operating system's clock counts from.
    zero: Duration,
    /// How the clocks compared before the first tick was handed out.
    pub(super) anchor: Anchor,
}

/// Set once it is known that the processor's counter can be trusted.
static BY_PROCESSOR: AtomicBool = AtomicBool::new(false);

static START: OnceLock<Start> = OnceLock::new();

/// The ticks of this moment.
#[inline]
pub(super) fn read() -> u64 {
    if BY_PROCESSOR.load(Relaxed) {
        return read_processor();
    }
    read_carefully()
}

/// The first moment of this process's clock, which is now if it was not read yet.
pub(super) fn start() -> &'static Start {
    let start = START.get_or_init(Start::now);
    BY_PROCESSOR.store(start.by_processor, Relaxed);
    start
}

/// The ticks of this moment if it is not known yet which clock counts, or if it is not the
/// processor's.
#[cold]
fn read_carefully() -> u64 {
    start().read()
}

impl Start {
    fn now() -> Self {
        let by_processor = processor_is_steady();
        let zero = since_boot();
        let anchor = Anchor::now(|| read_by(by_processor, zero));
        Self {
            by_processor,
            zero,
            anchor,
        }
    }

    pub(super) fn read(&self) -> u64 {
        read_by(self.by_processor, self.zero)
    }
}

fn read_by(by_processor: bool, zero: Duration) -> u64 {
    if by_processor {
        return read_processor();
    }
    let elapsed = since_boot().saturating_sub(zero);
    u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX)
}

/// The operating system's clock that goes on while the machine is suspended, as the processor's
/// counter does.
pub(super) fn since_boot() -> Duration {
    // Miri does not know that clock.
    let clock = if cfg!(miri) {
        libc::CLOCK_MONOTONIC
    } else {
        libc::CLOCK_BOOTTIME
    };
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: The pointer is to such a struct. Every Linux since 2.6.39 has the clock.
    let failed = unsafe { libc::clock_gettime(clock, &raw mut time) };
    debug_assert_eq!(failed, 0, "the clock cannot be read");
    let nanoseconds = u32::try_from(time.tv_nsec).unwrap_or_default();
    Duration::new(u64::try_from(time.tv_sec).unwrap_or_default(), nanoseconds)
}

/// The time stamp counter.
///
/// The processor may execute it a few instructions early or late. To wait for what is before it
/// would take longer than the error is.
#[cfg(all(target_arch = "x86_64", not(miri)))]
#[inline]
fn read_processor() -> u64 {
    // SAFETY: Every x86-64 processor has the instruction, and Linux leaves it to user space.
    unsafe { core::arch::x86_64::_rdtsc() }
}

/// The virtual counter of the architecture's generic timer.
#[cfg(all(target_arch = "aarch64", not(miri)))]
#[inline]
fn read_processor() -> u64 {
    let ticks: u64;
    // SAFETY: Linux lets user space read this register, which changes nothing.
    unsafe {
        core::arch::asm!("mrs {}, cntvct_el0", out(reg) ticks, options(nomem, nostack, preserves_flags));
    }
    ticks
}

#[cfg(any(miri, not(any(target_arch = "x86_64", target_arch = "aarch64"))))]
fn read_processor() -> u64 {
    unreachable!("this target's counter is never chosen")
}

/// Whether the time stamp counter has one rate, whatever the processor does, and is the same on
/// all processors. The first is what the processor says, the second what the kernel has found: it
/// takes the counter from its list once it has seen it go wrong.
#[cfg(all(target_arch = "x86_64", not(miri)))]
fn processor_is_steady() -> bool {
    use core::arch::x86_64::__cpuid;

    const EXTENDED: u32 = 0x8000_0000;
    const POWER: u32 = 0x8000_0007;
    const INVARIANT_TSC: u32 = 1 << 8;
    const SOURCES: &str = "/sys/devices/system/clocksource/clocksource0/available_clocksource";

    let has_leaf = __cpuid(EXTENDED).eax >= POWER;
    let is_invariant = has_leaf && __cpuid(POWER).edx & INVARIANT_TSC != 0;
    let is_listed = || {
        let sources = std::fs::read_to_string(SOURCES).unwrap_or_default();
        sources.split_whitespace().any(|source| source == "tsc")
    };
    is_invariant && is_listed()
}

/// The architecture demands of the generic timer what is to be found out on others.
#[cfg(all(target_arch = "aarch64", not(miri)))]
fn processor_is_steady() -> bool {
    true
}

#[cfg(any(miri, not(any(target_arch = "x86_64", target_arch = "aarch64"))))]
fn processor_is_steady() -> bool {
    false
}
