//! A request to a disk, read by typed loads. Knows the way from field to field; where the fields
//! lie, the caller says.

use core::ptr;

use aya_ebpf::cty::c_void;
use monitoring_common::block::DISK_NAME_BYTES;

/// A kernel object that the verifier knows the type of: an argument of a BTF tracepoint, or one
/// that a field of such an object points to.
///
/// Loads from it need no helper. One through a pointer that leads nowhere gives zeros.
#[derive(Clone, Copy)]
pub struct Typed(*const c_void);

impl Typed {
    /// An argument of a BTF tracepoint.
    #[inline(always)]
    pub fn from_argument(argument: *const c_void) -> Self {
        Self(argument)
    }

    /// The field at `offset`, which the loader took from the kernel's own BTF, of a type as wide
    /// as the field.
    #[inline(always)]
    pub fn read<T: Copy>(self, offset: u32) -> T {
        // SAFETY: the verifier knows the pointer's BTF type and admits only reads inside a field.
        unsafe { ptr::read_volatile(self.0.byte_add(offset as usize).cast()) }
    }

    /// The object that the pointer at `offset` points to.
    #[inline(always)]
    #[must_use]
    pub fn follow(self, offset: u32) -> Self {
        Self(self.read(offset))
    }
}

/// The name of the disk, by words; all zeros if the request's queue has no disk.
#[inline(always)]
pub fn disk_name(
    request: Typed,
    queue_offset: u32,
    disk_offset: u32,
    name_offset: u32,
) -> [u64; DISK_NAME_BYTES / 8] {
    let disk = request.follow(queue_offset).follow(disk_offset);
    [
        disk.read(name_offset),
        disk.read(name_offset + 8),
        disk.read(name_offset + 16),
        disk.read(name_offset + 24),
    ]
}
