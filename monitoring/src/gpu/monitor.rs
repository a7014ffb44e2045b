//! The monitor: asks the thread that talks to NVML, and does not wait for one that hangs.
//!
//! Makes no call into NVML itself.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    GpuError, GpuMetrics, XidCounts, XidErrors, XidEvents,
    exchange::Exchange,
    worker::{self, Settings},
};

/// Reads the GPUs of this machine.
///
/// It may be shared between threads. When it is dropped, its threads end; if NVML hangs at that
/// moment, they end when it comes back, and nobody waits for them.
#[derive(Debug)]
pub struct GpuMonitor {
    exchange: Arc<Exchange>,
    call_deadline: Duration,
}

/// How to read the GPUs.
#[derive(Clone, Debug)]
pub struct GpuMonitorBuilder {
    library: Option<PathBuf>,
    call_deadline: Duration,
    poll_interval: Duration,
    retry_interval: Duration,
}

/// The GPUs at one moment.
#[derive(Clone, Debug)]
pub struct Poll {
    /// When the first of them was read: nothing of the poll is older.
    pub at: Instant,
    /// By NVML's index. Devices that are lost are not among them.
    pub devices: BTreeMap<u32, GpuMetrics>,
    /// Devices that NVML knows and that could not be read, and why.
    pub lost: BTreeMap<u32, GpuError>,
    /// How many critical errors (XID) of each code there have been, by the device's UUID (its PCI
    /// address, if it tells none): of all devices that have had any, lost ones too.
    pub xid_errors: BTreeMap<String, XidErrors>,
    /// How many polls there have been, this one included.
    pub number: u64,
    /// How often NVML has been initialised. Between two times nobody listens: critical errors of
    /// that moment are not known to anybody. The first poll after it lacks what is measured
    /// between two polls with NVML's own samples ([`crate::gpu::Activity`]).
    pub sessions: u64,
}

impl GpuMonitor {
    /// A monitor with NVIDIA's library as the system has it.
    ///
    /// # Errors
    ///
    /// [`GpuError::NoLibrary`] or [`GpuError::NoDriver`] where one is missing,
    /// [`GpuError::Hanging`] if NVML does not come back.
    pub fn new() -> Result<Self, GpuError> {
        Self::builder().open()
    }

    /// To choose the library or the deadline.
    pub fn builder() -> GpuMonitorBuilder {
        GpuMonitorBuilder {
            library: None,
            call_deadline: Duration::from_secs(5),
            poll_interval: Duration::from_secs(5),
            retry_interval: Duration::from_mins(1),
        }
    }

    /// Reads all GPUs now. Those that are lost are not among them; [`GpuMonitor::latest`] has them
    /// too. Threads that ask at the same time share one reading.
    ///
    /// # Errors
    ///
    /// As [`GpuMonitor::new`]. A library or driver that was missing is looked for each time.
    /// [`GpuError::Hanging`] comes when one call takes longer than the deadline, or one reading of
    /// all GPUs longer than six times that. Who asks while another reading is under way waits for
    /// that one as well.
    pub fn collect_all(&self) -> Result<BTreeMap<u32, GpuMetrics>, GpuError> {
        let poll = self.exchange.ask(self.call_deadline)?;
        Ok(poll.devices.clone())
    }

    /// Reads one GPU now.
    ///
    /// # Errors
    ///
    /// As [`GpuMonitor::new`], [`GpuError::NoDevice`] if there is none of this number, and
    /// [`GpuError::Lost`] if it does not answer.
    pub fn device(&self, device_id: u32) -> Result<GpuMetrics, GpuError> {
        let poll = self.exchange.ask(self.call_deadline)?;
        if let Some(metrics) = poll.devices.get(&device_id) {
            return Ok(metrics.clone());
        }
        let count = poll.devices.len() + poll.lost.len();
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        let lost = poll.lost.get(&device_id).cloned();
        Err(lost.unwrap_or(GpuError::NoDevice { device_id, count }))
    }

    /// The newest poll, or why the last attempt brought none. Returns at once.
    ///
    /// # Errors
    ///
    /// As [`GpuMonitor::new`], and [`GpuError::Starting`] until the first poll has ended.
    pub fn latest(&self) -> Result<Arc<Poll>, GpuError> {
        self.exchange.newest(self.call_deadline)
    }

    /// The critical errors (XID) since this was last called. Returns at once. An event comes here
    /// up to half a second late, because the kernel's log may have the process that caused it.
    /// Errors while NVML is initialised anew ([`Poll::sessions`]), and while it does not come back
    /// from waiting for them, are lost without a trace.
    pub fn take_xid_events(&self) -> XidEvents {
        self.exchange.xids.take()
    }
}

impl Drop for GpuMonitor {
    fn drop(&mut self) {
        self.exchange.stop();
    }
}

impl GpuMonitorBuilder {
    /// Another library than the system's `libnvidia-ml.so.1`.
    #[must_use]
    pub fn library(mut self, path: impl Into<PathBuf>) -> Self {
        self.library = Some(path.into());
        self
    }

    /// How long one call into the library may take before the monitor says that it hangs. All
    /// calls of a poll together may take six times as long. 5 s unless told otherwise.
    #[must_use]
    pub fn call_deadline(mut self, deadline: Duration) -> Self {
        self.call_deadline = deadline;
        self
    }

    /// How often a monitor that polls by itself does. 5 s unless told otherwise.
    #[must_use]
    pub fn poll_interval(mut self, interval: Duration) -> Self {
        self.poll_interval = interval;
        self
    }

    /// How often a missing library or driver is looked for again. 60 s unless told otherwise.
    ///
    /// A device that is missing while others are there is looked for after this time, and then
    /// after twice as long each time, up to 64 times as long: NVML has to be initialised anew for
    /// it, which on a machine without persistence mode may reset the other devices' volatile
    /// counters and limits. One that is gone is given up after seven attempts; it is found when
    /// NVML is next initialised for another reason.
    #[must_use]
    pub fn retry_interval(mut self, interval: Duration) -> Self {
        self.retry_interval = interval;
        self
    }

    /// A monitor that reads when it is asked. The library and the driver must be there. The GPUs
    /// are read once, so that what is measured between two readings is there from the first
    /// [`GpuMonitor::collect_all`] on that comes at least 100 ms later.
    ///
    /// # Errors
    ///
    /// As [`GpuMonitor::new`].
    pub fn open(self) -> Result<GpuMonitor, GpuError> {
        let monitor = self.start(None)?;
        monitor.exchange.ask(monitor.call_deadline)?;
        Ok(monitor)
    }

    /// A monitor that polls by itself, and whose newest poll [`GpuMonitor::latest`] has. If the
    /// library, the driver or a device is missing, it is looked for again.
    ///
    /// # Errors
    ///
    /// [`GpuError::Nvml`] if the system has no thread left to start.
    pub fn poll(self) -> Result<GpuMonitor, GpuError> {
        let interval = self.poll_interval;
        self.start(Some(interval))
    }

    fn start(self, poll_interval: Option<Duration>) -> Result<GpuMonitor, GpuError> {
        let exchange = Arc::new(Exchange::default());
        let settings = Settings {
            library: self.library,
            poll_interval,
            retry_interval: self.retry_interval,
        };
        worker::start(settings, Arc::clone(&exchange))
            .map_err(|error| GpuError::Nvml(format!("start a thread for it: {error}")))?;
        Ok(GpuMonitor {
            exchange,
            call_deadline: self.call_deadline,
        })
    }
}

impl GpuMonitor {
    /// The critical errors (XID) of each GPU that has had any, since this monitor was made. Of all
    /// GPUs: of those that are lost as well, and while NVML hangs. Returns at once.
    pub fn xid_counts(&self) -> Vec<XidCounts> {
        self.exchange.xids.by_device()
    }
}
