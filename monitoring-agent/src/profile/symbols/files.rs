//! Names of what is in files, each function looked up once. Bounded: the files that were not asked
//! for longest are forgotten first.

mod reading;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};

pub(super) use self::reading::function;
use self::reading::{Outcome, Read, State, names, read, reason};
use super::{
    Function, Named,
    bytes::Bytes,
    elf::{self, Segment},
};
use crate::{
    printable::printable,
    profile::mappings::{FileId, FileRef, Place, worker::Worker},
};

/// Most memory that names of all files take, and most that is added each time that names are asked for.
/// A node's programs call some ten thousand functions, of 200 bytes each; those of large C++ libraries
/// take a kilobyte.
const MAX_BYTES: usize = 32 * 1024 * 1024;

/// Most files that are known.
const MAX_FILES: usize = 4096;

/// After so long a file that could not be read is tried again.
const RETRY: Duration = Duration::from_mins(1);

/// Longest path that is shown, in characters.
const PATH_CHARS: usize = 1024;

/// What a function takes beside its names: in a tree and as counted texts, about.
const NAME_OVERHEAD: usize = 160;

/// The functions of a range, if their names are known.
type Found = Option<Arc<[Function]>>;

/// How much memory a range takes, about.
fn bytes_of(function: &Found) -> usize {
    NAME_OVERHEAD + function.as_deref().map_or(0, super::bytes_of)
}

/// What is known of a file.
#[derive(Debug)]
struct Known {
    path: Arc<str>,
    build_id: Arc<str>,
    state: Option<State>,
    segments: Vec<Segment>,
    /// By the first address of each.
    ranges: BTreeMap<u64, (u64, Found)>,
    problem: Option<(&'static str, Instant)>,
    bytes: usize,
    used: u64,
}

/// What is known of files.
#[derive(Debug, Default)]
pub(super) struct Files {
    /// Whether source lines and inlined functions are wanted as well.
    lines: bool,
    known: HashMap<FileId, Known>,
    bytes: usize,
    tick: u64,
}

impl Files {
    /// Nothing is known yet.
    pub(super) fn new(lines: bool) -> Self {
        Self {
            lines,
            ..Self::default()
        }
    }

    /// Finds out what is not known yet. Whether a file is still as it was is looked at once for all
    /// its places: one that is written anew in its place keeps its inode, and has other names.
    pub(super) fn learn(&mut self, worker: &Worker, places: &[Place]) {
        self.tick += 1;
        let mut wanted: HashMap<&FileRef, HashSet<u64>> = HashMap::new();
        for place in places {
            if let Place::File { file, offset, .. } = place {
                wanted.entry(file).or_default().insert(*offset);
            }
        }
        // Who asks for little leaves the rest to the others.
        let mut wanted: Vec<_> = wanted.into_iter().collect();
        wanted.sort_unstable_by_key(|(_, offsets)| offsets.len());
        let mut room = MAX_BYTES;
        let mut left = wanted.len();
        for (file, offsets) in wanted {
            let share = room / left;
            left -= 1;
            if !self.is_wanted(file) {
                continue;
            }
            let mut offsets: Vec<u64> = offsets.into_iter().collect();
            offsets.sort_unstable();
            let before = self.known.get(&file.id());
            let before = before.and_then(|known| known.missing(&offsets));
            let opened = file.clone();
            let lines = self.lines;
            let outcome =
                worker.run(move || read(&opened, &offsets, before.as_ref(), lines, share));
            if let Ok(Outcome::Read(read)) = &outcome {
                room = room.saturating_sub(read.bytes());
            }
            self.take_in(file, outcome.unwrap_or(Outcome::Failed("slow")));
        }
    }

    /// Whether it is to be looked at: one that could not be read lately is not.
    fn is_wanted(&mut self, file: &FileRef) -> bool {
        let tick = self.tick;
        let Some(known) = self.known.get_mut(&file.id()) else {
            return true;
        };
        known.used = tick;
        known
            .problem
            .is_none_or(|(_, tried)| tried.elapsed() >= RETRY)
    }

    fn take_in(&mut self, file: &FileRef, outcome: Outcome) {
        let tick = self.tick;
        let known = self.known.entry(file.id()).or_insert_with(|| {
            let path: Arc<str> = printable(file.path(), PATH_CHARS).into();
            let bytes = size_of::<Known>() + path.len();
            self.bytes += bytes;
            Known {
                bytes,
                used: tick,
                ..Known::new(path)
            }
        });
        self.bytes -= known.bytes;
        match outcome {
            Outcome::Unchanged => {}
            // It may be gone or stuck; what was found before is not wrong for that.
            Outcome::Failed(problem) => known.problem = Some((problem, Instant::now())),
            Outcome::Read(read) => known.add(read),
        }
        self.bytes += known.bytes;
    }

    /// The name of a place; why not, if it is not known.
    pub(super) fn of(&self, file: &FileRef, offset: u64) -> (Named, Option<&'static str>) {
        let Some(known) = self.known.get(&file.id()) else {
            return (Named::default(), Some("slow"));
        };
        let named = |functions: &Arc<[Function]>| Named {
            functions: Arc::clone(functions),
            file: Arc::clone(&known.path),
            build_id: Arc::clone(&known.build_id),
        };
        let address = elf::address(&known.segments, offset);
        let found = address.and_then(|address| known.find(address));
        if let Some(functions) = found.and_then(Option::as_ref) {
            return (named(functions), None);
        }
        let problem = known.problem.map_or("no_symbol", |(problem, _)| problem);
        (named(&Arc::default()), Some(problem))
    }

    /// Forgets what is too much.
    pub(super) fn shrink(&mut self) {
        while self.bytes > MAX_BYTES || self.known.len() > MAX_FILES {
            let oldest = self.known.iter().min_by_key(|(_, known)| known.used);
            let Some(id) = oldest.map(|(id, _)| *id) else {
                return;
            };
            if let Some(known) = self.known.remove(&id) {
                self.bytes -= known.bytes;
            }
        }
    }

    pub(super) fn names(&self) -> usize {
        self.known.values().map(|known| known.ranges.len()).sum()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Known {
    fn new(path: Arc<str>) -> Self {
        Self {
            path,
            build_id: Arc::default(),
            state: None,
            segments: Vec::new(),
            ranges: BTreeMap::new(),
            problem: None,
            bytes: 0,
            used: 0,
        }
    }

    /// In which state the file was read, and at which of the offsets it is not known what is there.
    /// `None` where all is to be read again.
    fn missing(&self, offsets: &[u64]) -> Option<(State, Vec<u64>)> {
        if self.problem.is_some() {
            return None;
        }
        let is_missing = |offset: &&u64| {
            elf::address(&self.segments, **offset)
                .is_some_and(|address| self.find(address).is_none())
        };
        Some((
            self.state?,
            offsets.iter().filter(is_missing).copied().collect(),
        ))
    }

    fn add(&mut self, read: Read) {
        if self.state != read.state {
            self.ranges.clear();
            self.bytes = size_of::<Self>() + self.path.len();
        }
        self.state = read.state;
        self.segments = read.segments;
        self.build_id = read.build_id.into();
        self.problem = read.problem.map(|problem| (problem, Instant::now()));
        for range in read.ranges {
            self.bytes += bytes_of(&range.function);
            let replaced = self.ranges.insert(range.start, (range.end, range.function));
            self.bytes -= replaced.map_or(0, |(_, function)| bytes_of(&function));
        }
    }

    fn find(&self, address: u64) -> Option<&Found> {
        let (_, (end, function)) = self.ranges.range(..=address).next_back()?;
        (address < *end).then_some(function)
    }
}

/// The library that the kernel gives to each process, as this one has it.
#[derive(Debug)]
pub(super) struct Vdso {
    bytes: Bytes,
    known: Known,
}

impl Vdso {
    /// Of the library's bytes.
    pub(super) fn new(bytes: Vec<u8>) -> Self {
        Self {
            bytes: Bytes::Memory(bytes),
            known: Known::new("[vdso]".into()),
        }
    }

    /// The name of a place in it. It has a dozen functions, so that reading it takes no time.
    pub(super) fn of(&mut self, offset: u64) -> (Named, Option<&'static str>) {
        let mut read = Read::default();
        let problem = names(&self.bytes, &[offset], false, MAX_BYTES, &mut read)
            .err()
            .map(reason);
        if self.known.build_id.is_empty() {
            self.known.build_id = read.build_id.into();
        }
        let functions = read.ranges.pop().and_then(|range| range.function);
        let problem = functions.is_none().then(|| problem.unwrap_or("no_symbol"));
        let named = Named {
            functions: functions.unwrap_or_default(),
            file: Arc::clone(&self.known.path),
            build_id: Arc::clone(&self.known.build_id),
        };
        (named, problem)
    }
}
