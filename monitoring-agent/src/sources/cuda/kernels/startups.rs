//! What files register when they are loaded, kept for the next question, and the handles by which
//! processes know the kernels so registered: a process keeps them in variables of its files, from
//! where they are read. Bounded in what is kept. Knows nothing of what the kernel side says.

use std::{
    collections::{BTreeSet, HashMap},
    fs::File,
    os::unix::fs::FileExt as _,
};

use monitoring_common::cuda::{ProcessId, pid_of};

use super::{
    Name,
    elf::{Elf, Problem},
    modules::{self, FileId},
    stubs::{Handle, MAX_STUBS, Stubs},
};
use crate::process_maps::Mapping;

/// Most files that are remembered, many of which register nothing.
const MAX_FILES: usize = 4_096;

/// Most functions of all of them: 2 MiB.
const MAX_FUNCTIONS: usize = 2 * MAX_STUBS;

/// Most processes of which is remembered which of their files have handles.
const MAX_PROCESSES: usize = 1_024;

/// Memory is there or not by pieces of this size; on some machines by larger ones.
const PAGE_BYTES: u64 = 4_096;

/// What files register.
#[derive(Debug, Default)]
pub(super) struct Startups {
    files: HashMap<FileId, Stubs>,
    functions: usize,
    /// The files that ask for handles.
    with_handles: HashMap<ProcessId, Vec<Mapping<'static>>>,
}

impl Startups {
    /// What a file registers, which is nothing where it is malformed.
    ///
    /// # Errors
    ///
    /// [`Problem::TooMuch`]
    pub(super) fn of(
        &mut self,
        file: &File,
        id: FileId,
        budget: &mut u64,
    ) -> Result<&mut Stubs, Problem> {
        if !self.files.contains_key(&id) {
            let stubs = match Stubs::read(file, budget) {
                Ok(stubs) => stubs,
                Err(Problem::Malformed) => Stubs::default(),
                Err(Problem::TooMuch) => return Err(Problem::TooMuch),
            };
            if self.files.len() == MAX_FILES || self.functions + stubs.len() > MAX_FUNCTIONS {
                self.files.clear();
                self.functions = 0;
            }
            self.functions += stubs.len();
            self.files.insert(id, stubs);
        }
        Ok(self.files.get_mut(&id).expect("it is there by now"))
    }

    /// The names of those of a process's handles that its files keep.
    ///
    /// # Errors
    ///
    /// [`Problem::TooMuch`]
    pub(super) fn by_handles(
        &mut self,
        process: ProcessId,
        wanted: &BTreeSet<u64>,
        budget: &mut u64,
    ) -> Result<Vec<(u64, Name)>, Problem> {
        let pid = pid_of(process);
        let mut names = Vec::new();
        for mapping in self.files_with_handles(process, budget)? {
            let Ok((file, id)) = modules::open(pid, &mapping) else {
                continue;
            };
            let Ok(memory) = File::open(format!("/proc/{pid}/mem")) else {
                continue;
            };
            let bias = Elf::bias_of(&file, mapping.range.start, mapping.offset);
            let stubs = self.of(&file, id, budget)?;
            let handles = match stubs.handles(&file, budget) {
                Ok(handles) => kept(&memory, bias, handles, wanted),
                Err(Problem::Malformed) => Vec::new(),
                Err(Problem::TooMuch) => return Err(Problem::TooMuch),
            };
            names.extend(handles.into_iter().filter_map(|(value, handle)| {
                let symbol = stubs.symbol_of(&file, handle)?;
                Some((value, Name::new(&symbol.text, symbol.cut)))
            }));
        }
        Ok(names)
    }

    fn files_with_handles(
        &mut self,
        process: ProcessId,
        budget: &mut u64,
    ) -> Result<Vec<Mapping<'static>>, Problem> {
        if let Some(files) = self.with_handles.get(&process) {
            return Ok(files.clone());
        }
        let pid = pid_of(process);
        let mut files = Vec::new();
        for mapping in modules::executed(pid).unwrap_or_default() {
            if let Ok((file, id)) = modules::open(pid, &mapping)
                && self.of(&file, id, budget)?.asks_for_handles()
            {
                files.push(mapping);
            }
        }
        if self.with_handles.len() == MAX_PROCESSES {
            self.with_handles.clear();
        }
        self.with_handles.insert(process, files.clone());
        Ok(files)
    }
}

/// Those of the variables in a process's memory that have a wanted value, and the value.
fn kept(
    memory: &File,
    bias: Option<u64>,
    handles: &[Handle],
    wanted: &BTreeSet<u64>,
) -> Vec<(u64, Handle)> {
    let Some(bias) = bias else {
        return Vec::new();
    };
    let mut page = (u64::MAX, None);
    let mut found = Vec::new();
    for handle in handles {
        let address = bias.wrapping_add(handle.variable);
        let within = address % PAGE_BYTES;
        let start = address - within;
        if page.0 != start {
            let mut bytes = vec![0; 4_096];
            let read = memory.read_exact_at(&mut bytes, start);
            page = (start, read.ok().map(|()| bytes));
        }
        let word = page.1.as_deref().and_then(|bytes| {
            let bytes = bytes.get(usize::try_from(within).ok()?..)?;
            bytes.first_chunk().copied().map(u64::from_ne_bytes)
        });
        found.extend(
            word.filter(|word| wanted.contains(word))
                .map(|word| (word, *handle)),
        );
    }
    found
}
