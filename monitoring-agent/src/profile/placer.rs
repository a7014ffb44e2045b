//! Says of stacks where their addresses belong, while their processes are known, and gathers a
//! window's stacks until it has ended.
//!
//! May wait for file systems, and so is for threads that nobody waits for. Knows no names of
//! functions.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use monitoring_common::profile::Key;

use super::{
    interner::Interner,
    mappings::{Mappings, Place},
    recorder::{Ended, Heard},
    session::Counted,
};
use crate::clock;

/// How old a stack may be when it is placed: some fifteen times what listeners allow themselves. What
/// processes had mapped before then nobody asks for any more.
const OLDEST_NS: u64 = 15_000_000_000;

/// How often what nobody asks for is forgotten.
const FORGET_INTERVAL: Duration = Duration::from_secs(1);

/// A window with its stacks.
#[derive(Debug)]
pub struct Window {
    /// What was counted, by process, thread and stack.
    pub counted: Vec<Counted>,
    /// The stacks; of a key that has none here the kernel could not tell.
    pub stacks: HashMap<Key, Stack>,
    /// The addresses of programs.
    pub places: Vec<Place>,
    /// The addresses of the kernel; those of calls, not of where they return to.
    pub kernel: Vec<u64>,
    /// When it began.
    pub begun: SystemTime,
    /// How long it lasted.
    pub lasted: Duration,
}

impl Window {
    /// About how much memory it takes.
    pub fn memory_bytes(&self) -> usize {
        let stacks = self.stacks.values().map(|stack| {
            let numbers = stack.kernel.len() + stack.user.len();
            let names = stack.process.len() + stack.thread.len();
            size_of::<(Key, Stack)>() + numbers * size_of::<u32>() + names
        });
        stacks.sum::<usize>()
            + self.counted.len() * size_of::<Counted>()
            + self.places.len() * size_of::<Place>()
            + self.kernel.len() * size_of::<u64>()
    }
}

/// A stack: numbers of addresses, those of the innermost frames first.
#[derive(Debug)]
pub struct Stack {
    /// In the kernel: indices into [`Window::kernel`].
    pub kernel: Box<[u32]>,
    /// In the program: indices into [`Window::places`].
    pub user: Box<[u32]>,
    /// Name of the process.
    pub process: String,
    /// Name of the thread.
    pub thread: String,
}

/// Gathers what is heard.
pub struct Placer {
    mappings: Arc<Mappings>,
    /// Windows by their numbers: the one that lasts, and those that have ended and were not asked for
    /// yet.
    open: BTreeMap<u32, Open>,
    /// When it was last said what may be forgotten.
    forgot: Instant,
}

/// What was heard of one window.
#[derive(Debug, Default)]
struct Open {
    stacks: HashMap<Key, Stack>,
    places: Interner<Place>,
    kernel: Interner<u64>,
}

impl Placer {
    /// Nothing was heard yet.
    pub fn new(mappings: Arc<Mappings>) -> Self {
        Self {
            mappings,
            open: BTreeMap::new(),
            forgot: Instant::now(),
        }
    }

    /// Takes in what was heard.
    pub fn place(&mut self, heard: Vec<Heard>) {
        if !heard.is_empty() {
            // What they had mapped when they were sampled has been told by now.
            self.mappings.catch_up();
        }
        let mut places = Vec::new();
        for heard in heard {
            let open = self.open.entry(heard.window).or_default();
            self.mappings
                .places(heard.key.process, heard.time_ns, &heard.user, &mut places);
            open.add(heard, places.drain(..));
        }
        if self.forgot.elapsed() >= FORGET_INTERVAL {
            self.forgot = Instant::now();
            let oldest_ns = clock::monotonic_ns().saturating_sub(OLDEST_NS);
            self.mappings.forget_before(oldest_ns);
        }
    }

    /// How many stacks the windows have so far that were not asked for yet.
    pub fn stacks(&self) -> usize {
        self.open.values().map(|open| open.stacks.len()).sum()
    }

    /// The window that has ended.
    pub fn window(&mut self, ended: Ended) -> Window {
        self.place(ended.heard);
        let open = self.open.remove(&ended.window).unwrap_or_default();
        // Windows end one after the other: of older ones nobody asks.
        let is_newer = |window: u32| window.wrapping_sub(ended.window).cast_signed() > 0;
        self.open.retain(|window, _| is_newer(*window));
        Window {
            counted: ended.counted,
            stacks: open.stacks,
            places: open.places.into_values(),
            kernel: open.kernel.into_values(),
            begun: ended.begun,
            lasted: ended.lasted,
        }
    }
}

impl Open {
    fn add(&mut self, heard: Heard, places: impl Iterator<Item = Place>) {
        // What called another function is at the byte before where that returns to.
        let kernel = heard.kernel.iter().enumerate();
        let kernel = kernel.map(|(depth, address)| address - u64::from(depth > 0));
        let stack = Stack {
            kernel: kernel.map(|address| self.kernel.number(address)).collect(),
            user: places.map(|place| self.places.number(place)).collect(),
            process: heard.process,
            thread: heard.thread,
        };
        self.stacks.insert(heard.key, stack);
    }
}
