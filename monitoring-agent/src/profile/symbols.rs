//! What the functions at places are called.
//!
//! Owns a thread of low priority that reads files, and bounded tables of what it has found. Knows
//! neither samples nor stacks.

mod bytes;
mod demangle;
mod elf;
mod files;
mod jit;
mod kallsyms;
mod kernel;
mod lines;
mod nearest;
mod notes;
mod perf_map;
mod source_lines;

#[cfg(test)]
mod tests;

use std::{
    fs::File,
    ops::ControlFlow,
    os::unix::fs::FileExt as _,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use self::{
    files::{Files, Vdso},
    jit::Jit,
    kernel::Kernel,
};
use super::mappings::{Place, worker::Worker};
use crate::process_maps;

/// Longest wait for a file. The symbols of the largest libraries take a second to read when they are
/// not in memory yet.
const PATIENCE: Duration = Duration::from_secs(5);

/// Most of the kernel's library for processes that is read; it has two pages.
const MAX_VDSO_BYTES: usize = 256 * 1024;

/// A function, as it is in a profile.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Function {
    /// Its name: demangled, whole, and harmless to show.
    pub name: Arc<str>,
    /// Its name as its file has it.
    pub system_name: Arc<str>,
    /// The source file; empty where that is not known.
    pub file: Arc<str>,
    /// The line in it, from 1; 0 where that is not known.
    pub line: u32,
}

/// What is at a place.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Named {
    /// The functions, the innermost first: more than one where calls were inlined. None where the
    /// name is not known.
    pub functions: Arc<[Function]>,
    /// The path of the file, or `[vdso]`, `[jit]`, `[kernel]`, or a kernel module's name in brackets;
    /// empty where that is not known.
    pub file: Arc<str>,
    /// The file's build id in hexadecimal digits; empty where it has none.
    pub build_id: Arc<str>,
}

/// What was found, and how much memory that takes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Names that are kept.
    pub names: usize,
    /// About how much memory all of it takes.
    pub memory_bytes: usize,
    /// Places without a name since the start, by reason; each counts once for each time that it was
    /// asked for.
    pub unnamed: Vec<(&'static str, u64)>,
}

/// Names places.
#[derive(Debug)]
pub struct Symbols {
    worker: Worker,
    tables: Mutex<Tables>,
    /// Of the last time that names were asked for. Apart from the tables, which are locked for as long
    /// as files are read: who asks how much is known does not wait for those.
    stats: Mutex<Stats>,
}

/// What is known.
#[derive(Debug)]
struct Tables {
    files: Files,
    jit: Jit,
    kernel: Kernel,
    vdso: Option<Vdso>,
    unnamed: [u64; REASONS.len()],
}

/// Why a place has no name.
const REASONS: [&str; 10] = [
    "kernel",
    "no_file",
    "no_perf_map",
    "no_program",
    NO_ROOM,
    "no_symbol",
    "not_in_perf_map",
    "slow",
    "torn_file",
    "unmapped",
];

/// What its file has to say of it takes too much memory.
const NO_ROOM: &str = "no_room";

impl Symbols {
    /// Names of functions, and neither lines nor what was inlined: what takes little memory, however
    /// large the programs are. Reads nothing yet.
    pub fn new() -> Arc<Self> {
        Self::with(false)
    }

    /// Source lines as well, and the functions that were inlined at each address, where a program has
    /// at most 64 MiB of debug information. Understanding that takes several times its size of memory
    /// for a moment, and up to seconds of the CPU.
    pub fn with_lines() -> Arc<Self> {
        Self::with(true)
    }

    fn with(lines: bool) -> Arc<Self> {
        let tables = Tables {
            files: Files::new(lines),
            jit: Jit::new(),
            kernel: Kernel::new(),
            vdso: vdso().map(Vdso::new),
            unnamed: [0; REASONS.len()],
        };
        Arc::new(Self {
            worker: Worker::new("profile-symbols", PATIENCE),
            stats: Mutex::new(tables.stats()),
            tables: Mutex::new(tables),
        })
    }

    /// Names of places and of the kernel's addresses: first those of all `places`, in their order,
    /// then those of `kernel`. Return addresses are looked up as they are: of the kernel's, the caller
    /// takes one off.
    ///
    /// Waits for files to be read, one after the other, and at most seconds for each that does not
    /// answer: it is to be called where that holds up nothing. Many places at a time take less time
    /// than one after the other, because a file is read once for all of them.
    pub fn name(&self, places: &[Place], kernel: &[u64]) -> Vec<Named> {
        let mut tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        let tables = &mut *tables;
        tables.files.learn(&self.worker, places);
        tables.jit.learn(&self.worker, places);
        tables.kernel.learn(&self.worker, kernel);
        let mut names = Vec::with_capacity(places.len() + kernel.len());
        for place in places {
            names.push(tables.of(place));
        }
        for address in kernel {
            let found = tables.kernel.of(*address);
            names.push(tables.counted(found));
        }
        tables.files.shrink();
        tables.jit.shrink();
        *self.stats.lock().unwrap_or_else(PoisonError::into_inner) = tables.stats();
        names
    }

    /// What was found when names were last asked for, at once, even while files are being read.
    /// Reasons: `kernel` is an address that the kernel's list does not know;
    /// `no_file`: the file is gone, or another one has its path; `no_program`, `torn_file`: it is none
    /// that can be read; `no_symbol`: it was stripped of the symbol; `no_perf_map`, `not_in_perf_map`:
    /// a just-in-time compiler did not tell; `no_room`: the names of its file take more memory than
    /// there is for them; `slow`: its file system does not answer; `unmapped`: the
    /// place itself is not known.
    pub fn stats(&self) -> Stats {
        let stats = self.stats.lock().unwrap_or_else(PoisonError::into_inner);
        stats.clone()
    }
}

impl Tables {
    fn stats(&self) -> Stats {
        let (files, jit, kernel) = (&self.files, &self.jit, &self.kernel);
        Stats {
            names: files.names() + jit.names() + kernel.names(),
            memory_bytes: files.bytes() + jit.bytes() + kernel.bytes(),
            unnamed: REASONS.into_iter().zip(self.unnamed).collect(),
        }
    }

    fn of(&mut self, place: &Place) -> Named {
        let named = match place {
            Place::File { file, offset, .. } => self.files.of(file, *offset),
            Place::Vdso { offset } => match &mut self.vdso {
                Some(vdso) => vdso.of(*offset),
                None => (Named::default(), Some("no_file")),
            },
            Place::Jit { pid, address } => self.jit.of(*pid, *address),
            Place::Unknown { .. } => (Named::default(), Some("unmapped")),
        };
        self.counted(named)
    }

    fn counted(&mut self, (named, problem): (Named, Option<&'static str>)) -> Named {
        let place = problem.and_then(|problem| REASONS.iter().position(|name| *name == problem));
        if let Some(place) = place {
            self.unnamed[place] += 1;
        }
        named
    }
}

/// How much memory functions take, about.
fn bytes_of(functions: &[Function]) -> usize {
    let each = functions.iter().map(|function| {
        size_of::<Function>() + 32 + function.name.len() + function.system_name.len()
    });
    each.sum()
}

/// The kernel's library for processes, as this one has it: it is the same for all of one word size.
fn vdso() -> Option<Vec<u8>> {
    let list = process_maps::open(Path::new("/proc/self")).ok()?;
    let mut range = None;
    let mut reader = process_maps::Reader::new(list);
    let each = |mapping: process_maps::Mapping<'_>| {
        if *mapping.name == *b"[vdso]" {
            range = Some(mapping.range);
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    };
    reader.for_each(each).ok()?;
    let range = range?;
    let length = usize::try_from(range.end - range.start).ok()?;
    let mut bytes = vec![0; length.min(MAX_VDSO_BYTES)];
    File::open("/proc/self/mem")
        .ok()?
        .read_exact_at(&mut bytes, range.start)
        .ok()?;
    Some(bytes)
}
