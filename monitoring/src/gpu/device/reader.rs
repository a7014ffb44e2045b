//! One call into NVML at a time: what its errors mean, and which calls are not worth making.
//!
//! Knows nothing of what is read.

use std::{collections::BTreeSet, os::raw::c_char, sync::Arc};

use nvml_wrapper::{Device, Nvml, error::NvmlError};
use nvml_wrapper_sys::bindings::{NvmlLib, nvmlDevice_t, nvmlReturn_t};

use super::super::{
    calls::{Calls, InCall},
    plausible,
};

/// Return codes that nvml-wrapper has no names for.
const ARGUMENT_VERSION_MISMATCH: u32 = 25;
const DEPRECATED: u32 = 26;
const GPU_NOT_FOUND: u32 = 28;

/// What ends more than one reading.
#[derive(Clone, Debug)]
pub(crate) enum Failure {
    /// The device is lost.
    Device(String),
    /// The device is there, and is refused for a reason that does not pass by itself.
    Refused(String),
    /// The driver is gone, or is not the library's.
    Session(String),
}

/// Calls that a device does not support, by name.
#[derive(Debug, Default)]
pub(crate) struct Unsupported {
    found: BTreeSet<&'static str>,
    names: Option<Arc<[&'static str]>>,
}

/// Makes calls for one device, until one says that the device or the driver is gone: from then on
/// there are no more calls, and all readings are absent.
pub(crate) struct Reader<'a> {
    nvml: &'a Nvml,
    handle: nvmlDevice_t,
    calls: &'a Calls,
    unsupported: &'a mut Unsupported,
    failure: Option<Failure>,
    answers: u32,
    unknown: u32,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(
        nvml: &'a Nvml,
        handle: nvmlDevice_t,
        calls: &'a Calls,
        unsupported: &'a mut Unsupported,
    ) -> Self {
        Self {
            nvml,
            handle,
            calls,
            unsupported,
            failure: None,
            answers: 0,
            unknown: 0,
        }
    }

    /// For calls that are of no device.
    pub(crate) fn of_system(
        nvml: &'a Nvml,
        calls: &'a Calls,
        unsupported: &'a mut Unsupported,
    ) -> Self {
        Self::new(nvml, std::ptr::null_mut(), calls, unsupported)
    }

    /// The result of a call, unless it is unsupported or fails. `call` is NVML's name for it.
    pub(crate) fn get<T>(
        &mut self,
        call: &'static str,
        read: impl FnOnce(&'a Nvml, &Device<'a>) -> Result<T, NvmlError>,
    ) -> Option<T> {
        if self.is_unsupported(call) {
            return None;
        }
        match self.make(call, read)? {
            Ok(value) => Some(value),
            Err(error) => {
                if is_permanent(&error) {
                    self.set_unsupported(call);
                }
                None
            }
        }
    }

    /// The result of a call that may fail for good reason: its errors are not remembered.
    pub(crate) fn probe<T>(
        &mut self,
        call: &'static str,
        read: impl FnOnce(&'a Nvml, &Device<'a>) -> Result<T, NvmlError>,
    ) -> Option<T> {
        self.make(call, read)?.ok()
    }

    /// The result of a call that nvml-wrapper lacks. `read` has it from the library, the device's
    /// handle and room for the result.
    pub(crate) fn raw<T>(
        &mut self,
        call: &'static str,
        mut value: T,
        read: impl FnOnce(&NvmlLib, nvmlDevice_t, &mut T) -> Option<nvmlReturn_t>,
    ) -> Option<T> {
        self.raw_with(call, &mut value, read).then_some(value)
    }

    /// Makes a call that nvml-wrapper lacks, with a buffer. Says whether it succeeded.
    pub(crate) fn raw_with<T>(
        &mut self,
        call: &'static str,
        value: &mut T,
        read: impl FnOnce(&NvmlLib, nvmlDevice_t, &mut T) -> Option<nvmlReturn_t>,
    ) -> bool {
        let handle = self.handle;
        self.get(call, |nvml, _| match read(nvml.lib(), handle, value) {
            Some(code) => nvml_wrapper::error::nvml_try(code),
            None => Err(NvmlError::FunctionNotFound),
        })
        .is_some()
    }

    /// A text of at most `length` bytes. Empty where there is none.
    pub(crate) fn text(
        &mut self,
        call: &'static str,
        length: u32,
        read: impl FnOnce(&NvmlLib, *mut c_char, u32) -> Option<nvmlReturn_t>,
    ) -> String {
        let mut buffer = vec![0_u8; length as usize];
        let bytes = buffer.as_mut_ptr();
        let got = self.raw_with(call, &mut (), |lib, _, ()| read(lib, bytes.cast(), length));
        if got {
            plausible::text(&buffer)
        } else {
            String::new()
        }
    }

    pub(crate) fn is_unsupported(&self, call: &'static str) -> bool {
        self.unsupported.found.contains(call)
    }

    pub(crate) fn set_unsupported(&mut self, call: &'static str) {
        if self.unsupported.found.insert(call) {
            self.unsupported.names = None;
        }
    }

    /// The library, for what is made and given back outside of a reading.
    pub(crate) fn nvml(&self) -> &'a Nvml {
        self.nvml
    }

    /// Says that a call begins that is made without a reader's help.
    pub(crate) fn enter(&self, call: &'static str) -> InCall<'a> {
        self.calls.enter(call)
    }

    pub(crate) fn handle(&self) -> nvmlDevice_t {
        self.handle
    }

    /// What a result that comes inside of another means.
    pub(crate) fn settle(&mut self, call: &'static str, code: nvmlReturn_t) -> bool {
        match nvml_wrapper::error::nvml_try(code) {
            Ok(()) => {
                self.answers += 1;
                true
            }
            Err(error) => {
                self.note(&error);
                if is_permanent(&error) {
                    self.set_unsupported(call);
                }
                false
            }
        }
    }

    /// What was read holds, unless the device or the driver went meanwhile.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        match &self.failure {
            Some(failure) => Err(failure.clone()),
            // A device that answers nothing is gone, even if the driver has no word for it.
            None if self.answers == 0 && self.unknown > 0 => {
                Err(Failure::Device(NvmlError::Unknown.to_string()))
            }
            None => Ok(()),
        }
    }

    pub(crate) fn finish(self) -> Result<(), Failure> {
        self.check()
    }

    fn make<T>(
        &mut self,
        call: &'static str,
        read: impl FnOnce(&'a Nvml, &Device<'a>) -> Result<T, NvmlError>,
    ) -> Option<Result<T, NvmlError>> {
        if self.failure.is_some() {
            return None;
        }
        // SAFETY: the handle is of the session that `nvml` is.
        let device = unsafe { Device::new(self.handle, self.nvml) };
        let result = {
            let _call = self.calls.enter(call);
            read(self.nvml, &device)
        };
        match &result {
            Ok(_) => self.answers += 1,
            Err(error) => self.note(error),
        }
        Some(result)
    }

    fn note(&mut self, error: &NvmlError) {
        match Failure::of(error) {
            Some(failure) => self.failure = Some(failure),
            None if matches!(error, NvmlError::Unknown) => self.unknown += 1,
            // This is the library's answer, not the device's.
            None if matches!(
                error,
                NvmlError::FunctionNotFound | NvmlError::FailedToLoadSymbol(_)
            ) => {}
            // A device that refuses is there.
            None => self.answers += 1,
        }
    }
}

impl Failure {
    fn of(error: &NvmlError) -> Option<Self> {
        match error {
            NvmlError::Uninitialized
            | NvmlError::DriverNotLoaded
            | NvmlError::LibRmVersionMismatch
            | NvmlError::LibraryNotFound => Some(Self::Session(error.to_string())),
            NvmlError::GpuLost
            | NvmlError::ResetRequired
            | NvmlError::UnexpectedVariant(GPU_NOT_FOUND) => Some(Self::Device(error.to_string())),
            _ => None,
        }
    }

    /// What it means that there is no handle: whatever it is, this device is not to be had.
    pub(crate) fn of_handle(error: &NvmlError) -> Self {
        Self::of(error).unwrap_or_else(|| match error {
            NvmlError::NoPermission | NvmlError::InsufficientPower | NvmlError::IrqIssue => {
                Self::Refused(error.to_string())
            }
            _ => Self::Device(error.to_string()),
        })
    }
}

impl Unsupported {
    /// The names in order, shared as long as none is added.
    pub(crate) fn names(&mut self) -> Arc<[&'static str]> {
        let found = &self.found;
        Arc::clone(
            self.names
                .get_or_insert_with(|| found.iter().copied().collect()),
        )
    }
}

/// Whether there is no use in making the call again in this session.
fn is_permanent(error: &NvmlError) -> bool {
    matches!(
        error,
        NvmlError::NotSupported
            | NvmlError::FunctionNotFound
            | NvmlError::FailedToLoadSymbol(_)
            | NvmlError::NoPermission
            | NvmlError::InvalidArg
            | NvmlError::VgpuEccNotSupported
            | NvmlError::UnexpectedVariant(ARGUMENT_VERSION_MISMATCH | DEPRECATED)
    )
}
