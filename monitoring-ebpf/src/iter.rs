//! Iterators: programs that the kernel runs once for each of its objects when the agent asks.
//!
//! aya-ebpf has no attribute for them yet; a program is a function `fn(*mut IterTask) -> i32` in
//! the section `iter/task`. Since 5.8.

use core::ptr;

use aya_ebpf::{
    bindings::{seq_file, task_struct},
    cty::c_void,
    helpers::generated::bpf_seq_write,
};

use crate::task_storage::Task;

/// `struct bpf_iter_meta` of the kernel's `include/linux/bpf.h`, whose layout is fixed.
#[repr(C)]
struct Meta {
    seq: *mut seq_file,
}

/// What an iterator over tasks gets: `struct bpf_iter__task` of the kernel's
/// `kernel/bpf/task_iter.c`, whose layout is fixed.
#[repr(C)]
pub struct IterTask {
    meta: *mut Meta,
    task: *mut task_struct,
}

impl IterTask {
    /// The task of this run, `None` in the run that follows the last task.
    ///
    /// # Safety
    ///
    /// `context` must be what the kernel gave the program.
    #[inline(always)]
    pub unsafe fn task(context: *mut Self) -> Option<Task> {
        // SAFETY: the verifier checks the access to the context.
        let task = unsafe { (&raw const (*context).task).read_volatile() };
        (!task.is_null()).then(|| Task::from_argument(task))
    }
    /// Writes a record for the reader of the iterator. `false` when it has no room now: the kernel
    /// then runs the program once more for the same task, so that nothing may have been counted.
    ///
    /// # Safety
    ///
    /// `context` must be what the kernel gave the program, and `T` must have no padding.
    #[inline(always)]
    #[must_use]
    #[allow(clippy::cast_possible_truncation, reason = "records are small")]
    pub unsafe fn write<T>(context: *mut Self, record: &T) -> bool {
        // SAFETY: the verifier checks the accesses to the context and the record's bounds.
        unsafe {
            let meta = (&raw const (*context).meta).read_volatile();
            let seq = (&raw const (*meta).seq).read_volatile();
            bpf_seq_write(seq, ptr::from_ref(record).cast(), size_of::<T>() as u32) == 0
        }
    }
}

/// What an iterator over open files gets: `struct bpf_iter__task_file` of the same file.
#[repr(C)]
pub struct IterTaskFile {
    meta: *mut c_void,
    task: *mut task_struct,
    descriptor: u64,
    file: *mut c_void,
}

impl IterTaskFile {
    /// The process and the file of this run, `None` in the run that follows the last file.
    ///
    /// # Safety
    ///
    /// `context` must be what the kernel gave the program.
    #[inline(always)]
    pub unsafe fn task_and_file(context: *mut Self) -> Option<(Task, *mut c_void)> {
        // SAFETY: the verifier checks the accesses to the context.
        let (task, file) = unsafe {
            (
                (&raw const (*context).task).read_volatile(),
                (&raw const (*context).file).read_volatile(),
            )
        };
        (!task.is_null() && !file.is_null()).then(|| (Task::from_argument(task), file))
    }
}
