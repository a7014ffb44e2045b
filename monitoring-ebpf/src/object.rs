//! Kernel objects that the verifier knows by their type: arguments of BTF tracepoints, what helpers
//! give, and what their fields lead to. Plain loads, without a helper; a null pointer on the way reads as zero.

use core::ptr;

use aya_ebpf::cty::c_void;

/// A pointer whose type the verifier knows.
#[derive(Clone, Copy)]
pub struct Object(*mut c_void);

impl Object {
    /// An argument of a BTF tracepoint, or what a helper gave.
    #[inline(always)]
    pub fn from_argument<T>(argument: *mut T) -> Self {
        Self(argument.cast())
    }

    /// The field at `offset`, which the loader took from the kernel's own BTF, of a type as wide
    /// as the field.
    #[inline(always)]
    pub fn read<T: Copy>(self, offset: u32) -> T {
        // SAFETY: the verifier knows the pointer's type and admits only reads inside a field; a
        // read through a bad pointer gives zero.
        unsafe { ptr::read_volatile(self.0.byte_add(offset as usize).cast()) }
    }

    /// The object that the pointer at `offset` leads to.
    #[inline(always)]
    #[must_use]
    pub fn follow(self, offset: u32) -> Self {
        Self(self.read(offset))
    }

    /// For helpers.
    #[inline(always)]
    pub fn as_ptr<T>(self) -> *mut T {
        self.0.cast()
    }

    /// The address, as a name for the object.
    #[inline(always)]
    pub fn address(self) -> u64 {
        self.0 as u64
    }
}
