//! The monitor: asks the thread that talks to NVML, and never waits longer than its deadline.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{GpuError, GpuMetrics};

/// Reads the GPUs of this machine.
#[derive(Debug)]
pub struct GpuMonitor {}

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
    /// When the last of them was read.
    pub at: Instant,
    /// By NVML's index. Devices that are lost are not among them.
    pub devices: BTreeMap<u32, GpuMetrics>,
    /// Devices that NVML knows and that could not be read, and why.
    pub lost: BTreeMap<u32, GpuError>,
    /// How many polls there have been, this one included.
    pub number: u64,
}

impl GpuMonitor {
    /// A monitor with NVIDIA's library as the system has it.
    pub fn new() -> Result<Self, GpuError> {
        Self::builder().open()
    }

    /// To choose the library or the deadline.
    pub fn builder() -> GpuMonitorBuilder {
        GpuMonitorBuilder {
            library: None,
            call_deadline: Duration::from_secs(5),
            poll_interval: Duration::from_secs(5),
            retry_interval: Duration::from_secs(60),
        }
    }

    /// Reads all GPUs now.
    pub fn collect_all(&self) -> Result<BTreeMap<u32, GpuMetrics>, GpuError> {
        todo!()
    }

    /// Reads one GPU now.
    pub fn device(&self, _device_id: u32) -> Result<GpuMetrics, GpuError> {
        todo!()
    }

    /// The newest poll of a monitor that polls by itself. Returns at once.
    pub fn latest(&self) -> Result<Arc<Poll>, GpuError> {
        todo!()
    }
}

impl GpuMonitorBuilder {
    /// Another library than the system's `libnvidia-ml.so.1`.
    #[must_use]
    pub fn library(mut self, path: impl Into<PathBuf>) -> Self {
        self.library = Some(path.into());
        self
    }

    /// How long one call into the library may take before the monitor says that it hangs. 5 s
    /// unless told otherwise.
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

    /// How often a missing library, driver or device is looked for again. 60 s unless told
    /// otherwise.
    #[must_use]
    pub fn retry_interval(mut self, interval: Duration) -> Self {
        self.retry_interval = interval;
        self
    }

    /// A monitor that reads when it is asked. The library and the driver must be there.
    pub fn open(self) -> Result<GpuMonitor, GpuError> {
        todo!()
    }

    /// A monitor that polls by itself, and whose newest poll [`GpuMonitor::latest`] has. If the
    /// library, the driver or a device is missing, it is looked for again.
    pub fn poll(self) -> GpuMonitor {
        todo!()
    }
}
