//! Waits for events, and passes them on.
//!
//! Knows nothing of which devices are registered when.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant, SystemTime},
};

use nvml_wrapper_sys::bindings::{
    nvmlEventData_t, nvmlEventTypeXidCriticalError, nvmlReturn_enum_NVML_ERROR_TIMEOUT as TIMEOUT,
};

use super::{
    super::{XidEvent, kernel_log::KernelLog, xid::XidLog},
    set::{NO_INSTANCE, Set},
};

/// How long one call waits: as long as the end of a session may have to wait for it.
pub(super) const WAIT: Duration = Duration::from_millis(100);
/// A call that comes back sooner, without an event, would otherwise be made all the time.
const SOON: Duration = Duration::from_millis(20);
/// As many events are still taken at the end. NVML has no room for more.
const MOST_LAST: u32 = 256;

/// A device whose events come.
#[derive(Clone)]
pub(super) struct Watched {
    pub(super) device_id: u32,
    pub(super) key: String,
    pub(super) pci_bus_id: String,
}

/// What the thread has.
pub(super) struct Waiter {
    pub(super) set: Arc<Set>,
    pub(super) watched: BTreeMap<usize, Watched>,
    pub(super) log: Arc<XidLog>,
    pub(super) stop: Arc<AtomicBool>,
}

impl Waiter {
    /// Waits until it is told to stop.
    pub(super) fn run(self) {
        let mut kernel_log = KernelLog::open();
        while !self.stop.load(Ordering::Relaxed) {
            let begun = Instant::now();
            let event = self.set.wait(WAIT);
            if let Some(kernel_log) = &mut kernel_log {
                self.log.add_lines(kernel_log.read());
            }
            match event {
                Ok(event) => self.record(&event),
                Err(TIMEOUT) if begun.elapsed() >= SOON => {}
                Err(_) => thread::park_timeout(WAIT),
            }
        }
        // What has happened until now would be lost with the set.
        for _ in 0..MOST_LAST {
            match self.set.wait(Duration::ZERO) {
                Ok(event) => self.record(&event),
                Err(_) => break,
            }
        }
        if let Some(kernel_log) = &mut kernel_log {
            self.log.add_lines(kernel_log.read());
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
            uuid: watched.key.clone(),
            xid: event.eventData,
            mig: known(event.gpuInstanceId).map(|id| (id, known(event.computeInstanceId))),
            at: SystemTime::now(),
            pid: None,
            process: None,
        };
        self.log.record(event, &watched.pci_bus_id);
    }
}
