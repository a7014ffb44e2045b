//! Why a GPU could not be read, by what the caller can do about it.

use std::time::Duration;

/// Why GPUs could not be read.
#[derive(Clone, Debug, thiserror::Error)]
pub enum GpuError {
    /// There is no management library here, or it is not one. It may be installed later.
    #[error(
        "no NVIDIA management library: {0}; install NVIDIA's driver, or name the library's file"
    )]
    NoLibrary(String),
    /// The library is there, and finds no driver that it can work with: none is loaded, it is
    /// being replaced, or it is of another version than the library.
    #[error("NVIDIA's driver does not answer: {0}")]
    NoDriver(String),
    /// The first poll has not ended yet.
    #[error("the GPUs are being read for the first time")]
    Starting,
    /// A call into the library has not come back. The monitor goes on by itself when it does.
    #[error("NVML has not come back from {call} for {} s; the GPU or its driver hangs", for_.as_secs())]
    Hanging {
        /// The call, by NVML's name for it; or in words, if none of a poll's calls takes too long,
        /// but all together do.
        call: &'static str,
        /// For how long.
        for_: Duration,
    },
    /// No GPU has this number.
    #[error("there is no GPU {device_id}; this machine has {count}")]
    NoDevice {
        /// The number that was asked for.
        device_id: u32,
        /// How many GPUs there are.
        count: u32,
    },
    /// The GPU does not answer any more ("fell off the bus"), or needs a reset.
    #[error("GPU {device_id} is lost: {reason}")]
    Lost {
        /// The GPU's number.
        device_id: u32,
        /// What NVML says of it.
        reason: String,
    },
    /// Anything else that NVML says.
    #[error("NVML: {0}")]
    Nvml(String),
}
