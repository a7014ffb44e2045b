//! The C side of a call: what it answers, and the memory of the caller that it fills.
//!
//! All of the caller's pointers are used here and nowhere else. Knows nothing of scripts.

use std::ffi::{CStr, c_char, c_uint};

use nvml_wrapper_sys::bindings::nvmlReturn_t;

/// What a call comes to: an answer, or the code that it is refused with.
pub(crate) type Answer<T = ()> = Result<T, Code>;

/// A code that NVML refuses a call with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Code(pub(crate) nvmlReturn_t);

/// What a call answers when it did what it was asked for.
pub(crate) const SUCCESS: nvmlReturn_t = 0;

impl Code {
    pub(crate) const UNINITIALIZED: Self = Self(1);
    pub(crate) const INVALID_ARGUMENT: Self = Self(2);
    pub(crate) const NOT_SUPPORTED: Self = Self(3);
    pub(crate) const NOT_FOUND: Self = Self(6);
    pub(crate) const INSUFFICIENT_SIZE: Self = Self(7);
    pub(crate) const DRIVER_NOT_LOADED: Self = Self(9);
    pub(crate) const TIMEOUT: Self = Self(10);
    pub(crate) const GPU_IS_LOST: Self = Self(15);
    pub(crate) const ARGUMENT_VERSION_MISMATCH: Self = Self(25);
    pub(crate) const UNKNOWN: Self = Self(999);

    /// The code of this name, which is NVML's without `NVML_ERROR_`.
    pub(crate) fn named(name: &[u8]) -> Option<Self> {
        let found = CODES.iter().find(|(_, known, _)| known.as_bytes() == name);
        found
            .filter(|(code, ..)| *code != SUCCESS)
            .map(|(code, ..)| Self(*code))
    }

    /// What `nvmlErrorString` says of a code.
    pub(crate) fn description(code: nvmlReturn_t) -> &'static CStr {
        let found = CODES.iter().find(|(known, ..)| *known == code);
        found.map_or(c"no such code", |(.., text)| text)
    }
}

/// All codes: number, name, and a description.
const CODES: [(nvmlReturn_t, &str, &CStr); 32] = [
    (SUCCESS, "SUCCESS", c"success"),
    (1, "UNINITIALIZED", c"the library is not initialized"),
    (2, "INVALID_ARGUMENT", c"an argument is not valid"),
    (3, "NOT_SUPPORTED", c"not supported by this device"),
    (4, "NO_PERMISSION", c"no permission"),
    (5, "ALREADY_INITIALIZED", c"initialized already"),
    (6, "NOT_FOUND", c"not found"),
    (7, "INSUFFICIENT_SIZE", c"the buffer is too small"),
    (8, "INSUFFICIENT_POWER", c"a power cable is missing"),
    (9, "DRIVER_NOT_LOADED", c"the driver is not loaded"),
    (10, "TIMEOUT", c"the time is over"),
    (11, "IRQ_ISSUE", c"trouble with interrupts"),
    (12, "LIBRARY_NOT_FOUND", c"a library was not found"),
    (13, "FUNCTION_NOT_FOUND", c"a function was not found"),
    (14, "CORRUPTED_INFOROM", c"the infoROM is corrupted"),
    (15, "GPU_IS_LOST", c"the GPU does not answer any more"),
    (16, "RESET_REQUIRED", c"the GPU needs a reset"),
    (17, "OPERATING_SYSTEM", c"the operating system refused"),
    (
        18,
        "LIB_RM_VERSION_MISMATCH",
        c"driver and library are of different versions",
    ),
    (19, "IN_USE", c"in use"),
    (20, "MEMORY", c"out of memory"),
    (21, "NO_DATA", c"no data"),
    (
        22,
        "VGPU_ECC_NOT_SUPPORTED",
        c"not supported by the vGPU with ECC",
    ),
    (23, "INSUFFICIENT_RESOURCES", c"resources are short"),
    (24, "FREQ_NOT_SUPPORTED", c"the frequency is not supported"),
    (
        25,
        "ARGUMENT_VERSION_MISMATCH",
        c"a structure's version is not known",
    ),
    (26, "DEPRECATED", c"no longer supported"),
    (27, "NOT_READY", c"not ready"),
    (28, "GPU_NOT_FOUND", c"no GPU was found"),
    (29, "INVALID_STATE", c"not in this state"),
    (
        30,
        "RESET_TYPE_NOT_SUPPORTED",
        c"this kind of reset is not supported",
    ),
    (999, "UNKNOWN", c"an unknown error"),
];

/// The caller's memory for a `T`, or for a row of them; may be null.
///
/// Made by callers from C only, whose part it is that the memory is theirs to have written and
/// has room for what they say.
#[repr(transparent)]
pub(crate) struct Out<T>(*mut T);

impl<T> Clone for Out<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Out<T> {}

impl<T: Copy> Out<T> {
    pub(crate) fn is_null(self) -> bool {
        self.0.is_null()
    }

    /// Null is no place to write to.
    pub(crate) fn check(self) -> Answer {
        if self.0.is_null() {
            return Err(Code::INVALID_ARGUMENT);
        }
        Ok(())
    }

    /// Fills it.
    pub(crate) fn put(self, value: T) -> Answer {
        self.check()?;
        // SAFETY: not null, and by NVML's contract with its callers room for a `T`.
        unsafe { self.0.write_unaligned(value) };
        Ok(())
    }

    /// What the caller put there.
    pub(crate) fn get(self) -> Answer<T> {
        self.check()?;
        // SAFETY: not null, and by NVML's contract with its callers an initialized `T`.
        Ok(unsafe { self.0.read_unaligned() })
    }

    /// The place of one in a row, which the caller said is at least that long.
    pub(crate) fn nth(self, index: usize) -> Self {
        Self(self.0.wrapping_add(index))
    }

    /// The place of a part of it, which the caller said has an `F` so many bytes in.
    pub(crate) fn field<F>(self, offset: usize) -> Out<F> {
        Out(self.0.wrapping_byte_add(offset).cast())
    }

    /// Fills a row of `room` elements by the protocol that all of NVML's lists have: too small or
    /// not there means that the caller learns how many there are.
    pub(crate) fn fill(self, count: Out<c_uint>, values: &[T]) -> Answer {
        let room = count.get()? as usize;
        count.put(c_uint::try_from(values.len()).map_err(|_| Code::UNKNOWN)?)?;
        if values.is_empty() {
            return Ok(());
        }
        if self.is_null() || room < values.len() {
            return Err(Code::INSUFFICIENT_SIZE);
        }
        let mut values = values.iter().enumerate();
        values.try_for_each(|(index, value)| self.nth(index).put(*value))
    }
}

impl Out<c_char> {
    /// A text with a NUL behind it, if the buffer has room for both.
    pub(crate) fn put_text(self, room: c_uint, text: &[u8]) -> Answer {
        self.check()?;
        if (room as usize) <= text.len() {
            return Err(Code::INSUFFICIENT_SIZE);
        }
        self.put_bytes(room, text)
    }

    /// As many bytes as fit, and a NUL only if there is room left: what no library should do.
    pub(crate) fn put_bytes(self, room: c_uint, bytes: &[u8]) -> Answer {
        self.check()?;
        let with_nul = bytes.iter().copied().chain([0]).take(room as usize);
        for (index, byte) in with_nul.enumerate() {
            self.nth(index).put(byte.cast_signed())?;
        }
        Ok(())
    }
}

/// A text in an array of a structure, cut off where the array ends.
pub(crate) fn array<const N: usize>(text: &[u8]) -> [c_char; N] {
    let mut array = [0; N];
    for (place, byte) in array.iter_mut().zip(text) {
        *place = byte.cast_signed() as c_char;
    }
    array
}
