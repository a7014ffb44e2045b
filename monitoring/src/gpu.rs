//! NVIDIA GPUs, read through NVIDIA's management library (NVML).
//!
//! The library is loaded when a [`GpuMonitor`] is made; a program that never makes one needs none.
//! All calls into it are made on threads of the monitor's own, because some have been seen to hang
//! for minutes with a failing GPU: whoever asks gets an error after the deadline, not a hang.
//!
//! Knows nothing of who shows the numbers, and nothing of agents.
//!
//! # Example
//!
//! ```no_run
//! use monitoring::gpu::{GpuMetrics, GpuMonitor};
//!
//! # fn main() -> Result<(), monitoring::gpu::GpuError> {
//! let gpu_monitor = GpuMonitor::new()?;
//! let metrics = gpu_monitor.collect_all()?;
//! for (device_id, device_metrics) in metrics {
//!     println!(
//!         "GPU {}: {}% utilization, {}°C",
//!         device_id, device_metrics.utilization, device_metrics.temperature
//!     );
//! }
//! let gpu_0 = gpu_monitor.device(0)?;
//! println!("Memory: {}/{} MB", gpu_0.memory_used_mb(), gpu_0.memory_total_mb());
//! # Ok(())
//! # }
//! ```

mod backoff;
mod calls;
mod device;
mod error;
mod events;
mod exchange;
mod kernel_log;
mod library;
mod metrics;
mod monitor;
mod plausible;
mod reading;
mod session;
mod worker;
mod xid;

pub use error::GpuError;
pub use metrics::{
    Activity, EccErrors, GpuIdentity, GpuMetrics, GpuProcess, Memory, MigIdentity, MigInstance,
    Named, NvLink, Pcie, ThrottleReason, XidErrors,
};
pub use monitor::{GpuMonitor, GpuMonitorBuilder, Poll};
pub use reading::Reading;
pub use xid::{XidCounts, XidEvent, XidEvents};
