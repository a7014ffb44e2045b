//! Finds, loads and initialises NVIDIA's library, and tells whether its file was replaced since.
//!
//! Knows nothing of devices.

use std::{
    ffi::{CStr, OsStr, c_void},
    fs,
    os::unix::{ffi::OsStrExt as _, fs::MetadataExt as _},
    path::{Path, PathBuf},
};

use nvml_wrapper::{Nvml, error::NvmlError};

use super::{GpuError, calls::Calls};

/// The names to look for where none is given. The first comes with the driver, the second with
/// packages for developers.
const NAMES: [&str; 2] = ["libnvidia-ml.so.1", "libnvidia-ml.so"];

/// The file that a library was loaded from.
#[derive(Debug)]
pub(super) struct LibraryFile {
    path: PathBuf,
    device_and_inode: Option<(u64, u64)>,
}

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

impl LibraryFile {
    /// The file of a library that was loaded just now. Nothing where the linker does not tell.
    pub(super) fn of(nvml: &Nvml) -> Option<Self> {
        let address = *nvml.lib().nvmlInit_v2.as_ref().ok()? as *const c_void;
        let mut info = libc::Dl_info {
            dli_fname: std::ptr::null(),
            dli_fbase: std::ptr::null_mut(),
            dli_sname: std::ptr::null(),
            dli_saddr: std::ptr::null_mut(),
        };
        // SAFETY: any address may be asked for, and the room is of the call's own type.
        let found = unsafe { libc::dladdr(address, &raw mut info) };
        if found == 0 || info.dli_fname.is_null() {
            return None;
        }
        // SAFETY: the linker's text stays as long as the library, which the caller has.
        let name = unsafe { CStr::from_ptr(info.dli_fname) };
        let path = PathBuf::from(OsStr::from_bytes(name.to_bytes()));
        let device_and_inode = device_and_inode(&path);
        Some(Self {
            path,
            device_and_inode,
        })
    }

    /// Whether the library would be another if it were loaded now.
    pub(super) fn is_replaced(&self) -> bool {
        device_and_inode(&self.path) != self.device_and_inode
    }
}

fn device_and_inode(path: &Path) -> Option<(u64, u64)> {
    let file = fs::metadata(path).ok()?;
    Some((file.dev(), file.ino()))
}
