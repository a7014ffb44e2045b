//! Iterators: programs that the kernel runs once for each of its objects when the agent asks.
//!
//! aya-ebpf has no attribute for them yet; a program is a function `fn(*mut IterTask) -> i32` in
//! the section `iter/task`. Since 5.8.

use aya_ebpf::{bindings::task_struct, cty::c_void};

use crate::task_storage::Task;

/// What an iterator over tasks gets: `struct bpf_iter__task` of the kernel's
/// `kernel/bpf/task_iter.c`, whose layout is fixed.
#[repr(C)]
pub struct IterTask {
    meta: *mut c_void,
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
