//! Files that processes map to execute them, as the kernel tells of each: when a program starts, and
//! when one loads a library later.
//!
//! Owns one ring of the kernel's for each CPU. Whoever writes into them is not held up: when a ring
//! is full, records are lost, and the kernel says how many. Knows no process and opens no file.

mod first;
mod record;

use std::{
    collections::BTreeMap,
    io,
    os::fd::{AsRawFd, FromRawFd as _, OwnedFd, RawFd},
    time::Duration,
};

use aya::util::online_cpus;
use perf_event::{Builder, Clock, ReadFormat, SampleFlag, Sampler, events::Software};

use self::first::First;
use crate::{
    cpus::{Change, CpuChanges, is_alive},
    process_maps::Mapping,
};

pub(crate) use record::Record;

/// Room in the ring of one CPU: some 400 mappings, of which a program that starts makes five to ten.
const RING_BYTES: usize = 64 * 1024;

/// With so much in a ring, whoever waits is woken. Up to then nobody is, however many programs start.
const WAKE_BYTES: usize = 16 * 1024;

/// Most records that are taken from one ring at a time: all that fit, so that a CPU that does nothing
/// else keeps nobody busy without end.
const MAX_RECORDS: usize = RING_BYTES / 80;

/// A file as it is mapped; see [`Mapping`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MappedFile {
    /// The device.
    pub device: libc::dev_t,
    /// The inode.
    pub inode: u64,
}

impl MappedFile {
    /// The file of a mapping.
    pub(crate) fn of(mapping: &Mapping<'_>) -> Self {
        Self {
            device: mapping.device,
            inode: mapping.inode,
        }
    }
}

/// How much was told.
#[derive(Clone, Copy, Debug, Default)]
pub struct Heard {
    /// Records for which there was no room.
    pub lost: u64,
    /// Whether anything was told at all, of interest or not.
    pub any: bool,
}

/// The rings. Readable when one of them is getting full, or, while the first mapping is
/// [watched](Self::watch) for, when there is one.
pub struct Events {
    cpus: BTreeMap<u32, Cpu>,
    waiting: OwnedFd,
    watching: bool,
    changes: CpuChanges,
}

struct Cpu {
    ring: Sampler,
    first: First,
    /// See [`is_alive`].
    ran: Duration,
}

impl Events {
    /// Has the kernel tell of all mappings from now on.
    ///
    /// # Errors
    ///
    /// Where the kernel has no such events, or the agent may not have those of others.
    pub fn open() -> io::Result<Self> {
        // SAFETY: the call has no preconditions.
        let waiting = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        if waiting < 0 {
            return Err(io::Error::last_os_error());
        }
        let mut events = Self {
            cpus: BTreeMap::new(),
            // SAFETY: the descriptor is new, and nobody else's.
            waiting: unsafe { OwnedFd::from_raw_fd(waiting) },
            watching: false,
            // First, so that no change is between them and the rings.
            changes: CpuChanges::listen(),
        };
        events.open_new()?;
        Ok(events)
    }

    /// Goes over to the CPUs that there are now. Whether some are new: what was mapped on them before
    /// nobody was told.
    ///
    /// # Errors
    ///
    /// When a CPU's events cannot be had; those of the others can.
    pub fn follow_cpus(&mut self) -> io::Result<bool> {
        let change = self.changes.take();
        self.follow(&change)
    }

    fn follow(&mut self, change: &Change) -> io::Result<bool> {
        // A CPU that comes back has no more events for who asked before, also if it was away for so
        // short a time that nobody saw it.
        match change {
            Change::None => {}
            Change::Of(changed) => self.cpus.retain(|cpu, _| !changed.contains(cpu)),
            Change::Any => self
                .cpus
                .retain(|_, cpu| is_alive(&mut cpu.ring, &mut cpu.ran)),
        }
        self.open_new()
    }

    /// Opens the rings of CPUs that have none.
    fn open_new(&mut self) -> io::Result<bool> {
        let online = online_cpus().map_err(|(_, error)| error)?;
        self.cpus.retain(|cpu, _| online.contains(cpu));
        let mut new = false;
        for cpu in online {
            if self.cpus.contains_key(&cpu) {
                continue;
            }
            match Cpu::open(cpu) {
                // It has gone just now.
                Err(error) if error.raw_os_error() == Some(libc::ENODEV) => {}
                Err(error) => return Err(error),
                Ok(mut opened) => {
                    self.wait_for(&opened.ring)?;
                    self.wait_for(&opened.first)?;
                    if self.watching {
                        opened.first.watch()?;
                    }
                    self.cpus.insert(cpu, opened);
                    new = true;
                }
            }
        }
        Ok(new)
    }

    fn wait_for(&self, ring: &impl AsRawFd) -> io::Result<()> {
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

    /// Becomes readable as soon as anything is mapped. What was mapped by now has to be taken
    /// *afterwards*: nobody is told of it any more.
    ///
    /// # Errors
    ///
    /// When that cannot be had; then it has to be looked without being told.
    pub fn watch(&mut self) -> io::Result<()> {
        self.watching = true;
        let mut cpus = self.cpus.values_mut();
        cpus.try_for_each(|cpu| cpu.first.watch())
    }

    /// Leaves whoever maps alone again. Whether it was watched until now.
    pub fn rest(&mut self) -> bool {
        if self.watching {
            for cpu in self.cpus.values() {
                // What goes on to wake is a nuisance only.
                let _ = cpu.first.rest();
            }
            self.calm();
        }
        std::mem::take(&mut self.watching)
    }

    /// Hands over what is in the rings, and empties them.
    pub fn take(&mut self, mut mapped: impl FnMut(&Record<'_>)) -> Heard {
        self.calm();
        let mut heard = Heard::default();
        for cpu in self.cpus.values_mut() {
            for _ in 0..MAX_RECORDS {
                let Some(record) = cpu.ring.next_record() else {
                    break;
                };
                heard.any = true;
                match record.ty() {
                    record::LOST => heard.lost += record::lost(&record.to_contiguous()),
                    record::MAPPED => {
                        let body = record.to_contiguous();
                        if let Some(record) = record::mapped(&body) {
                            mapped(&record);
                        }
                    }
                    _ => {}
                }
            }
        }
        heard
    }

    /// Forgets that rings were getting full: they are read anyway.
    fn calm(&self) {
        const EVENTS: i32 = 16;
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; EVENTS as usize];
        let set = self.waiting.as_raw_fd();
        // SAFETY: the array has room for as many events as are asked for. Each ring is told of once.
        while unsafe { libc::epoll_wait(set, events.as_mut_ptr(), EVENTS, 0) } == EVENTS {}
    }
}

impl AsRawFd for Events {
    fn as_raw_fd(&self) -> RawFd {
        self.waiting.as_raw_fd()
    }
}

impl Cpu {
    fn open(cpu: u32) -> io::Result<Self> {
        Ok(Self {
            ring: ring(cpu)?,
            first: First::on(cpu)?,
            ran: Duration::ZERO,
        })
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
        .read_format(ReadFormat::TOTAL_TIME_ENABLED)
        .wakeup_watermark(WAKE_BYTES)
        .enabled(true);
    builder.build()?.sampled(RING_BYTES)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_cpu_that_was_away_for_a_moment_is_heard_again() {
        let mut events = Events::open().unwrap();
        let cpus: Vec<u32> = events.cpus.keys().copied().collect();
        let identity = |events: &Events, cpu| events.cpus[&cpu].ring.id();
        let before: Vec<_> = cpus.iter().map(|cpu| identity(&events, *cpu)).collect();
        let changed = Change::Of(BTreeSet::from([cpus[0]]));
        assert!(events.follow(&changed).unwrap());
        assert_ne!(identity(&events, cpus[0]), before[0]);
        // Of those that live none is lost, whatever may have happened.
        assert!(!events.follow(&Change::Any).unwrap());
        assert!(!events.follow(&Change::None).unwrap());
        // One that stands still is dead.
        events.cpus.get_mut(&cpus[0]).unwrap().ran = Duration::MAX;
        let again = identity(&events, cpus[0]);
        assert!(events.follow(&Change::Any).unwrap());
        assert_ne!(identity(&events, cpus[0]), again);
        for (cpu, before) in cpus.iter().zip(before).skip(1) {
            assert_eq!(identity(&events, *cpu), before);
        }
    }
}
