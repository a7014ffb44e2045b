//! Where memory grows: pages that page faults bring, and address space that calls make.
//!
//! What a fault brings is what the kernel allocates for users on behalf of the thread between the
//! fault's beginning and its end, huge pages included. A fault for which nothing is allocated, such as
//! one for a file's page that is in memory already, brings one page. So does one for a page of
//! hugetlbfs, which comes out of a pool. Pages that a call brings by itself, such as `mmap` with
//! `MAP_POPULATE`, are no faults and are not seen.

use aya_ebpf::{
    EbpfContext as _, Global,
    macros::{btf_map, perf_event, raw_tracepoint},
    programs::{PerfEventContext, RawTracePointContext},
};
use monitoring_common::profile::{
    Growing,
    lost::TASK_STATE,
    memory::{MAPPED, RESIDENT},
    mode::{KERNEL, USER},
};
use monitoring_ebpf::{
    ABSENT,
    lost::lost,
    task_storage::{Task, TaskStorage},
};

use crate::{
    SPACE_OFFSET, Who, counts,
    registers::{self, Registers},
    stack,
};

/// A page's bytes are 2 to this power.
#[unsafe(no_mangle)]
static PAGE_SHIFT: Global<u32> = Global::new(0);

/// Offset in `mm_struct` of the end of the heap.
#[unsafe(no_mangle)]
static HEAP_END_OFFSET: Global<u32> = Global::new(ABSENT);

/// Offsets in `pt_regs`: the running call's number, its second and its third argument.
#[unsafe(no_mangle)]
static NUMBER_OFFSET: Global<u32> = Global::new(ABSENT);
#[unsafe(no_mangle)]
static SECOND_OFFSET: Global<u32> = Global::new(ABSENT);
#[unsafe(no_mangle)]
static THIRD_OFFSET: Global<u32> = Global::new(ABSENT);

/// Calls that make address space.
#[unsafe(no_mangle)]
static MMAP: Global<u32> = Global::new(ABSENT);
#[unsafe(no_mangle)]
static MREMAP: Global<u32> = Global::new(ABSENT);
#[unsafe(no_mangle)]
static BRK: Global<u32> = Global::new(ABSENT);

/// What each thread remembers.
#[btf_map]
static GROWING: TaskStorage<Growing> = TaskStorage::new();

/// Memory for users may be anywhere and be moved: `__GFP_HIGHMEM` and `__GFP_MOVABLE` of the kernel's
/// `include/linux/gfp_types.h`, whose values are those of the zones that they select.
const FOR_USERS: u64 = 0x02 | 0x08;

/// Largest power of two of pages that the kernel allocates at once, and more.
const MAX_ORDER: u64 = 31;

/// Results from here on are errors: `MAX_ERRNO` of the kernel's `include/linux/err.h`.
const FIRST_ERROR: u64 = u64::MAX - 4094;

/// The software event of page faults: before the kernel looks for what is wanted. Runs in the task, with
/// preemption off.
#[perf_event]
fn on_fault(_: PerfEventContext) -> u32 {
    let Some(who) = Who::is_current() else {
        return 0;
    };
    if let Some(growing) = GROWING.get_or_create(who.task) {
        growing.pages = 0;
        growing.in_fault = 1;
    } else {
        lost(TASK_STATE);
    }
    0
}

/// `TP_PROTO(struct page *page, unsigned int order, gfp_t gfp_flags, int migratetype)`, since 2.6.32.
/// Runs in whoever allocates.
#[raw_tracepoint(tracepoint = "mm_page_alloc")]
fn on_page(ctx: RawTracePointContext) -> i32 {
    let flags: u64 = ctx.arg(2);
    if flags & FOR_USERS != FOR_USERS {
        return 0;
    }
    // There was no page to be had.
    if ctx.arg::<u64>(0) == 0 {
        return 0;
    }
    if let Some(growing) = GROWING.get(Task::current())
        && growing.in_fault != 0
    {
        growing.pages += 1 << (ctx.arg::<u64>(1) & MAX_ORDER);
    }
    0
}

/// The software events of minor and of major page faults: when the page is there. Since 5.9 this is so
/// on all machines. Run in the task, with preemption off.
#[perf_event]
fn on_fault_end(ctx: PerfEventContext) -> u32 {
    let Some(who) = Who::is_current() else {
        return 0;
    };
    let mut pages = 0;
    if let Some(growing) = GROWING.get(who.task) {
        pages = growing.pages;
        growing.pages = 0;
        growing.in_fault = 0;
    }
    let mode = if registers::in_program(&ctx) {
        USER
    } else {
        KERNEL
    };
    if let Some(stack) = stack::take(ctx.as_ptr(), &who, mode) {
        stack.head.key.reason = RESIDENT;
        counts::count(stack, 1, pages.max(1) << PAGE_SHIFT.load());
    }
    0
}

/// `TP_PROTO(struct pt_regs *regs, long id)`, since 4.17 for raw tracepoints. Runs in the task that
/// makes the call, with preemption off.
#[raw_tracepoint(tracepoint = "sys_enter")]
fn on_call(ctx: RawTracePointContext) -> i32 {
    if ctx.arg::<u64>(1) != u64::from(BRK.load()) {
        return 0;
    }
    let Some(who) = Who::is_current() else {
        return 0;
    };
    if let Some(growing) = GROWING.get_or_create(who.task) {
        growing.heap_end = heap_end(who.task);
    } else {
        lost(TASK_STATE);
    }
    0
}

/// `TP_PROTO(struct pt_regs *regs, long ret)`, likewise.
#[raw_tracepoint(tracepoint = "sys_exit")]
fn on_call_end(ctx: RawTracePointContext) -> i32 {
    let task = Task::current();
    let saved = task.registers();
    let number: u32 = saved.read(NUMBER_OFFSET.load());
    let (mmap, mremap, brk) = (MMAP.load(), MREMAP.load(), BRK.load());
    if number != mmap && number != mremap && number != brk {
        return 0;
    }
    let Some(who) = Who::is_current() else {
        return 0;
    };
    // In 32-bit programs these numbers are other calls'.
    if !Registers::of(task).is_some_and(|registers| registers.wide) {
        return 0;
    }
    let result: u64 = ctx.arg(1);
    if result >= FIRST_ERROR {
        return 0;
    }
    let second: u64 = saved.read(SECOND_OFFSET.load());
    let grown = if number == mmap {
        in_pages(second)
    } else if number == mremap {
        let third: u64 = saved.read(THIRD_OFFSET.load());
        in_pages(third).saturating_sub(in_pages(second))
    } else {
        let before = GROWING.get(who.task).map_or(0, |growing| growing.heap_end);
        if before == 0 {
            return 0;
        }
        in_pages(result).saturating_sub(in_pages(before))
    };
    if grown == 0 {
        return 0;
    }
    if let Some(stack) = stack::take(ctx.as_ptr(), &who, KERNEL) {
        stack.head.key.reason = MAPPED;
        counts::count(stack, 1, grown);
    }
    0
}

#[inline(always)]
fn heap_end(task: Task) -> u64 {
    task.follow(SPACE_OFFSET.load())
        .read(HEAP_END_OFFSET.load())
}

/// So many bytes in whole pages.
#[inline(always)]
fn in_pages(bytes: u64) -> u64 {
    let shift = PAGE_SHIFT.load();
    let page = 1_u64 << shift;
    (bytes.wrapping_add(page - 1) >> shift) << shift
}
