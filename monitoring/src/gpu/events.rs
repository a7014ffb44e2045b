//! The thread that waits for NVML's events. The only other thread that is in NVML.
//!
//! Knows nothing of readings. By the bindings, because nvml-wrapper's sets of events may not
//! outlive a borrow of the library, and its events lack the MIG instance.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant, SystemTime},
};

use nvml_wrapper::Nvml;
use nvml_wrapper_sys::bindings::{
    nvmlDevice_t, nvmlEventData_t, nvmlEventSet_t, nvmlEventTypeXidCriticalError,
    nvmlReturn_enum_NVML_ERROR_TIMEOUT as TIMEOUT, nvmlReturn_enum_NVML_SUCCESS as SUCCESS,
};

use super::{XidEvent, calls::Calls, device::Device, kernel_log::KernelLog, xid::XidLog};

/// How long one call waits: as long as the end of a session may have to wait for it.
const WAIT: Duration = Duration::from_millis(100);
/// A call that comes back sooner, without an event, would otherwise be made all the time.
const SOON: Duration = Duration::from_millis(20);
/// NVML's number for "in no MIG instance".
const NO_INSTANCE: u32 = u32::MAX;

/// Events of a session. To be closed before the session.
#[derive(Default)]
pub(super) struct Events {
    set: Option<Set>,
    /// Devices whose events are in the set, by their handles.
    watched: BTreeMap<usize, Watched>,
    /// Devices that have no events.
    without: Vec<usize>,
    waiting: Option<(JoinHandle<()>, Arc<AtomicBool>)>,
}

#[derive(Clone, Copy)]
struct Set(nvmlEventSet_t);

// SAFETY: NVML may be called from any thread, and only one at a time has the set.
unsafe impl Send for Set {}

#[derive(Clone)]
struct Watched {
    device_id: u32,
    uuid: String,
    pci_bus_id: String,
}

impl Events {
    /// Watches all devices that are not yet watched.
    pub(super) fn watch(
        &mut self,
        nvml: &Arc<Nvml>,
        devices: &[Result<Device, String>],
        calls: &Calls,
        log: &Arc<XidLog>,
    ) {
        let devices = devices.iter().flatten().map(Device::who);
        let is_new = |handle: nvmlDevice_t| {
            let handle = handle as usize;
            !self.watched.contains_key(&handle) && !self.without.contains(&handle)
        };
        let new: Vec<_> = devices.filter(|(handle, ..)| is_new(*handle)).collect();
        if new.is_empty() {
            return;
        }
        // Only one thread at a time may use the set. What happens meanwhile waits in it.
        self.stop(calls);
        if self.set.is_none() {
            self.set = create(nvml, calls);
        }
        for (handle, device_id, identity) in new {
            let registered = self
                .set
                .is_some_and(|set| register(nvml, handle, set, calls));
            if registered {
                let uuid = identity.uuid.clone();
                let pci_bus_id = identity.pci_bus_id.clone();
                let watched = Watched {
                    device_id,
                    uuid,
                    pci_bus_id,
                };
                self.watched.insert(handle as usize, watched);
            } else {
                self.without.push(handle as usize);
            }
        }
        if let Some(set) = self.set.filter(|_| !self.watched.is_empty()) {
            self.start(nvml, set, log);
        }
    }

    /// Ends the waiting and gives the set back.
    pub(super) fn close(&mut self, nvml: &Nvml, calls: &Calls) {
        self.stop(calls);
        if let Some(Set(set)) = self.set.take() {
            let _call = calls.enter("nvmlEventSetFree");
            if let Ok(free) = nvml.lib().nvmlEventSetFree.as_ref() {
                // SAFETY: the set is of this session, and no thread has it any more.
                unsafe { free(set) };
            }
        }
    }

    fn start(&mut self, nvml: &Arc<Nvml>, set: Set, log: &Arc<XidLog>) {
        let stop = Arc::new(AtomicBool::new(false));
        let waiter = Waiter {
            nvml: Arc::clone(nvml),
            set,
            watched: self.watched.clone(),
            log: Arc::clone(log),
            stop: Arc::clone(&stop),
        };
        let thread = thread::Builder::new().name("gpu-events".into());
        // Without the thread there are no events, as on a device that has none.
        let thread = thread.spawn(move || waiter.run()).ok();
        self.waiting = thread.map(|thread| (thread, stop));
    }

    fn stop(&mut self, calls: &Calls) {
        if let Some((thread, stop)) = self.waiting.take() {
            stop.store(true, Ordering::Relaxed);
            thread.thread().unpark();
            let _call = calls.enter("nvmlEventSetWait_v2");
            // If it has panicked, it is not in NVML either.
            let _ = thread.join();
        }
    }
}

fn create(nvml: &Nvml, calls: &Calls) -> Option<Set> {
    let _call = calls.enter("nvmlEventSetCreate");
    let create = nvml.lib().nvmlEventSetCreate.as_ref().ok()?;
    let mut set = std::ptr::null_mut();
    // SAFETY: the room is of the call's own type.
    (unsafe { create(&raw mut set) } == SUCCESS).then_some(Set(set))
}

fn register(nvml: &Nvml, handle: nvmlDevice_t, Set(set): Set, calls: &Calls) -> bool {
    let _call = calls.enter("nvmlDeviceRegisterEvents");
    let events = u64::from(nvmlEventTypeXidCriticalError);
    let register = nvml.lib().nvmlDeviceRegisterEvents.as_ref();
    // SAFETY: handle and set are of this session, and no other thread has the set now.
    register.is_ok_and(|register| unsafe { register(handle, events, set) } == SUCCESS)
}

/// What the thread has.
struct Waiter {
    /// Keeps the library loaded as long as the thread is in it.
    nvml: Arc<Nvml>,
    set: Set,
    watched: BTreeMap<usize, Watched>,
    log: Arc<XidLog>,
    stop: Arc<AtomicBool>,
}

impl Waiter {
    fn run(self) {
        let mut kernel_log = KernelLog::open();
        while !self.stop.load(Ordering::Relaxed) {
            let begun = Instant::now();
            let event = self.wait();
            if let Some(kernel_log) = &mut kernel_log {
                self.log.add_lines(kernel_log.read());
            }
            match event {
                Ok(event) => self.record(&event),
                Err(TIMEOUT) if begun.elapsed() >= SOON => {}
                Err(_) => thread::park_timeout(WAIT),
            }
        }
    }

    fn wait(&self) -> Result<nvmlEventData_t, u32> {
        let wait = self
            .nvml
            .lib()
            .nvmlEventSetWait_v2
            .as_ref()
            .map_err(|_| TIMEOUT)?;
        let mut event = nvmlEventData_t {
            device: std::ptr::null_mut(),
            eventType: 0,
            eventData: 0,
            gpuInstanceId: NO_INSTANCE,
            computeInstanceId: NO_INSTANCE,
        };
        let milliseconds = u32::try_from(WAIT.as_millis()).expect("the time is short");
        // SAFETY: the set is of this session, and only this thread has it.
        match unsafe { wait(self.set.0, &raw mut event, milliseconds) } {
            SUCCESS => Ok(event),
            code => Err(code),
        }
    }

    fn record(&self, event: &nvmlEventData_t) {
        if event.eventType & u64::from(nvmlEventTypeXidCriticalError) == 0 {
            return;
        }
        let Some(watched) = self.watched.get(&(event.device as usize)) else {
            self.log.drop_one();
            return;
        };
        let known = |id: u32| (id != NO_INSTANCE).then_some(id);
        let event = XidEvent {
            device_id: watched.device_id,
            uuid: watched.uuid.clone(),
            xid: event.eventData,
            mig: known(event.gpuInstanceId).map(|id| (id, known(event.computeInstanceId))),
            at: SystemTime::now(),
            pid: None,
            process: None,
        };
        self.log.record(event, &watched.pci_bus_id);
    }
}
