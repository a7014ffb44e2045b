//! The threads that keep up: one takes in what the kernel tells, in order of time, and never waits
//! for anything else; another one does what may take its time, at a low priority.

use std::{
    fs,
    ops::ControlFlow,
    os::fd::{AsRawFd as _, RawFd},
    path::Path,
    sync::{
        Arc,
        atomic::Ordering,
        mpsc::{Receiver, SyncSender, TrySendError},
    },
    time::Duration,
};

use super::{
    Shared,
    losses::Loss,
    processes::{Owned, Processes, Task},
    record::{Mapped, Told},
    rings::Rings,
    threads,
};
use crate::{clock::monotonic_ns, process_maps};

/// How often rings are read that are not getting full. By then a process that runs but a moment has
/// ended, and what it mapped may be deleted: the shorter, the more of those files are found.
const TICK: Duration = Duration::from_millis(100);

/// How long a record may be on its way from its time to where it can be read. It takes less than a
/// microsecond, and an interrupt may come between.
const ON_ITS_WAY: Duration = Duration::from_millis(1);

/// Most mappings that are read of a process; see `table`.
const MAX_READ: usize = 16 * 1024;

/// Room for what is to be done elsewhere: of new files a node that starts a container has some
/// hundred.
pub(super) const MAX_TASKS: usize = 4096;

/// A record that waits for those of other CPUs.
struct Pending {
    time_ns: u64,
    what: What,
}

enum What {
    Mapped(Owned),
    Executed(u32),
    Forked(u32, u32),
    Ended(u32),
}

/// Takes in what the kernel tells, until it is to stop.
pub(super) struct Follower {
    pub(super) shared: Arc<Shared>,
    pub(super) rings: Rings,
    pub(super) tasks: SyncSender<Task>,
    pending: Vec<Pending>,
}

impl Follower {
    pub(super) fn new(shared: Arc<Shared>, rings: Rings, tasks: SyncSender<Task>) -> Self {
        Self {
            shared,
            rings,
            tasks,
            pending: Vec::new(),
        }
    }

    pub(super) fn run(mut self) {
        while !self.shared.stop.load(Ordering::Relaxed) {
            let hurry = self.shared.is_waited_for();
            self.rings.wait(if hurry { ON_ITS_WAY } else { TICK });
            calm(self.shared.wake.as_raw_fd());
            self.round();
        }
    }

    fn round(&mut self) {
        let on_its_way = u64::try_from(ON_ITS_WAY.as_nanos()).unwrap_or(0);
        let complete_ns = monotonic_ns().saturating_sub(on_its_way);
        let before_ns = self.shared.through();
        let (mut unheard, mut lost) = (false, 0);
        let change = self.rings.changed();
        let pending = &mut self.pending;
        self.rings.take(|time_ns, told| match what(told) {
            Ok(what) => pending.push(Pending { time_ns, what }),
            Err(count) => {
                unheard = true;
                lost += count;
            }
        });
        unheard |= match self.rings.follow_cpus(&change) {
            Ok(new) => new,
            Err(error) => {
                tracing::debug!("follow CPUs that come and go: {error}");
                false
            }
        };
        // Those of one CPU are in order already.
        self.pending.sort_by_key(|pending| pending.time_ns);
        let ready = self
            .pending
            .partition_point(|told| told.time_ns <= complete_ns);
        let mut processes = self.shared.processes();
        for Pending { time_ns, what } in self.pending.drain(..ready) {
            take_in(&mut processes, time_ns, &what);
        }
        if unheard {
            processes.losses.unheard(lost, before_ns);
        }
        for task in processes.tasks() {
            if let Err(TrySendError::Full(_)) = self.tasks.try_send(task) {
                processes.losses.add(Loss::Postponed, 1);
            }
        }
        drop(processes);
        self.pending.shrink_to(1024);
        self.shared.advance(complete_ns);
    }
}

fn take_in(processes: &mut Processes, time_ns: u64, what: &What) {
    match what {
        What::Mapped(owned) => {
            let mapped = Mapped {
                name: &owned.name,
                ..owned.mapped
            };
            processes.mapped(time_ns, &mapped);
        }
        What::Executed(pid) => processes.executed(time_ns, *pid),
        What::Forked(pid, parent) => processes.forked(time_ns, *pid, *parent),
        What::Ended(pid) => processes.ended(time_ns, *pid),
    }
}

/// What was told, to be kept; or how many records were lost.
fn what(told: Told<'_>) -> Result<What, u64> {
    Ok(match told {
        Told::Mapped(mapped) => What::Mapped(Owned {
            mapped: Mapped {
                name: b"",
                ..mapped
            },
            name: mapped.name.into(),
        }),
        Told::Executed { pid } => What::Executed(pid),
        Told::Forked { pid, parent } => What::Forked(pid, parent),
        Told::Ended { pid } => What::Ended(pid),
        Told::Lost(count) => return Err(count),
    })
}

/// Takes back what made the descriptor readable.
fn calm(wake: RawFd) {
    let mut count = 0_u64;
    // SAFETY: the descriptor does not block, and the number has room for what is read.
    unsafe { libc::read(wake, (&raw mut count).cast(), size_of_val(&count)) };
}

/// Reads the processes that run already, and does from then on what is asked for.
pub(super) fn work(shared: &Arc<Shared>, tasks: &Receiver<Task>) {
    for pid in running() {
        shared.processes().unknown(pid);
        if shared.processes().wants_reading(pid) {
            read(shared, pid);
        }
        if shared.stop.load(Ordering::Relaxed) {
            return;
        }
    }
    for task in tasks {
        match task {
            Task::Hold(file) => {
                let open = Arc::clone(shared.processes().files().open());
                // One that is not held, for want of room or because it is gone, may still be found.
                if shared.worker.run(move || file.hold(&open)).is_err() {
                    shared.processes().losses.add(Loss::Postponed, 1);
                }
            }
            Task::Read(pid) => {
                if shared.processes().wants_reading(pid) {
                    read(shared, pid);
                }
            }
        }
    }
}

fn running() -> Vec<u32> {
    let folders = fs::read_dir("/proc").into_iter().flatten().flatten();
    let number = |folder: fs::DirEntry| folder.file_name().to_str()?.parse().ok();
    folders.filter_map(number).collect()
}

/// Reads what a process has mapped.
pub(super) fn read(shared: &Shared, pid: u32) {
    let read = shared.worker.run(move || mappings(pid));
    let mut processes = shared.processes();
    if read.is_err() {
        processes.losses.add(Loss::Postponed, 1);
    }
    let mappings = read.unwrap_or_default();
    processes.read(pid, monotonic_ns(), mappings.as_deref());
}

/// What a process has mapped; where its first thread has ended before the others, by what those say.
pub(super) fn mappings(pid: u32) -> Option<Vec<Owned>> {
    let folder = format!("/proc/{pid}");
    let (mappings, is_empty) = listed(pid, Path::new(&folder))?;
    if is_empty
        && let Some(thread) = threads::first(pid)
        && thread != pid
    {
        let folder = format!("/proc/{pid}/task/{thread}");
        return listed(pid, Path::new(&folder)).map(|(mappings, _)| mappings);
    }
    Some(mappings)
}

/// What a list says that may be executed, and whether it says nothing at all.
fn listed(pid: u32, folder: &Path) -> Option<(Vec<Owned>, bool)> {
    let list = process_maps::open(folder).ok()?;
    let mut is_empty = true;
    let mut mappings = Vec::new();
    let mut reader = process_maps::Reader::new(list);
    let read = reader.for_each(|mapping| {
        is_empty = false;
        if mapping.is_executed() {
            let name = mapping.name.as_ref().into();
            let mapped = Mapped {
                pid,
                start: mapping.range.start,
                end: mapping.range.end,
                offset: mapping.offset,
                device: mapping.device,
                inode: mapping.inode,
                generation: 0,
                name: b"",
            };
            mappings.push(Owned { mapped, name });
        }
        if mappings.len() < MAX_READ {
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(())
        }
    });
    read.ok()?;
    Some((mappings, is_empty))
}
