//! Which disk a folder's files are written to. Knows no metric.

use std::{fs, os::unix::fs::MetadataExt as _, path::Path};

/// The whole disk below the folder's file system, by its name in /proc/diskstats; or why no disk
/// can be told: file systems in memory, over the network, or of several devices have none.
pub(crate) fn disk_of(folder: &Path) -> Result<String, String> {
    let device = fs::metadata(folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .dev();
    let (major, minor) = (libc::major(device), libc::minor(device));
    let mut entry = fs::canonicalize(format!("/sys/dev/block/{major}:{minor}")).map_err(|error| {
        format!(
            "{} lies on no block device of its own ({major}:{minor}: {error}); a target folder on \
             a local disk makes this check possible",
            folder.display()
        )
    })?;
    if entry.join("partition").exists() {
        entry.pop();
    }
    let name = entry.file_name().expect("a device has a name");
    // As sysfs writes a slash.
    Ok(name.to_string_lossy().replace('!', "/"))
}
