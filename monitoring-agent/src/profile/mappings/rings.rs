//! The kernel's rings, one for each CPU, and their records in order of time.
//!
//! Whoever writes into a ring is not held up: when it is full, records are lost, and the kernel says
//! how many. Knows no process.

use std::{
    collections::BTreeMap,
    io,
    os::fd::{AsRawFd, FromRawFd as _, OwnedFd, RawFd},
    time::Duration,
};

use aya::util::online_cpus;
use perf_event::{Builder, Clock, ReadFormat, SampleFlag, Sampler, events::Software};

use super::record::{self, Told};
use crate::cpus::{Change, CpuChanges, is_alive};

/// Room in the ring of one CPU: some 600 records, and a program that starts makes about ten. Nobody
/// starts so many within the tenth of a second after which rings are read anyway.
const RING_BYTES: usize = 64 * 1024;

/// With so much in a ring, whoever waits is woken.
const WAKE_BYTES: usize = 16 * 1024;

/// Most records that are taken from one ring at a time: all that fit, so that a CPU that does nothing
/// else keeps nobody busy without end.
const MAX_RECORDS: usize = RING_BYTES / 40;

/// The rings.
pub(super) struct Rings {
    by_cpu: BTreeMap<u32, Ring>,
    waiting: OwnedFd,
    changes: CpuChanges,
    /// Whether the ring of some CPU cannot be had.
    is_short: bool,
}

struct Ring {
    sampler: Sampler,
    /// See [`is_alive`].
    ran: Duration,
}

impl Rings {
    /// Has the kernel tell of all processes from now on. `wake` ends a wait when it is readable.
    pub(super) fn open(wake: RawFd) -> io::Result<Self> {
        // SAFETY: the call has no preconditions.
        let waiting = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        if waiting < 0 {
            return Err(io::Error::last_os_error());
        }
        let mut rings = Self {
            by_cpu: BTreeMap::new(),
            // SAFETY: the descriptor is new, and nobody else's.
            waiting: unsafe { OwnedFd::from_raw_fd(waiting) },
            // First, so that no change is between them and the rings.
            changes: CpuChanges::listen(),
            is_short: false,
        };
        rings.wait_for(wake)?;
        if let Some(changes) = rings.changes.descriptor() {
            rings.wait_for(changes.as_raw_fd())?;
        }
        rings.open_new()?;
        Ok(rings)
    }

    /// What happened to CPUs. To be asked before [`Self::take`], which then has all that a CPU's ring
    /// ever holds that was switched off.
    pub(super) fn changed(&mut self) -> Change {
        self.changes.take()
    }

    /// Goes over to the CPUs that there are after a change. Whether some are new: what was done on
    /// them before nobody was told.
    pub(super) fn follow_cpus(&mut self, change: &Change) -> io::Result<bool> {
        match change {
            Change::None if !self.is_short => return Ok(false),
            Change::None => {}
            Change::Of(cpus) => self.by_cpu.retain(|cpu, _| !cpus.contains(cpu)),
            Change::Any => self
                .by_cpu
                .retain(|_, ring| is_alive(&mut ring.sampler, &mut ring.ran)),
        }
        let opened = self.open_new();
        self.is_short = opened.is_err();
        opened
    }

    fn open_new(&mut self) -> io::Result<bool> {
        let online = online_cpus().map_err(|(_, error)| error)?;
        self.by_cpu.retain(|cpu, _| online.contains(cpu));
        let mut new = false;
        for cpu in online {
            if self.by_cpu.contains_key(&cpu) {
                continue;
            }
            match ring(cpu) {
                // It has gone just now.
                Err(error) if error.raw_os_error() == Some(libc::ENODEV) => {}
                Err(error) => return Err(error),
                Ok(sampler) => {
                    self.wait_for(sampler.as_raw_fd())?;
                    let ran = Duration::ZERO;
                    self.by_cpu.insert(cpu, Ring { sampler, ran });
                    new = true;
                }
            }
        }
        Ok(new)
    }

    fn wait_for(&self, descriptor: RawFd) -> io::Result<()> {
        let mut event = libc::epoll_event {
            events: libc::EPOLLIN.cast_unsigned(),
            u64: 0,
        };
        let set = self.waiting.as_raw_fd();
        // SAFETY: both descriptors are open, and the event lives across the call. One that is closed
        // leaves the set by itself.
        let result =
            unsafe { libc::epoll_ctl(set, libc::EPOLL_CTL_ADD, descriptor, &raw mut event) };
        if result < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    }

    /// Waits until a ring is getting full or somebody wakes, at most for so long.
    pub(super) fn wait(&self, limit: Duration) {
        const EVENTS: i32 = 16;
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; EVENTS as usize];
        let limit = i32::try_from(limit.as_millis()).unwrap_or(i32::MAX);
        let set = self.waiting.as_raw_fd();
        // SAFETY: the array has room for as many events as are asked for.
        unsafe { libc::epoll_wait(set, events.as_mut_ptr(), EVENTS, limit) };
    }

    /// Takes what is in the rings, one after the other: the records of each are in order.
    pub(super) fn take(&mut self, mut each: impl FnMut(u64, Told<'_>)) {
        for ring in self.by_cpu.values_mut() {
            for _ in 0..MAX_RECORDS {
                let Some(record) = ring.sampler.next_record() else {
                    break;
                };
                let (kind, misc) = (record.ty(), record.misc());
                if let Some((time, told)) = record::parse(kind, misc, &record.to_contiguous()) {
                    each(time, told);
                }
            }
        }
    }
}

/// The events of a CPU.
fn ring(cpu: u32) -> io::Result<Sampler> {
    let mut builder = Builder::new(Software::DUMMY);
    builder
        .any_pid()
        .one_cpu(cpu as usize)
        .mmap(true)
        .mmap2(true)
        .comm(true)
        .comm_exec(true)
        .task(true)
        .sample(SampleFlag::TIME)
        .sample_id_all(true)
        .clockid(Clock::MONOTONIC)
        .read_format(ReadFormat::TOTAL_TIME_ENABLED)
        .wakeup_watermark(WAKE_BYTES)
        .enabled(true);
    builder.build()?.sampled(RING_BYTES)
}
