//! One call into NVML at a time: what its errors mean, and which calls are not worth making.
//!
//! Knows nothing of what is read.

use std::{collections::BTreeMap, os::raw::c_char, sync::Arc};

use nvml_wrapper::{Device, Nvml, error::NvmlError};
use nvml_wrapper_sys::bindings::{
    NvmlLib, nvmlDevice_t,
    nvmlReturn_enum_NVML_ERROR_ARGUMENT_VERSION_MISMATCH as VERSION_MISMATCH,
    nvmlReturn_enum_NVML_ERROR_DEPRECATED as DEPRECATED,
    nvmlReturn_enum_NVML_ERROR_GPU_NOT_FOUND as GPU_NOT_FOUND, nvmlReturn_t,
};

use super::super::{calls::Calls, plausible};

/// A call that was refused is made again after so many polls.
const REFUSED_POLLS: u64 = 16;
/// What a device does not support it never will.
const NEVER: u64 = u64::MAX;

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

/// Calls that a device does not support or refuses, by name.
#[derive(Debug, Default)]
pub(crate) struct Unsupported {
    /// With the poll from which on the call is worth making again.
    found: BTreeMap<&'static str, u64>,
    poll: u64,
    names: Option<Arc<[&'static str]>>,
}

/// What an error says of the next time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outlook {
    /// The call may succeed then.
    Open,
    /// It is not allowed, or not possible as things are; that may change.
    Refused,
    /// It will always fail.
    Never,
}

/// Makes calls for one device, until one says that the device or the driver is gone: from then on
/// there are no more calls, and all readings are absent.
pub(crate) struct Reader<'a> {
    nvml: &'a Nvml,
    handle: nvmlDevice_t,
    calls: &'a Calls,
    unsupported: &'a mut Unsupported,
    /// The calls are about a MIG instance, which says nothing of the device.
    of_instance: bool,
    failure: Option<Failure>,
    answers: u32,
    unknown: u32,
    /// Calls that failed, and may succeed the next time.
    open: u32,
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
            of_instance: false,
            failure: None,
            answers: 0,
            unknown: 0,
            open: 0,
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
        let result = self.make(call, read)?;
        self.remember(call, result.as_ref().err());
        result.ok()
    }

    /// The result of a call that may fail for good reason, and if it does, whether it always will:
    /// its errors are not remembered. Nothing if the device is gone.
    pub(crate) fn probe<T>(
        &mut self,
        call: &'static str,
        read: impl FnOnce(&'a Nvml, &Device<'a>) -> Result<T, NvmlError>,
    ) -> Option<Result<T, Probed>> {
        let result = self.make(call, read)?;
        Some(result.map_err(|error| match outlook(&error) {
            Outlook::Open if !matches!(error, NvmlError::NotFound) => {
                self.open += 1;
                Probed::Failed
            }
            _ => Probed::Absent,
        }))
    }

    /// Makes calls about one of the device's MIG instances. What is wrong with it, such as that it
    /// was destroyed just now, is not wrong with the device.
    pub(crate) fn about_instance<T>(&mut self, read: impl FnOnce(&mut Self) -> T) -> T {
        self.of_instance = true;
        let value = read(self);
        self.of_instance = false;
        value
    }

    /// Makes calls on the handle of one of the device's MIG instances.
    pub(crate) fn with_instance<T>(
        &mut self,
        instance: nvmlDevice_t,
        read: impl FnOnce(&mut Self) -> T,
    ) -> T {
        let device = std::mem::replace(&mut self.handle, instance);
        let value = self.about_instance(read);
        self.handle = device;
        value
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
        read: impl FnOnce(&NvmlLib, nvmlDevice_t, *mut c_char, u32) -> Option<nvmlReturn_t>,
    ) -> String {
        let mut buffer = vec![0_u8; length as usize];
        let bytes = buffer.as_mut_ptr();
        let got = self.raw_with(call, &mut (), |lib, handle, ()| {
            read(lib, handle, bytes.cast(), length)
        });
        if got {
            plausible::text(&buffer)
        } else {
            String::new()
        }
    }

    /// Whether the call is not worth making now.
    pub(crate) fn is_unsupported(&self, call: &'static str) -> bool {
        let again = self.unsupported.found.get(call);
        again.is_some_and(|again| *again > self.unsupported.poll)
    }

    pub(crate) fn set_unsupported(&mut self, call: &'static str) {
        self.unsupported.set(call, NEVER);
    }

    /// The call is not worth making for a while.
    pub(crate) fn set_refused(&mut self, call: &'static str) {
        self.unsupported.refuse(call);
    }

    /// What the device supports has changed: it is asked for everything again.
    pub(crate) fn forget_unsupported(&mut self) {
        self.unsupported.found.clear();
        self.unsupported.names = None;
    }

    /// How many calls failed until now that may succeed the next time.
    pub(crate) fn open(&self) -> u32 {
        self.open
    }

    /// The library, for what is made and given back outside of a reading.
    pub(crate) fn nvml(&self) -> &'a Nvml {
        self.nvml
    }

    /// What says which call is being made.
    pub(crate) fn calls(&self) -> &'a Calls {
        self.calls
    }

    /// What a result that comes inside of another means.
    pub(crate) fn settle(&mut self, call: &'static str, code: nvmlReturn_t) -> bool {
        let error = nvml_wrapper::error::nvml_try(code).err();
        match &error {
            None => self.answers += 1,
            Some(error) => self.note(error),
        }
        self.remember(call, error.as_ref());
        error.is_none()
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

    /// What the outcome of a call means for the next polls.
    fn remember(&mut self, call: &'static str, error: Option<&NvmlError>) {
        match error.map(outlook) {
            None => self.unsupported.clear(call),
            // An instance may be another one the next time.
            Some(Outlook::Refused) if self.of_instance => self.open += 1,
            Some(Outlook::Open) => self.open += 1,
            Some(Outlook::Refused) => self.unsupported.refuse(call),
            Some(Outlook::Never) => self.unsupported.set(call, NEVER),
        }
    }

    fn note(&mut self, error: &NvmlError) {
        match Failure::of(error) {
            Some(Failure::Device(_)) if self.of_instance => {}
            Some(failure) => self.failure = Some(failure),
            None if matches!(error, NvmlError::Unknown) => self.unknown += 1,
            // This is the library's answer, not the device's.
            None if matches!(
                error,
                NvmlError::FunctionNotFound
                    | NvmlError::FailedToLoadSymbol(_)
                    | NvmlError::LibraryNotFound
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
            | NvmlError::LibRmVersionMismatch => Some(Self::Session(error.to_string())),
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
    /// Says that a poll begins.
    pub(crate) fn begin_poll(&mut self) {
        self.poll += 1;
    }

    /// The names in order, shared as long as they are the same.
    pub(crate) fn names(&mut self) -> Arc<[&'static str]> {
        let found = &self.found;
        Arc::clone(
            self.names
                .get_or_insert_with(|| found.keys().copied().collect()),
        )
    }

    fn refuse(&mut self, call: &'static str) {
        self.set(call, self.poll + REFUSED_POLLS);
    }

    fn set(&mut self, call: &'static str, again: u64) {
        if self.found.insert(call, again).is_none() {
            self.names = None;
        }
    }

    fn clear(&mut self, call: &'static str) {
        if self.found.remove(call).is_some() {
            self.names = None;
        }
    }
}

/// Why a call that may fail for good reason did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Probed {
    /// What was asked for is not there.
    Absent,
    /// The call failed this time.
    Failed,
}

fn outlook(error: &NvmlError) -> Outlook {
    match error {
        NvmlError::NotSupported
        | NvmlError::FunctionNotFound
        | NvmlError::FailedToLoadSymbol(_)
        | NvmlError::VgpuEccNotSupported
        | NvmlError::UnexpectedVariant(VERSION_MISMATCH | DEPRECATED) => Outlook::Never,
        NvmlError::NoPermission | NvmlError::InvalidArg => Outlook::Refused,
        _ => Outlook::Open,
    }
}
