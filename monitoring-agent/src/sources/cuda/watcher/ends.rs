//! Tells when processes end, for almost nothing: a descriptor for each, which says so.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
};

/// Most processes that are watched so: descriptors are not for this alone. Of the others a look at
/// all processes tells.
const MAX_WATCHED: usize = 256;

/// Processes whose end is told.
#[derive(Debug, Default)]
pub(super) struct Ends {
    watched: BTreeMap<u32, OwnedFd>,
    /// Those that had ended before anyone could look.
    ended: BTreeSet<u32>,
}

impl Ends {
    /// Watches these processes from now on, and no others.
    pub(super) fn watch(&mut self, pids: &BTreeSet<u32>) {
        self.watched.retain(|pid, _| pids.contains(pid));
        for pid in pids {
            if self.watched.len() >= MAX_WATCHED {
                break;
            }
            if self.watched.contains_key(pid) {
                continue;
            }
            match descriptor(*pid) {
                Ok(fd) => {
                    self.watched.insert(*pid, fd);
                }
                Err(error) if error.raw_os_error() == Some(libc::ESRCH) => {
                    self.ended.insert(*pid);
                }
                // As if there were too many.
                Err(_) => {}
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.watched.is_empty() && self.ended.is_empty()
    }

    /// The processes that have ended, each once.
    pub(super) fn take(&mut self) -> BTreeSet<u32> {
        let waiting = |fd: &OwnedFd| libc::pollfd {
            fd: fd.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        };
        let mut fds: Vec<_> = self.watched.values().map(waiting).collect();
        // SAFETY: the pointer is to as many elements as are said, which live across the call. If it
        // fails, none has ended yet.
        unsafe { libc::poll(fds.as_mut_ptr(), fds.len() as libc::nfds_t, 0) };
        let pids = self.watched.keys().zip(&fds);
        let ended = pids.filter(|(_, fd)| fd.revents != 0);
        self.ended.extend(ended.map(|(pid, _)| *pid));
        self.watched.retain(|pid, _| !self.ended.contains(pid));
        std::mem::take(&mut self.ended)
    }
}

fn descriptor(pid: u32) -> io::Result<OwnedFd> {
    // SAFETY: the call takes numbers only.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    let fd = i32::try_from(fd).ok().filter(|fd| *fd >= 0);
    let fd = fd.ok_or_else(io::Error::last_os_error)?;
    // SAFETY: the descriptor is new, and nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn an_end_is_told_once() {
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        let pids = BTreeSet::from([child.id(), std::process::id()]);
        let mut ends = Ends::default();
        ends.watch(&pids);
        assert_eq!(ends.take(), BTreeSet::new());
        drop(child.stdin.take());
        child.wait().unwrap();
        assert_eq!(ends.take(), BTreeSet::from([child.id()]));
        assert_eq!(ends.take(), BTreeSet::new());
        // It is gone, and so it is told again if it is asked for again.
        ends.watch(&pids);
        assert_eq!(ends.take(), BTreeSet::from([child.id()]));
        ends.watch(&BTreeSet::new());
        assert!(ends.is_empty());
    }
}
