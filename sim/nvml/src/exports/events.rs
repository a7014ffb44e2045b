//! Events: the exported calls. What is delivered when is in `xids`.

use std::{
    ffi::{c_uint, c_ulonglong},
    ptr, thread,
    time::{Duration, Instant},
};

use nvml_wrapper_sys::bindings::{nvmlDevice_t, nvmlEventData_t, nvmlEventSet_st, nvmlEventSet_t};

use crate::{
    abi::{Answer, Code, Out},
    dispatch,
    handle::Handle,
    library,
    xids::{self, XID},
};

/// How often a wait looks for a new event.
const CHECK: Duration = Duration::from_millis(10);

pub(crate) use calls_on_devices::NAMES as DEVICE_NAMES;

library_calls! {
    library fn nvmlEventSetCreate(set: Out<nvmlEventSet_t>) {
        set.check()?;
        set.put(ptr::without_provenance_mut::<nvmlEventSet_st>(xids::create()))
    }

    library fn nvmlEventSetFree(set: nvmlEventSet_t) {
        xids::free(set.addr())
    }

    library fn nvmlEventSetWait_v2(
        set: nvmlEventSet_t, event: Out<nvmlEventData_t>, timeout_ms: c_uint
    ) {
        event.check()?;
        wait(set.addr(), event, Duration::from_millis(timeout_ms.into()))
    }

    indirect fn nvmlDeviceRegisterEvents(device: nvmlDevice_t, types: c_ulonglong, set: nvmlEventSet_t) {
        let unit = dispatch::on_device("nvmlDeviceRegisterEvents", device)?;
        unit.whole()?;
        if types & !unit.u64("event_types")? != 0 {
            return Err(Code::NOT_SUPPORTED);
        }
        xids::register(set.addr(), unit.handle.gpu, types)
    }
}

mod calls_on_devices {
    //! The one call whose first argument is the device.

    use super::{Out, c_ulonglong};

    device_calls! {
        fn nvmlDeviceGetSupportedEventTypes(types: Out<c_ulonglong>) |unit| {
            unit.put_u64(types, "event_types")
        }
    }
}

fn wait(set: usize, event: Out<nvmlEventData_t>, timeout: Duration) -> Answer {
    let since = Instant::now();
    loop {
        let script = library::script()?;
        if let Some((gpu, xid)) = xids::next(set, &script, library::seconds())? {
            return event.put(nvmlEventData_t {
                device: Handle { gpu, mig: None }.pointer(),
                eventType: XID,
                eventData: xid.code,
                gpuInstanceId: xid.gpu_instance_id,
                computeInstanceId: xid.compute_instance_id,
            });
        }
        let left = timeout.saturating_sub(since.elapsed());
        if left.is_zero() {
            return Err(Code::TIMEOUT);
        }
        thread::sleep(left.min(CHECK));
        if !library::is_initialized() {
            return Err(Code::UNINITIALIZED);
        }
    }
}
