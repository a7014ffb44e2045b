//! Files that processes map to execute them, as the kernel tells of each: when a program starts, and
//! when one loads a library later.
//!
//! Owns one ring of the kernel's for each CPU. Whoever writes into them is not held up: when a ring
//! is full, records are lost, and the kernel says how many. Knows no process and opens no file.

mod record;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    io,
    os::fd::{AsRawFd, FromRawFd as _, OwnedFd, RawFd},
};

use aya::util::online_cpus;
use perf_event::{Builder, Clock, SampleFlag, Sampler, events::Software};

use super::Names;

/// Room in the ring of one CPU: some 400 mappings, of which a program that starts makes five to ten.
const RING_BYTES: usize = 64 * 1024;

/// With so much in a ring, whoever waits is woken. Up to then nobody is, however many programs start.
const WAKE_BYTES: usize = 16 * 1024;

/// Most records that are taken from one ring at a time: all that fit, so that a CPU that does nothing
/// else keeps nobody busy without end.
const MAX_RECORDS: usize = RING_BYTES / 80;

/// A file as it is mapped; see [`Mapping`](super::mappings::Mapping).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MappedFile {
    /// The device.
    pub device: libc::dev_t,
    /// The inode.
    pub inode: u64,
}

/// What is new.
#[derive(Debug, Default)]
pub struct News {
    /// Processes that have mapped files whose names are looked for; when they did so first, on the
    /// monotonic clock.
    pub named: HashMap<(u32, MappedFile), u64>,
    /// Followed processes that have mapped anything to execute; likewise.
    pub changed: HashMap<u32, u64>,
    /// Records for which there was no room.
    pub lost: u64,
}

/// The rings. Readable when one of them is getting full.
pub struct Events {
    names: Names,
    rings: BTreeMap<u32, Sampler>,
    waiting: OwnedFd,
}

impl Events {
    /// Has the kernel tell of all mappings from now on.
    ///
    /// # Errors
    ///
    /// Where the kernel has no such events, or the agent may not have those of others.
    pub fn open(names: Names) -> io::Result<Self> {
        // SAFETY: the call has no preconditions.
        let waiting = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        if waiting < 0 {
            return Err(io::Error::last_os_error());
        }
        let mut events = Self {
            names,
            rings: BTreeMap::new(),
            // SAFETY: the descriptor is new, and nobody else's.
            waiting: unsafe { OwnedFd::from_raw_fd(waiting) },
        };
        events.follow_cpus()?;
        Ok(events)
    }

    /// Goes over to the CPUs that there are now. Whether some are new: what was mapped on them before
    /// nobody was told.
    ///
    /// # Errors
    ///
    /// When a CPU's events cannot be had; those of the others can.
    pub fn follow_cpus(&mut self) -> io::Result<bool> {
        let online = online_cpus().map_err(|(_, error)| error)?;
        // A CPU that comes back has no more events for who asked before.
        self.rings.retain(|cpu, _| online.contains(cpu));
        let mut new = false;
        for cpu in online {
            if self.rings.contains_key(&cpu) {
                continue;
            }
            match ring(cpu) {
                // It has gone just now.
                Err(error) if error.raw_os_error() == Some(libc::ENODEV) => {}
                Err(error) => return Err(error),
                Ok(ring) => {
                    self.wait_for(&ring)?;
                    self.rings.insert(cpu, ring);
                    new = true;
                }
            }
        }
        Ok(new)
    }

    fn wait_for(&self, ring: &Sampler) -> io::Result<()> {
        let mut event = libc::epoll_event {
            events: libc::EPOLLIN.cast_unsigned(),
            u64: 0,
        };
        let (set, ring) = (self.waiting.as_raw_fd(), ring.as_raw_fd());
        // SAFETY: both descriptors are open, and the event lives across the call. A ring that is
        // closed leaves the set by itself.
        let result = unsafe { libc::epoll_ctl(set, libc::EPOLL_CTL_ADD, ring, &raw mut event) };
        if result < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    }

    /// Takes what is in the rings. Processes that are `followed` are told of whatever they map.
    pub fn take(&mut self, followed: &HashSet<u32>) -> News {
        self.calm();
        let mut news = News::default();
        for ring in self.rings.values_mut() {
            for _ in 0..MAX_RECORDS {
                let Some(record) = ring.next_record() else {
                    break;
                };
                match record.ty() {
                    record::LOST => news.lost += record::lost(&record.to_contiguous()),
                    record::MAPPED => {
                        let body = record.to_contiguous();
                        if let Some(record) = record::mapped(&body) {
                            news.add(&record, &self.names, followed);
                        }
                    }
                    _ => {}
                }
            }
        }
        news
    }

    /// Forgets that rings were getting full: they are read anyway.
    fn calm(&self) {
        const EVENTS: i32 = 16;
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; EVENTS as usize];
        // SAFETY: the array has room for as many events as are asked for.
        unsafe { libc::epoll_wait(self.waiting.as_raw_fd(), events.as_mut_ptr(), EVENTS, 0) };
    }
}

impl AsRawFd for Events {
    fn as_raw_fd(&self) -> RawFd {
        self.waiting.as_raw_fd()
    }
}

impl News {
    fn add(&mut self, record: &record::Record<'_>, names: &Names, followed: &HashSet<u32>) {
        if names.library(record.file_name).is_some() {
            let file = MappedFile {
                device: record.device,
                inode: record.inode,
            };
            let first = self.named.entry((record.pid, file));
            let first = first.or_insert(record.at_ns);
            *first = record.at_ns.min(*first);
        } else if followed.contains(&record.pid) {
            let first = self.changed.entry(record.pid).or_insert(record.at_ns);
            *first = record.at_ns.min(*first);
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
        .sample(SampleFlag::TIME)
        .sample_id_all(true)
        .clockid(Clock::MONOTONIC)
        .wakeup_watermark(WAKE_BYTES)
        .enabled(true);
    builder.build()?.sampled(RING_BYTES)
}
