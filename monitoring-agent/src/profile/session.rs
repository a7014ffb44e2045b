//! A session: stacks of one kind, counted in the kernel, window by window.
//!
//! Each session has kernel programs and maps of its own, so that sessions do not disturb each
//! other. It knows addresses; it knows neither names nor files, and no format of profiles.

mod events;
mod grace;
mod kernel;
mod kinds;
mod ring;
mod waits;

use std::{
    io, mem,
    os::fd::{AsRawFd as _, BorrowedFd},
    time::Duration,
};

use anyhow::Context as _;
use aya::{
    include_bytes_aligned,
    maps::{Array, Map, MapData},
};
pub use monitoring_common::profile::Key;
use monitoring_common::profile::{Count, WINDOW, lost};

pub(in crate::profile) use self::events::refused;
use self::{
    events::Events,
    grace::Grace,
    ring::Stacks,
    waits::{PASS, Waits},
};
use crate::{
    kernel_state::{self, Losses},
    loader::{self, Family, Loaded, SharedMaps},
    offsets::Offsets,
    per_cpu::{PerCpuElements, PerCpuReader},
    source::{MapState, ProgramState, StartError},
    task_switches,
};

/// Nanoseconds of a second.
const SECOND_NS: u32 = 1_000_000_000;

/// Most samples of a CPU in a second: the kernel's timer can do more, and nobody wants it.
const MAX_HERTZ: u32 = 10_000;

/// What is sampled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// What runs on each CPU, `hertz` times a second while it does not idle.
    Cpu {
        /// Samples of a busy CPU in a second, 1 to 10,000.
        hertz: u32,
        /// What says when to sample.
        event: Event,
    },
    /// Each time that a thread leaves its CPU, with the time until it is back, by reason.
    OffCpu,
    /// Page faults, with the bytes of memory that they brought, and growth of address space.
    Memory,
}

/// What says when to sample.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Event {
    /// The best that gives exact numbers: [`Self::CpuClock`].
    #[default]
    Auto,
    /// A timer of each CPU. Exact in number; what the kernel does with interrupts off is seen
    /// where they come on again.
    CpuClock,
    /// Cycles, by the CPU's own counter. Sees what the kernel does with interrupts off. The kernel
    /// adapts the number of cycles between two samples to the rate, which therefore is not exact.
    Cycles,
}

/// How a session is to be.
#[derive(Clone, Copy, Debug)]
pub struct SessionOptions {
    /// What is sampled.
    pub kind: Kind,
    /// Only threads of this process.
    pub pid: Option<u32>,
    /// Room for different stacks, threads and reasons in a window. About 230 bytes of kernel memory each.
    pub max_stacks: u32,
    /// Room for stacks on their way to the agent: a power of two of whole pages.
    pub ring_bytes: u32,
    /// Whether the programs' debug messages are compiled in.
    pub debug: bool,
}

/// A stack that is new in its window. Frames are addresses, leaf first; those of callers are return
/// addresses.
#[derive(Clone, Copy, Debug)]
pub struct NewStack<'a> {
    /// Whose stack it is, and what it counts under.
    pub key: Key,
    /// When it was taken, on the monotonic clock.
    pub time_ns: u64,
    /// When its process started, in nanoseconds since boot (that clock runs on in suspend).
    pub process_start_ns: u64,
    /// The thread's name.
    pub comm: [u8; 16],
    /// The name of the process's first thread.
    pub process_comm: [u8; 16],
    /// The program's frames.
    pub user: &'a [u64],
    /// The kernel's frames.
    pub kernel: &'a [u64],
    /// The window in which it was taken. That of a [`Counted`] is the one that its
    /// [`Session::end_window`] has ended, which is [`Session::window`] before that.
    pub window: u32,
    /// Samples that are in no map, for lack of room, and are counted by this record alone: **to be
    /// added** to those of [`Counted`]. Mostly 0.
    pub samples: u64,
    /// The value of these samples.
    pub value: u64,
}

/// What was counted of a key in a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counted {
    /// What was counted.
    pub key: Key,
    /// Samples, switches away from a CPU, faults or calls.
    pub samples: u64,
    /// Nanoseconds on or off a CPU, or bytes.
    pub value: u64,
    /// Whether [`Session::hear`] gives the stack, or gave it. If not it is lost, and counted so; the
    /// count itself is not.
    pub stack_sent: bool,
}

/// A running session. Dropping it ends it.
pub struct Session {
    // First, so that nothing runs any more when the maps go.
    events: Events,
    loaded: Loaded,
    stacks: Stacks,
    /// Of a session off the CPU.
    waits: Option<Waits>,
    window: Array<MapData, u32>,
    number: u32,
    counts: [MapData; 2],
    reader: PerCpuReader<Key, Count>,
    /// Taken out of a map when the window could not be ended.
    left: Vec<Counted>,
    grace: Grace,
    losses: Losses,
    unsent: u64,
    taken: MapData,
    taken_reader: PerCpuElements<u64>,
    hertz: u32,
}

impl Session {
    /// Loads the programs and begins to count. Must run on a tokio runtime.
    ///
    /// # Errors
    ///
    /// See [`StartError`].
    pub fn start(
        options: &SessionOptions,
        shared: &SharedMaps,
        offsets: &mut Offsets,
    ) -> Result<Self, StartError> {
        let hertz = match options.kind {
            Kind::Cpu { hertz, .. } => hertz.clamp(1, MAX_HERTZ),
            Kind::OffCpu | Kind::Memory => 0,
        };
        let mut globals = kernel::globals(offsets)?;
        globals.extend([
            ("FILTER_PID", vec![options.pid.unwrap_or(0)]),
            ("PERIOD_NS", vec![SECOND_NS.checked_div(hertz).unwrap_or(0)]),
            ("WAKE_BYTES", vec![options.ring_bytes / 2]),
        ]);
        globals.extend(match options.kind {
            Kind::Cpu { .. } => Vec::new(),
            Kind::OffCpu => task_switches::globals(offsets)?,
            Kind::Memory => kernel::growth(offsets)?,
        });
        let family = Family {
            name: "profile",
            object: include_bytes_aligned!(concat!(env!("OUT_DIR"), "/profile")),
            globals,
            map_sizes: vec![
                ("COUNTS_A", options.max_stacks),
                ("COUNTS_B", options.max_stacks),
                ("STACKS", options.ring_bytes),
            ],
            programs: kinds::programs(options.kind),
            tracing: None,
            debug: options.debug,
        };
        let mut loaded = loader::load(&family, shared, offsets)?;
        all_attached(&loaded)?;
        let window = Map::Array(loaded.take_map(WINDOW)?);
        let waits = (options.kind == Kind::OffCpu).then(|| Waits::start(&mut loaded));
        Ok(Self {
            stacks: Stacks::new(&mut loaded)?,
            waits: waits.transpose()?,
            window: window.try_into().context("map WINDOW")?,
            number: 0,
            counts: [loaded.take_map("COUNTS_A")?, loaded.take_map("COUNTS_B")?],
            reader: PerCpuReader::of_one_value(),
            left: Vec::new(),
            grace: Grace::new()?,
            losses: Losses::new(&mut loaded, &lost::REASONS)?,
            unsent: 0,
            taken: loaded.take_map("TAKEN")?,
            taken_reader: PerCpuElements::new()?,
            hertz,
            // Last: from here on it counts.
            events: Events::open(kinds::triggers(options.kind, hertz, &loaded)?)?,
            loaded,
        })
    }

    /// Waits until something is in the ring, or CPUs are to be followed, or so long. Nobody is woken for
    /// less than half a ring; but what is there already when this is called is not waited for. Whether
    /// there is something to do.
    ///
    /// # Errors
    ///
    /// When the kernel refuses to wait.
    pub fn wait(&self, timeout: Duration) -> anyhow::Result<bool> {
        let descriptors = [Some(self.descriptor()), self.cpus_descriptor()];
        let descriptors = descriptors.map(|descriptor| libc::pollfd {
            // The kernel passes over negative ones.
            fd: descriptor.map_or(-1, |descriptor| descriptor.as_raw_fd()),
            events: libc::POLLIN,
            revents: 0,
        });
        let (mut descriptors, count) = (descriptors, descriptors.len());
        let timeout = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
        // SAFETY: so many descriptors, which live across the call.
        match unsafe { libc::poll(descriptors.as_mut_ptr(), count as libc::nfds_t, timeout) } {
            0 => Ok(false),
            1.. => Ok(true),
            _ => {
                let error = io::Error::last_os_error();
                if error.kind() == io::ErrorKind::Interrupted {
                    return Ok(false);
                }
                Err(error).context("wait for stacks")
            }
        }
    }

    /// For waiting for several at a time; see [`Self::wait`].
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.stacks.descriptor()
    }

    /// Readable when it is time for [`Self::follow_cpus`]. `None` where the kernel does not tell: then
    /// that is to be called about once a second.
    pub fn cpus_descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.events.descriptor()
    }

    /// Hands over the stacks that have come.
    pub fn hear(&mut self, each: &mut dyn FnMut(NewStack<'_>)) {
        let Some(waits) = &mut self.waits else {
            return self.stacks.hear(each);
        };
        waits.listen(&mut self.stacks);
        waits.tell(each);
        waits.forget(self.number.wrapping_sub(1));
    }

    /// Ends the window and begins the next: what was counted in it. Not one sample is lost or
    /// counted twice. All stacks of the ended window have come by then: [`Self::hear`] gives them,
    /// and maybe some of the window after.
    ///
    /// # Errors
    ///
    /// When a map cannot be read, or the kernel does not say when its programs have gone over to
    /// the next window. What was counted is then in the window that is ended next.
    pub fn end_window(&mut self) -> anyhow::Result<Vec<Counted>> {
        let ended = self.number;
        let next = ended.wrapping_add(1);
        let begun = self.window.set(0, next, 0);
        begun.context("begin a window")?;
        self.number = next;
        let mut counted = mem::take(&mut self.left);
        if let Err(error) = self.count(ended, &mut counted) {
            self.left = counted;
            return Err(error);
        }
        let unsent = counted.iter().filter(|counted| !counted.stack_sent);
        self.unsent += unsent.count() as u64;
        Ok(counted)
    }

    /// Adds what was counted in a window that has ended.
    fn count(&mut self, ended: u32, counted: &mut Vec<Counted>) -> anyhow::Result<()> {
        self.grace.wait()?;
        let map = &self.counts[usize::from(ended & 1 != 0)];
        self.reader.take_each(map.fd(), |key, counts| {
            counted.extend(counts.iter().map(|count| Counted {
                key,
                samples: count.samples,
                value: count.value,
                stack_sent: count.sent != 0,
            }));
        })?;
        if let Some(waits) = &mut self.waits {
            let passed = self.loaded.iterate(PASS)?;
            // Also what has begun to wait after the window and before the pass.
            waits.listen(&mut self.stacks);
            waits.end_window(&passed, ended, counted);
        }
        Ok(())
    }

    /// The number of the window that is being filled, from 0 on.
    pub fn window(&self) -> u32 {
        self.number
    }

    /// Goes over to the CPUs that there are now. Costs next to nothing while they are the same.
    ///
    /// # Errors
    ///
    /// When a new CPU's event cannot be had; those of the others can.
    pub fn follow_cpus(&mut self) -> anyhow::Result<()> {
        self.events.follow_cpus()
    }

    /// What was lost since the start, by reason: `sample`, a sample without any trace; `stack`, the
    /// stack of a count for which the ring never had room in its window; `task_state`, of what a
    /// thread has to remember; `cpu_online`, what a CPU did between coming online and being sampled,
    /// once each time, and each time that it could not be sampled.
    ///
    /// # Errors
    ///
    /// When the counters cannot be read.
    pub fn lost(&mut self) -> anyhow::Result<Vec<(&'static str, u64)>> {
        let mut lost = self.losses.read()?;
        lost.push(("stack", self.unsent));
        lost.push(("cpu_online", self.events.missed()));
        Ok(lost)
    }

    /// Samples that the kernel programs have taken since the start, lost ones included.
    ///
    /// # Errors
    ///
    /// When the counters cannot be read.
    pub fn taken(&mut self) -> anyhow::Result<u64> {
        Ok(self.taken_reader.read(&self.taken, 0)?.iter().sum())
    }

    /// Samples of a busy CPU in a second; 0 where it is not time that is sampled.
    pub fn hertz(&self) -> u32 {
        self.hertz
    }

    /// The session's programs, for a batch, and how often the kernel refused to run one in the
    /// middle of itself.
    pub fn programs(&self) -> (Vec<ProgramState>, u64) {
        kernel_state::programs(&self.loaded)
    }

    /// The session's maps, for a batch.
    pub fn maps(&self) -> Vec<MapState> {
        let [even, odd] = &self.counts;
        vec![
            kernel_state::map("COUNTS_A", even.fd(), None),
            kernel_state::map("COUNTS_B", odd.fd(), None),
            kernel_state::map("STACKS", self.stacks.descriptor(), None),
        ]
    }
}

/// With one program missing the others' numbers would be wrong.
fn all_attached(loaded: &Loaded) -> Result<(), StartError> {
    let mut programs = loaded.programs.iter();
    match programs.find_map(|(_, attached)| attached.as_ref().err()) {
        Some(why) => Err(StartError::Unsupported(why.clone())),
        None => Ok(()),
    }
}
