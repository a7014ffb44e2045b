//! Space of mounted file systems. Knows the mount table and the rounds; waits for no mount.

use std::{
    ffi::CString,
    io::{self, ErrorKind},
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::Context as _;
use prometheus::proto::MetricFamily;

use super::{
    files::Files,
    mounts,
    rounds::{Rounds, Space},
};
use crate::families::Family;

/// The part of the host that looks at its file systems.
#[derive(Debug)]
pub(super) struct Filesystem {
    rounds: Rounds,
}

impl Filesystem {
    pub(super) fn new() -> Self {
        Self {
            rounds: Rounds::new(Arc::new(ask)),
        }
    }

    /// How often a mount was left out because it hangs, since the start.
    pub(super) fn skipped(&self) -> u64 {
        self.rounds.skipped()
    }

    pub(super) fn collect(
        &mut self,
        files: &mut Files,
        out: &mut Vec<MetricFamily>,
    ) -> anyhow::Result<()> {
        let root = files.proc_path("1/root");
        let (table, root) = match files.read(&files.proc_path("1/mounts")) {
            Ok(table) => (table, reachable(root)),
            // Hidden from an agent without the rights (hidepid), or a pid namespace without 1.
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::NotFound | ErrorKind::PermissionDenied
                ) =>
            {
                let path = files.proc_path("self/mounts");
                let table = files
                    .read(&path)
                    .with_context(|| path.display().to_string())?;
                (table, None)
            }
            Err(error) => return Err(error).context("the mount table of process 1"),
        };
        let (mut mounts, result) = mounts::parse(table);
        if let Some(root) = root {
            for mount in &mut mounts {
                mount.path = below(&root, &mount.path);
            }
        }

        let mut size = Family::gauge(
            "node_filesystem_size_bytes",
            "Size of the file system's data.",
        );
        let mut avail = Family::gauge(
            "node_filesystem_avail_bytes",
            "Space that is free for users other than root.",
        );
        let (spaces, asked) = self.rounds.collect(mounts);
        for (mount, space) in spaces {
            let labels = [
                ("device", mount.device.as_str()),
                ("fstype", &mount.fstype),
                ("mountpoint", &mount.mountpoint),
            ];
            size.push(&labels, space.size_bytes);
            avail.push(&labels, space.avail_bytes);
        }
        out.push(size.build());
        out.push(avail.build());
        result.and(asked)
    }
}

/// The root of process 1 is where its mount table applies, also when the agent is in a container.
/// None where it may not be entered; then its mounts are looked for under our own root.
fn reachable(root: PathBuf) -> Option<PathBuf> {
    // With a component below the link, because entering it is what needs the right.
    root.join(".").metadata().is_ok().then_some(root)
}

fn below(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

/// Asks the file system mounted at `path` for its space. May take forever.
///
/// None for a mount that is not ours to look at: another user's, in FUSE, or one below a directory
/// that something else has been mounted over.
fn ask(path: &Path) -> io::Result<Option<Space>> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: statvfs is an aggregate of integers, for which zeros are a valid value.
    let mut stat: libc::statvfs = unsafe { std::mem::zeroed() };
    // SAFETY: the path is a C string and the pointer is to a statvfs of our own, for the call.
    let status = unsafe { libc::statvfs(path.as_ptr(), &raw mut stat) };
    if status != 0 {
        let error = io::Error::last_os_error();
        return match error.kind() {
            ErrorKind::PermissionDenied | ErrorKind::NotFound => Ok(None),
            _ => Err(error),
        };
    }
    // Blocks are counted in fragments. node_exporter multiplies by f_bsize, the preferred size of
    // a transfer, which is the same for all file systems but some in FUSE, where it is wrong.
    let fragment = stat.f_frsize as f64;
    Ok(Some(Space {
        size_bytes: stat.f_blocks as f64 * fragment,
        avail_bytes: stat.f_bavail as f64 * fragment,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn below_a_root() {
        let check =
            |path, want| assert_eq!(below(Path::new("/r"), Path::new(path)), Path::new(want));
        check("/", "/r/");
        check("/a/b", "/r/a/b");
    }

    #[test]
    fn asks_the_kernel() {
        let space = ask(Path::new("/")).unwrap().unwrap();
        assert!(
            space.size_bytes > 0.0 && space.avail_bytes <= space.size_bytes,
            "{space:?}"
        );
        assert_eq!(ask(Path::new("/nothing/here")).unwrap(), None);
        assert_eq!(
            ask(Path::new("/\0")).unwrap_err().kind(),
            ErrorKind::InvalidInput
        );
    }
}
