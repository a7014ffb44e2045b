//! Whether NVIDIA's driver is there. Calls nothing of it.

use std::path::Path;

/// Whether it is loaded, or its control device was passed in, in the file system below `root`.
pub(crate) fn is_there(root: &Path) -> bool {
    let mut traces = ["dev/nvidiactl", "proc/driver/nvidia"].iter();
    traces.any(|trace| root.join(trace).exists())
}
