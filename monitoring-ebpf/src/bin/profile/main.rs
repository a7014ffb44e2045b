//! Profiles: stacks of what runs, what waits and what makes memory grow, counted in the kernel.
//!
//! The agent loads this object once for each session, with the programs of the session's kind. A
//! session's programs never run in the middle of each other on one CPU, so that each CPU needs room
//! for one stack only.

#![no_std]
#![no_main]
#![allow(
    clippy::needless_pass_by_value,
    reason = "the attribute macros hand the context over"
)]

mod counts;
mod growth;
mod registers;
mod stack;
mod waits;

use aya_ebpf::{
    EbpfContext as _, Global, helpers::bpf_get_current_pid_tgid, macros::perf_event,
    programs::PerfEventContext,
};
use monitoring_common::profile::mode::{KERNEL, USER};
use monitoring_ebpf::{ABSENT, object, task_storage::Task};

object!();

/// Only this process is looked at; 0 for all.
#[unsafe(no_mangle)]
static FILTER_PID: Global<u32> = Global::new(0);

/// What a sample is worth, in nanoseconds.
#[unsafe(no_mangle)]
static PERIOD_NS: Global<u32> = Global::new(0);

/// Offset of `mm` in `task_struct`.
#[unsafe(no_mangle)]
static SPACE_OFFSET: Global<u32> = Global::new(ABSENT);

/// Programs at perf events exist since 4.9; storage for a count must be preallocated before 6.1, as
/// it is here. Runs in an interrupt, of which the kernel's hardware events cannot be masked.
///
/// Idle tasks have the number 0. The event leaves them out; those of events that cannot are left
/// out here.
#[perf_event]
fn on_sample(ctx: PerfEventContext) -> u32 {
    let Some(who) = Who::is_current() else {
        return 0;
    };
    let mode = if registers::in_program(&ctx) {
        USER
    } else {
        KERNEL
    };
    if let Some(stack) = stack::take(ctx.as_ptr(), &who, mode) {
        counts::count(stack, 1, PERIOD_NS.load().into());
    }
    0
}

/// A thread that is to be looked at.
#[derive(Clone, Copy)]
pub(crate) struct Who {
    task: Task,
    process: u32,
    thread: u32,
}

impl Who {
    /// The running thread, if it is to be looked at.
    #[inline(always)]
    #[allow(clippy::cast_possible_truncation, reason = "two halves of a word")]
    fn is_current() -> Option<Self> {
        let ids = bpf_get_current_pid_tgid();
        let (process, thread) = ((ids >> 32) as u32, ids as u32);
        is_wanted(process, thread).then(|| Self {
            task: Task::current(),
            process,
            thread,
        })
    }
}

/// Whether a thread is to be looked at. Idle tasks are not.
#[inline(always)]
fn is_wanted(process: u32, thread: u32) -> bool {
    let filter = FILTER_PID.load();
    thread != 0 && (filter == 0 || filter == process)
}
