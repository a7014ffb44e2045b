//! Finds tracefs, mounts it where it is not yet, and reads tracepoints' formats from it.

use std::{
    ffi::CStr,
    fs::File,
    io::{self, Read as _},
    mem::MaybeUninit,
    path::Path,
    ptr,
};

use super::TracepointFormat;

const TRACEFS: &CStr = c"/sys/kernel/tracing";

/// Where tracefs appears by itself when debugfs is mounted.
const IN_DEBUGFS: &CStr = c"/sys/kernel/debug/tracing";

/// The longest `format` files are of system calls with many flags, at some 50 KB.
const MAX_FORMAT_BYTES: u64 = 1 << 20;

/// Why there is no format, or no tracefs.
#[derive(Debug, thiserror::Error)]
pub enum TracefsError {
    /// Not the name of a tracepoint or its group; nothing was looked up.
    #[error("`{0}` cannot be the name of a tracepoint or of a group of them")]
    BadName(String),
    /// See [`mount_tracefs`].
    #[error("tracefs is not mounted: `mount -t tracefs tracefs /sys/kernel/tracing`")]
    NotMounted,
    /// The kernel was built without tracepoints.
    #[error("this kernel has no tracefs")]
    Unsupported,
    /// Privileges are missing.
    #[error("tracefs needs root, and CAP_SYS_ADMIN to be mounted")]
    NotPermitted,
    /// This kernel has no such tracepoint.
    #[error("this kernel has no tracepoint {group}:{name}")]
    NoTracepoint {
        /// The group asked for.
        group: String,
        /// The tracepoint asked for.
        name: String,
    },
    /// The format is not one that this version understands.
    #[error("malformed tracepoint format in line {line}: {what}")]
    Malformed {
        /// Counts from 1.
        line: usize,
        /// What is wrong there.
        what: &'static str,
    },
    /// Any other failure.
    #[error("tracefs")]
    Io(#[source] io::Error),
}

/// What [`mount_tracefs`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mount {
    /// It mounted tracefs, which stays.
    Mounted,
    /// Tracefs was mounted already.
    AlreadyThere,
}

/// Mounts tracefs, unless it is mounted. Many systems do so only at its first use.
pub fn mount_tracefs() -> Result<Mount, TracefsError> {
    if root().is_some() {
        return Ok(Mount::AlreadyThere);
    }
    let name = c"tracefs".as_ptr();
    let flags = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
    // SAFETY: all strings end in zero and live as long as the call; tracefs takes no data.
    if unsafe { libc::mount(name, TRACEFS.as_ptr(), name, flags, ptr::null()) } == 0 {
        return Ok(Mount::Mounted);
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => Err(TracefsError::NotPermitted),
        Some(libc::ENODEV | libc::ENOENT) => Err(TracefsError::Unsupported),
        // Somebody else was faster.
        Some(libc::EBUSY) if root().is_some() => Ok(Mount::AlreadyThere),
        _ => Err(TracefsError::Io(error)),
    }
}

/// The format of a tracepoint on this kernel.
///
/// # Example
///
/// ```no_run
/// let exec = monitoring_agent::offsets::tracepoint("sched", "sched_process_exec")?;
/// assert_eq!(exec.field("pid").map(|pid| pid.size), Some(4));
/// # Ok::<(), monitoring_agent::offsets::TracefsError>(())
/// ```
pub fn tracepoint(group: &str, name: &str) -> Result<TracepointFormat, TracefsError> {
    for part in [group, name] {
        check_name(part)?;
    }
    tracepoint_in(root().ok_or(TracefsError::NotMounted)?, group, name)
}

/// The kernel's names are C identifiers, some groups have a hyphen: `xhci-hcd`.
fn check_name(name: &str) -> Result<(), TracefsError> {
    let is_good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    if name.is_empty() || name.len() > 255 || !name.chars().all(is_good) {
        return Err(TracefsError::BadName(name.to_owned()));
    }
    Ok(())
}

fn tracepoint_in(root: &Path, group: &str, name: &str) -> Result<TracepointFormat, TracefsError> {
    let path = root.join("events").join(group).join(name).join("format");
    let mut bytes = Vec::new();
    let read =
        File::open(path).and_then(|file| file.take(MAX_FORMAT_BYTES).read_to_end(&mut bytes));
    match read {
        Ok(_) => TracepointFormat::parse(&String::from_utf8_lossy(&bytes)),
        Err(error) => Err(match error.kind() {
            io::ErrorKind::NotFound => TracefsError::NoTracepoint {
                group: group.to_owned(),
                name: name.to_owned(),
            },
            io::ErrorKind::PermissionDenied => TracefsError::NotPermitted,
            _ => TracefsError::Io(error),
        }),
    }
}

/// Where tracefs is mounted.
fn root() -> Option<&'static Path> {
    let mounted = [TRACEFS, IN_DEBUGFS]
        .into_iter()
        .find(|path| is_tracefs(path))?;
    mounted.to_str().ok().map(Path::new)
}

/// Whether tracefs is mounted at a path. An empty folder stands there where it is not, so its
/// presence says nothing. A path that cannot be looked at is of no use, whatever it is.
fn is_tracefs(path: &CStr) -> bool {
    let mut stat = MaybeUninit::<libc::statfs>::uninit();
    // SAFETY: the path ends in zero, and there is room for the result.
    if unsafe { libc::statfs(path.as_ptr(), stat.as_mut_ptr()) } != 0 {
        return false;
    }
    // SAFETY: the call has filled it.
    unsafe { stat.assume_init() }.f_type == libc::TRACEFS_MAGIC
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn names_are_no_paths() {
        let check = |name: &str, good: bool| assert_eq!(check_name(name).is_ok(), good, "{name:?}");
        check("sched_process_exec", true);
        check("xhci-hcd", true);
        check("cfg80211", true);
        check("", false);
        check(".", false);
        check("..", false);
        check("../../etc", false);
        check("sched/sched_switch", false);
        check("/etc/passwd", false);
        check("sched\0", false);
        check("sched switch", false);
        check("séance", false);
        check(&"a".repeat(256), false);
    }

    #[test]
    fn bad_names_are_refused_before_any_look_up() {
        let refused =
            |group, name| matches!(tracepoint(group, name), Err(TracefsError::BadName(_)));
        assert!(refused("..", "format"));
        assert!(refused("sched", "../sched/sched_switch"));
    }

    #[test]
    fn reads_the_file_of_the_tracepoint() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("events/sched/sched_switch");
        fs::create_dir_all(&folder).unwrap();
        let text = "\tfield:int prev_prio;\toffset:28;\tsize:4;\tsigned:1;\n";
        fs::write(folder.join("format"), text).unwrap();

        let format = tracepoint_in(root.path(), "sched", "sched_switch").unwrap();
        assert_eq!(
            format.field("prev_prio").map(|field| field.offset),
            Some(28)
        );
        let missing = tracepoint_in(root.path(), "sched", "sched_gone");
        assert!(matches!(missing, Err(TracefsError::NoTracepoint { .. })));
    }
}
