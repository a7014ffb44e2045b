//! Tells that something is mapped on a CPU, and nothing of it: for who would otherwise have to look
//! ten times a second whether anything was.
//!
//! Owns a ring of the least size that nobody reads. Writing into it wakes who waits for it, at each
//! record, so that it is paused as soon as it has done so.

use std::{
    io,
    os::fd::{AsRawFd, RawFd},
};

use perf_event::{Builder, Sampler, events::Software};

/// A page, which is the least.
const RING_BYTES: usize = 4_096;

/// Every record is more than this, and wakes.
const WAKE_BYTES: usize = 1;

/// `PERF_EVENT_IOC_PAUSE_OUTPUT` of the kernel's `include/uapi/linux/perf_event.h`, since 4.7.
const PAUSE_OUTPUT: libc::Ioctl = 0x4004_2409;

/// Readable when something is mapped to be executed, while it watches.
pub(super) struct First(Sampler);

impl First {
    /// Does not watch yet.
    pub(super) fn on(cpu: u32) -> io::Result<Self> {
        let mut builder = Builder::new(Software::DUMMY);
        builder
            .any_pid()
            .one_cpu(cpu as usize)
            .mmap(true)
            .wakeup_watermark(WAKE_BYTES)
            .enabled(true);
        let first = Self(builder.build()?.sampled(RING_BYTES)?);
        first.pause(true)?;
        Ok(first)
    }

    /// Watches from now on.
    pub(super) fn watch(&mut self) -> io::Result<()> {
        while self.0.next_record().is_some() {}
        self.pause(false)
    }

    /// Leaves whoever maps alone.
    pub(super) fn rest(&self) -> io::Result<()> {
        self.pause(true)
    }

    fn pause(&self, pause: bool) -> io::Result<()> {
        // SAFETY: the descriptor is open, and the call takes a number.
        match unsafe { libc::ioctl(self.as_raw_fd(), PAUSE_OUTPUT, libc::c_ulong::from(pause)) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

impl AsRawFd for First {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}
