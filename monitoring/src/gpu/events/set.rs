//! One of NVML's sets of events, which ends with its last owner.
//!
//! Knows nothing of who waits.

use std::{sync::Arc, time::Duration};

use nvml_wrapper::Nvml;
use nvml_wrapper_sys::bindings::{
    nvmlDevice_t, nvmlEventData_t, nvmlEventSet_t, nvmlEventTypeXidCriticalError,
    nvmlReturn_enum_NVML_ERROR_NOT_SUPPORTED as NOT_SUPPORTED,
    nvmlReturn_enum_NVML_ERROR_UNKNOWN as UNKNOWN, nvmlReturn_enum_NVML_SUCCESS as SUCCESS,
};

use super::super::calls::Calls;

/// NVML's number for "in no MIG instance".
pub(super) const NO_INSTANCE: u32 = u32::MAX;

/// A set of events. Its owners see to it that only one of them calls it at a time.
pub(super) struct Set {
    /// Keeps the library loaded and initialised as long as the set is there.
    nvml: Arc<Nvml>,
    set: nvmlEventSet_t,
}

// SAFETY: NVML may be called from any thread; the set is only a number for it.
unsafe impl Send for Set {}
// SAFETY: as above; who calls it when is seen to by its owners.
unsafe impl Sync for Set {}

/// What came of a registration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Registration {
    Done,
    /// The device, or the library, has no events. The set is as before.
    Unsupported,
    /// The set may be spoilt.
    Failed,
}

impl Set {
    pub(super) fn create(nvml: &Arc<Nvml>, calls: &Calls) -> Option<Self> {
        let _call = calls.enter("nvmlEventSetCreate");
        let create = nvml.lib().nvmlEventSetCreate.as_ref().ok()?;
        let mut set = std::ptr::null_mut();
        // SAFETY: the room is of the call's own type.
        (unsafe { create(&raw mut set) } == SUCCESS).then(|| Self {
            nvml: Arc::clone(nvml),
            set,
        })
    }

    /// Adds a device's critical errors.
    pub(super) fn register(&self, handle: nvmlDevice_t, calls: &Calls) -> Registration {
        let _call = calls.enter("nvmlDeviceRegisterEvents");
        let events = u64::from(nvmlEventTypeXidCriticalError);
        let Ok(register) = self.nvml.lib().nvmlDeviceRegisterEvents.as_ref() else {
            return Registration::Unsupported;
        };
        // SAFETY: handle and set are of this session, and no other thread has the set now.
        match unsafe { register(handle, events, self.set) } {
            SUCCESS => Registration::Done,
            NOT_SUPPORTED => Registration::Unsupported,
            _ => Registration::Failed,
        }
    }

    /// The next event within a time, or NVML's error.
    pub(super) fn wait(&self, time: Duration) -> Result<nvmlEventData_t, u32> {
        let wait = self.nvml.lib().nvmlEventSetWait_v2.as_ref();
        let wait = wait.map_err(|_| UNKNOWN)?;
        let mut event = nvmlEventData_t {
            device: std::ptr::null_mut(),
            eventType: 0,
            eventData: 0,
            gpuInstanceId: NO_INSTANCE,
            computeInstanceId: NO_INSTANCE,
        };
        let milliseconds = u32::try_from(time.as_millis()).unwrap_or(u32::MAX);
        // SAFETY: the set is of this session, and only this thread has it now.
        match unsafe { wait(self.set, &raw mut event, milliseconds) } {
            SUCCESS => Ok(event),
            code => Err(code),
        }
    }

    /// Gives it back, in sight of those who wait.
    pub(super) fn free(self, calls: &Calls) {
        let _call = calls.enter("nvmlEventSetFree");
        drop(self);
    }
}

impl Drop for Set {
    fn drop(&mut self) {
        if let Ok(free) = self.nvml.lib().nvmlEventSetFree.as_ref() {
            // SAFETY: the set is of a session that lasts as long as `nvml`, and this is its end.
            unsafe { free(self.set) };
        }
    }
}
