//! Arguments as they arrive from C: pointers that may be null, with the layout of plain pointers.
//!
//! A value of these types exists only as an argument of an exported function, whose caller vouches
//! for what it points to, as with the real library. Only null is refused.

use std::{
    ffi::{CStr, c_char},
    ptr,
};

use crate::Code;

/// The code of a null pointer where there must be one: `CUDA_ERROR_INVALID_VALUE`.
const INVALID_VALUE: Code = Code(1);

/// Where a result goes.
#[derive(Debug)]
#[repr(transparent)]
pub struct Out<T>(*mut T);

impl<T> Clone for Out<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Out<T> {}

impl<T> Out<T> {
    /// Writes a result; fails on a null pointer.
    pub fn set(self, value: T) -> Result<(), Code> {
        self.check()?;
        self.set_if_wanted(value);
        Ok(())
    }

    /// Writes a result that the caller may leave out by a null pointer.
    pub fn set_if_wanted(self, value: T) {
        if !self.0.is_null() {
            // SAFETY: the caller of the exported function passed a pointer to room for the result.
            unsafe { ptr::write_unaligned(self.0, value) }
        }
    }

    /// Fails on a null pointer, before a call has an effect.
    pub fn check(self) -> Result<(), Code> {
        if self.0.is_null() {
            Err(INVALID_VALUE)
        } else {
            Ok(())
        }
    }

    /// Room of one's own, for as long as it is there.
    pub fn to(place: &mut T) -> Self {
        Self(place)
    }

    /// The pointer itself, to be handed on.
    pub fn pointer(self) -> *mut T {
        self.0
    }

    /// Writes a row of results, which the caller has counted.
    pub fn set_all(self, values: impl IntoIterator<Item = T>) -> Result<(), Code> {
        self.check()?;
        for (index, value) in values.into_iter().enumerate() {
            // SAFETY: the caller said how many fit, and `values` has no more.
            unsafe { ptr::write_unaligned(self.0.add(index), value) }
        }
        Ok(())
    }
}

impl Out<c_char> {
    /// Writes text and its end into a buffer of `size` bytes; what does not fit is cut off.
    pub fn set_text(self, text: &str, size: usize) -> Result<(), Code> {
        let room = size.checked_sub(1).ok_or(INVALID_VALUE)?;
        let bytes = &text.as_bytes()[..text.len().min(room)];
        self.set_all(bytes.iter().map(|byte| byte.cast_signed()).chain([0]))
    }
}

/// A structure to be read.
#[derive(Debug)]
#[repr(transparent)]
pub struct In<T>(*const T);

impl<T> Clone for In<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for In<T> {}

/// What is written where it is read first.
impl<T> From<Out<T>> for In<T> {
    fn from(out: Out<T>) -> Self {
        Self(out.0)
    }
}

impl<T: Copy> In<T> {
    /// The structure; fails on a null pointer.
    pub fn get(self) -> Result<T, Code> {
        self.get_all(1)?.pop().ok_or(INVALID_VALUE)
    }

    /// So many of them in a row.
    pub fn get_all(self, count: usize) -> Result<Vec<T>, Code> {
        if self.0.is_null() && count > 0 {
            return Err(INVALID_VALUE);
        }
        // SAFETY: the caller of the exported function passed a pointer to so many valid values.
        let one = |index| unsafe { ptr::read_unaligned(self.0.add(index)) };
        Ok((0..count).map(one).collect())
    }

    /// What lies at an address that the program gave elsewhere than in an argument, and vouches for
    /// likewise.
    pub fn at(address: usize) -> Self {
        Self(ptr::with_exposed_provenance(address))
    }

    /// The pointer itself, to be handed on.
    pub fn pointer(self) -> *const T {
        self.0
    }
}

/// A C string.
#[derive(Debug, Clone, Copy)]
#[repr(transparent)]
pub struct Text(*const c_char);

impl Text {
    /// The text; fails on a null pointer and on what is not UTF-8.
    pub fn get(&self) -> Result<&str, Code> {
        if self.0.is_null() {
            return Err(INVALID_VALUE);
        }
        // SAFETY: the caller of the exported function passed a C string that lives during the call,
        // and an argument does not outlive its call.
        let text = unsafe { CStr::from_ptr(self.0) };
        text.to_str().map_err(|_| INVALID_VALUE)
    }

    /// The pointer itself, to be handed on.
    pub fn pointer(self) -> *const c_char {
        self.0
    }
}
