//! Per-task storage, which aya-ebpf does not offer yet.
//!
//! `BPF_MAP_TYPE_TASK_STORAGE` (since 5.11, in tracing programs since 5.12) hangs a value on the
//! task itself: found by two loads instead of a hash, and freed by the kernel when the task ends,
//! so that nothing can leak and no limit can be reached.

use core::ptr;

use aya_ebpf::{
    bindings::{
        BPF_F_NO_PREALLOC, BPF_LOCAL_STORAGE_GET_F_CREATE, bpf_map_type::BPF_MAP_TYPE_TASK_STORAGE,
        task_struct,
    },
    cty::c_void,
    helpers::generated::{bpf_get_current_task_btf, bpf_task_pt_regs, bpf_task_storage_get},
};

use crate::object::Object;

/// A value of type `T` for each task. Placed in `.maps`, where the loader reads its BTF.
#[repr(C)]
pub struct TaskStorage<T> {
    r#type: *const [i32; BPF_MAP_TYPE_TASK_STORAGE as usize],
    key: *const i32,
    value: *const T,
    max_entries: *const [i32; 0],
    map_flags: *const [i32; BPF_F_NO_PREALLOC as usize],
}

// SAFETY: the pointers are a description for the loader and are never followed.
unsafe impl<T> Sync for TaskStorage<T> {}

impl<T> TaskStorage<T> {
    /// The map's description.
    #[allow(clippy::new_without_default, reason = "a map definition is a static")]
    pub const fn new() -> Self {
        Self {
            r#type: ptr::null(),
            key: ptr::null(),
            value: ptr::null(),
            max_entries: ptr::null(),
            map_flags: ptr::null(),
        }
    }

    /// The task's value, if it has one.
    #[inline(always)]
    pub fn get(&'static self, task: Task) -> Option<&'static mut T> {
        self.lookup(task, ptr::null_mut(), 0)
    }

    /// The task's value, made of zeros if it had none. `None` if the kernel has no memory for it.
    #[inline(always)]
    pub fn get_or_create(&'static self, task: Task) -> Option<&'static mut T> {
        self.lookup(task, ptr::null_mut(), BPF_LOCAL_STORAGE_GET_F_CREATE.into())
    }

    /// The task's value, `initial` if it had none. `None` if the kernel has no memory for it.
    #[inline(always)]
    pub fn get_or_insert(&'static self, task: Task, mut initial: T) -> Option<&'static mut T> {
        let initial = (&raw mut initial).cast();
        self.lookup(task, initial, BPF_LOCAL_STORAGE_GET_F_CREATE.into())
    }

    /// `initial` is null, or points to a `T` that a new value begins as.
    #[inline(always)]
    #[allow(clippy::mut_from_ref, reason = "each task has a value of its own")]
    fn lookup(
        &'static self,
        task: Task,
        initial: *mut c_void,
        flags: u64,
    ) -> Option<&'static mut T> {
        let map = ptr::from_ref(self).cast_mut().cast();
        // SAFETY: the verifier knows `task` as a task. Families see to it that one program at a
        // time touches a task's value; where several may, a torn number is all that can happen.
        unsafe {
            bpf_task_storage_get(map, task.0.as_ptr(), initial, flags)
                .cast::<T>()
                .as_mut()
        }
    }
}

/// A task that the verifier knows as one: the running one, or a typed argument of a program.
#[derive(Clone, Copy)]
pub struct Task(Object);

impl Task {
    /// The task on whose behalf the program runs. Since 5.11.
    #[inline(always)]
    pub fn current() -> Self {
        // SAFETY: the helper has no preconditions.
        Self(Object::from_argument(unsafe { bpf_get_current_task_btf() }))
    }

    /// A task that a BTF tracepoint has as argument, or an iterator as object.
    #[inline(always)]
    pub fn from_argument(task: *mut task_struct) -> Self {
        Self(Object::from_argument(task))
    }

    /// The registers that the task had when it last entered the kernel. Since 5.15.
    #[inline(always)]
    #[allow(clippy::cast_possible_truncation, reason = "BPF has 64 bits")]
    pub fn registers(self) -> Registers {
        // SAFETY: the verifier knows `self` as a task.
        let registers = unsafe { bpf_task_pt_regs(self.0.as_ptr()) };
        let registers =
            ptr::with_exposed_provenance_mut::<c_void>(registers.cast_unsigned() as usize);
        Registers(Object::from_argument(registers))
    }

    /// The field at `offset`; see [`Object::read`].
    #[inline(always)]
    pub fn read<T: Copy>(self, offset: u32) -> T {
        self.0.read(offset)
    }

    /// The object that the pointer at `offset` leads to; see [`Object::follow`].
    #[inline(always)]
    #[must_use]
    pub fn follow(self, offset: u32) -> Object {
        self.0.follow(offset)
    }

    /// Where the task lies in kernel memory: its name among all tasks that have not been freed.
    #[inline(always)]
    pub fn address(self) -> u64 {
        self.0.address()
    }
}

/// A task's saved registers, `struct pt_regs`.
#[derive(Clone, Copy)]
pub struct Registers(Object);

impl Registers {
    /// The register at `offset`; see [`Object::read`]. Zero when the task has no stack any more.
    #[inline(always)]
    pub fn read<T: Copy>(self, offset: u32) -> T {
        self.0.read(offset)
    }
}
