//! The current span of each thread, where a program outside of the process can find it.
//!
//! This is OpenTelemetry's thread context (its proposal 4947): a variable of each thread by the name
//! `otel_thread_ctx_v1`, which points to a record of the thread's. Whoever interrupts the thread, as a
//! sampling profiler does, sees in which span it is. Knows neither spans nor who reads.
//!
//! The variable is a symbol that the linker knows as one of threads, which Rust has no stable way to
//! make. Readers find it among a file's dynamic symbols; an executable has it there if it is linked
//! with `-Wl,--export-dynamic-symbol=otel_thread_ctx_v1`. For one that is not, and whose other symbols
//! were removed, there is a note (owner `StratoSwarm`, type 1) with the variable's place in the file's
//! block of such variables. The note is for x86-64: on arm64 assemblers cannot write that place down.

use std::{
    cell::UnsafeCell,
    ptr,
    sync::atomic::{Ordering, compiler_fence},
};

#[cfg(all(
    target_os = "linux",
    any(target_arch = "x86_64", target_arch = "aarch64"),
    not(miri)
))]
mod variable;

/// No such variable: nobody outside of the process can find the record.
#[cfg(not(all(
    target_os = "linux",
    any(target_arch = "x86_64", target_arch = "aarch64"),
    not(miri)
)))]
mod variable {
    pub(super) fn point_to(_record: *mut super::Record) {}
}

#[cfg(all(
    test,
    target_os = "linux",
    any(target_arch = "x86_64", target_arch = "aarch64"),
    not(miri)
))]
mod tests;

/// What the variable points to; the proposal says which bytes are what.
#[repr(C, align(8))]
struct Record {
    trace_id: [u8; 16],
    span_id: [u8; 8],
    /// 1 if it is to be believed; everything else is written while this is 0.
    valid: u8,
    flags: u8,
    /// Bytes of attributes behind it: there are none.
    attributes: u16,
}

const _: () = assert!(std::mem::offset_of!(Record, attributes) == 16 + 8 + 1 + 1);

/// A thread's record, and whether its variable points there.
struct Thread {
    record: UnsafeCell<Record>,
    is_known: UnsafeCell<bool>,
}

thread_local! {
    /// Needs no destructor, so that it can be used as long as there is a thread.
    static THREAD: Thread = const {
        Thread {
            record: UnsafeCell::new(Record {
                trace_id: [0; 16],
                span_id: [0; 8],
                valid: 0,
                flags: 0,
                attributes: 0,
            }),
            is_known: UnsafeCell::new(false),
        }
    };
}

/// This thread's current span is now this one.
#[inline]
pub(crate) fn publish(trace_id: u128, span_id: u64, flags: u8) {
    THREAD.with(|thread| {
        let record = thread.record.get();
        // SAFETY: the thread's own, of which nobody has a reference. Each write is volatile, and none
        // is moved past another, because whoever interrupts the thread may read at any moment. That
        // stops or is on the thread's own CPU, so that nothing more is needed.
        unsafe {
            (&raw mut (*record).valid).write_volatile(0);
            compiler_fence(Ordering::SeqCst);
            (&raw mut (*record).trace_id).write_volatile(trace_id.to_be_bytes());
            (&raw mut (*record).span_id).write_volatile(span_id.to_be_bytes());
            (&raw mut (*record).flags).write_volatile(flags);
            compiler_fence(Ordering::SeqCst);
            (&raw mut (*record).valid).write_volatile(1);
            if !ptr::replace(thread.is_known.get(), true) {
                variable::point_to(record);
            }
        }
    });
}

/// This thread has no current span.
#[inline]
pub(crate) fn clear() {
    THREAD.with(|thread| {
        // SAFETY: as above.
        unsafe { (&raw mut (*thread.record.get()).valid).write_volatile(0) }
    });
}
