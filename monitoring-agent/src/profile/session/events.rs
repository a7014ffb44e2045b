//! The perf events of a session: on each CPU, what makes the kernel run which program.
//!
//! CPUs come and go: events of one that is switched off are dead, also when it comes back.

use std::{
    collections::BTreeMap,
    io,
    os::fd::{AsRawFd as _, BorrowedFd, OwnedFd},
    time::Duration,
};

use anyhow::Context as _;
use aya::util::online_cpus;
use perf_event::{
    Builder, Counter, ReadFormat,
    events::{Hardware, Software},
};

use crate::{
    cpus::{Change, CpuChanges, is_alive},
    privileges::SYS_ADMIN,
    source::StartError,
};

/// When a program is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trigger {
    /// Once in so many nanoseconds, if the CPU is busy just then.
    Clock { period_ns: u64 },
    /// About so many times in each second that the CPU is busy.
    Cycles { hertz: u64 },
    /// Each time that something happens.
    Each(Software),
}

/// One event on one CPU.
#[derive(Debug)]
struct OnCpu {
    counter: Counter,
    /// See [`is_alive`].
    ran: Duration,
}

/// The events. Dropping them ends them.
#[derive(Debug)]
pub(super) struct Events {
    /// What runs, and when.
    wanted: Vec<(Trigger, OwnedFd)>,
    by_cpu: BTreeMap<u32, Vec<OnCpu>>,
    changes: CpuChanges,
    /// Whether some CPU's events cannot be had.
    is_short: bool,
    missed: u64,
}

impl Events {
    /// Opens them on all CPUs.
    pub(super) fn open(wanted: Vec<(Trigger, OwnedFd)>) -> Result<Self, StartError> {
        let mut events = Self {
            wanted,
            by_cpu: BTreeMap::new(),
            // First, so that no change is between them and the events.
            changes: CpuChanges::listen(),
            is_short: false,
            missed: 0,
        };
        events.open_new().map_err(refused)?;
        events.missed = 0;
        Ok(events)
    }

    /// Goes over to the CPUs that there are now. Costs nothing as long as they are the same.
    pub(super) fn follow_cpus(&mut self) -> anyhow::Result<()> {
        match self.changes.take() {
            Change::None if !self.is_short => return Ok(()),
            Change::None => {}
            Change::Of(cpus) => self.by_cpu.retain(|cpu, _| !cpus.contains(cpu)),
            Change::Any => self.by_cpu.retain(|_, events| {
                let mut events = events.iter_mut();
                events.all(|event| is_alive(&mut event.counter, &mut event.ran))
            }),
        }
        let opened = self.open_new();
        self.is_short = opened.is_err();
        opened.context("open a CPU's perf event")
    }

    /// Becomes readable when CPUs are to be followed; for waiting.
    pub(super) fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.changes.descriptor()
    }

    /// How often a CPU had no events for a moment, because it had just come, and how often events of one
    /// were asked for in vain.
    pub(super) fn missed(&self) -> u64 {
        self.missed
    }

    /// Opens those that are missing.
    fn open_new(&mut self) -> io::Result<()> {
        if self.wanted.is_empty() {
            return Ok(());
        }
        let online = online_cpus().map_err(|(_, error)| error)?;
        self.by_cpu.retain(|cpu, _| online.contains(cpu));
        let mut failed = None;
        for cpu in online {
            if self.by_cpu.contains_key(&cpu) {
                continue;
            }
            let events = self.wanted.iter();
            let events = events.map(|(trigger, program)| open(cpu, *trigger, program));
            match events.collect() {
                // It has gone just now.
                Err(error) if error.raw_os_error() == Some(libc::ENODEV) => continue,
                // The others can be had all the same.
                Err(error) => failed = failed.or(Some(error)),
                Ok(events) => {
                    self.by_cpu.insert(cpu, events);
                }
            }
            self.missed += 1;
        }
        failed.map_or(Ok(()), Err)
    }
}

fn open(cpu: u32, trigger: Trigger, program: &OwnedFd) -> io::Result<OnCpu> {
    let mut builder = match trigger {
        Trigger::Clock { period_ns } => {
            let mut builder = Builder::new(Software::CPU_CLOCK);
            builder.sample_period(period_ns);
            builder
        }
        Trigger::Cycles { hertz } => {
            let mut builder = Builder::new(Hardware::CPU_CYCLES);
            builder.sample_frequency(hertz);
            builder
        }
        Trigger::Each(event) => {
            let mut builder = Builder::new(event);
            builder.sample_period(1);
            builder
        }
    };
    builder
        .any_pid()
        .one_cpu(cpu as usize)
        .exclude_kernel(false)
        .exclude_idle(true)
        .read_format(ReadFormat::TOTAL_TIME_ENABLED);
    let mut counter = builder.build()?;
    counter.set_bpf(program.as_raw_fd())?;
    counter.enable()?;
    Ok(OnCpu {
        counter,
        ran: Duration::ZERO,
    })
}

/// What the kernel or the process lacks, or what is broken.
pub(in crate::profile) fn refused(error: io::Error) -> StartError {
    match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => StartError::Unsupported(format!(
            "no permission for perf events ({error}); {}",
            SYS_ADMIN.cure()
        )),
        Some(libc::ENOENT | libc::ENODEV | libc::EOPNOTSUPP | libc::ENOSYS) => {
            StartError::Unsupported(format!("this machine has no such perf event ({error})"))
        }
        _ => StartError::Broken(anyhow::Error::new(error).context("open perf events")),
    }
}
