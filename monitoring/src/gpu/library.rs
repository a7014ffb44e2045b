//! Finds, loads and initialises NVIDIA's library.
//!
//! Knows nothing of devices.

use std::{ffi::OsStr, path::Path};

use nvml_wrapper::{Nvml, error::NvmlError};

use super::{GpuError, calls::Calls};

/// The names to look for where none is given. The first comes with the driver, the second with
/// packages for developers.
const NAMES: [&str; 2] = ["libnvidia-ml.so.1", "libnvidia-ml.so"];

/// The library that `named` is, or else the system's.
pub(super) fn open(named: Option<&Path>, calls: &Calls) -> Result<Nvml, GpuError> {
    if let Some(path) = named {
        return load(path.as_os_str(), calls);
    }
    match load(OsStr::new(NAMES[0]), calls) {
        // The other name is tried for its sake only; what is said is why the first is not there.
        Err(GpuError::NoLibrary(why)) => match load(OsStr::new(NAMES[1]), calls) {
            Err(GpuError::NoLibrary(_)) => Err(GpuError::NoLibrary(why)),
            other => other,
        },
        other => other,
    }
}

fn load(name: &OsStr, calls: &Calls) -> Result<Nvml, GpuError> {
    let _call = calls.enter("nvmlInit_v2");
    Nvml::builder()
        .lib_path(name)
        .init()
        .map_err(|error| match error {
            NvmlError::LibloadingError(_) | NvmlError::FailedToLoadSymbol(_) => {
                GpuError::NoLibrary(error.to_string())
            }
            other => GpuError::NoDriver(other.to_string()),
        })
}
