//! Finds out what functions are called of which nothing was said: by the files that they lie in.
//! Bounded in what it reads and keeps.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    io,
    sync::Arc,
};

use monitoring_common::cuda::{ProcessId, pid_of};

use super::{
    Name, Said,
    modules::{self, FileId, Mapping},
    symbols::{self, Problem},
};
use crate::printable::printable;

/// Bytes of symbol tables that are read at a time: the two of the largest file.
const READ_BYTES: u64 = 2 * symbols::MAX_TABLE_BYTES;

/// Most answers that are kept for the next process of the same program.
const MAX_ANSWERS: usize = 16_384;

/// How many generations up a fork's names are looked for: a server, its workers, and theirs.
const MAX_ANCESTORS: usize = 4;

/// Longest name of a file in a function's, in characters.
const FILE_NAME_CHARS: usize = 64;

/// Finds out what functions are called. Reads files of processes: not for a thread that others wait
/// for, nor for one that holds what others wait for.
#[derive(Debug, Default)]
pub struct Resolver {
    /// What is at an offset in a file.
    answers: HashMap<(FileId, u64), Option<Arc<Name>>>,
}

/// What may be read before the rest is left for the next time.
#[derive(Debug)]
pub struct Budget(u64);

impl Default for Budget {
    fn default() -> Self {
        Self(READ_BYTES)
    }
}

impl Resolver {
    /// What a process's functions are called. Those without an answer have to be asked for again,
    /// because the budget is used up. `said` answers with names that processes have said.
    pub fn names(
        &mut self,
        process: ProcessId,
        functions: &BTreeSet<u64>,
        said: Said<'_>,
        budget: &mut Budget,
    ) -> Vec<(u64, Arc<Name>)> {
        let pid = pid_of(process);
        let mut mappings = match modules::find(pid, functions) {
            Ok(mappings) => mappings,
            Err(error) if is_gone(&error) => return all(functions, "ended"),
            Err(_) => return Self::unreadable(functions),
        };
        let mut names = Vec::new();
        let handle = Arc::new(Name::unknown("handle"));
        for function in functions {
            if !mappings.contains_key(function) {
                names.push((*function, Arc::clone(&handle)));
            }
        }
        for (function, name) in inherited(pid, &mappings, said) {
            mappings.remove(&function);
            names.push((function, name));
        }
        let mut parts: BTreeMap<u64, (Mapping, Vec<u64>)> = BTreeMap::new();
        for (function, mapping) in mappings {
            let part = parts.entry(mapping.start);
            let (_, functions) = part.or_insert((mapping, Vec::new()));
            functions.push(function);
        }
        for (mapping, functions) in parts.into_values() {
            names.extend(self.of_file(pid, &mapping, &functions, budget));
        }
        names
    }

    /// The names of functions of a process whose files do not answer.
    pub fn unreadable(functions: &BTreeSet<u64>) -> Vec<(u64, Arc<Name>)> {
        all(functions, "unreadable")
    }

    /// Functions in one part of a file.
    fn of_file(
        &mut self,
        pid: u32,
        mapping: &Mapping,
        functions: &[u64],
        budget: &mut Budget,
    ) -> Vec<(u64, Arc<Name>)> {
        let Ok((file, id)) = modules::open(pid, mapping) else {
            let functions = functions.iter();
            return functions
                .map(|each| (*each, unknown(mapping, *each)))
                .collect();
        };
        let offsets = functions.iter().map(|each| mapping.offset_of(*each));
        let asked: Vec<u64> = offsets
            .filter(|offset| !self.answers.contains_key(&(id, *offset)))
            .collect();
        if !asked.is_empty() {
            let mut found = match symbols::at(&file, &asked, &mut budget.0) {
                Ok(found) => found,
                Err(Problem::Malformed) => HashMap::new(),
                Err(Problem::TooMuch) => return Vec::new(),
            };
            if self.answers.len() + asked.len() > MAX_ANSWERS {
                self.answers.clear();
            }
            for offset in asked {
                let name = found.remove(&offset).map(|symbol| {
                    let kernel = symbols::kernel_of(&symbol.text);
                    Arc::new(Name::new(&kernel, symbol.cut))
                });
                self.answers.insert((id, offset), name);
            }
        }
        let functions = functions.iter();
        functions
            .map(|function| {
                let answer = self.answers.get(&(id, mapping.offset_of(*function)));
                let name = answer.cloned().flatten();
                (
                    *function,
                    name.unwrap_or_else(|| unknown(mapping, *function)),
                )
            })
            .collect()
    }
}

fn all(functions: &BTreeSet<u64>, what: &str) -> Vec<(u64, Arc<Name>)> {
    let name = Arc::new(Name::unknown(what));
    let functions = functions.iter();
    functions.map(|each| (*each, Arc::clone(&name))).collect()
}

/// Whether a process is no more.
fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::ESRCH)
}

/// A function without a name: where it lies in which file.
fn unknown(mapping: &Mapping, function: u64) -> Arc<Name> {
    let file = printable(&mapping.file_name, FILE_NAME_CHARS);
    let offset = mapping.offset_of(function);
    Arc::new(Name::unknown(&format!("{file}+0x{offset:x}")))
}

/// Names that the processes have said from which this one was forked: it has their functions at
/// the same addresses, and registered none itself. One that has executed another program since has
/// other files there.
fn inherited(pid: u32, mappings: &HashMap<u64, Mapping>, say: Said<'_>) -> HashMap<u64, Arc<Name>> {
    let mut names = HashMap::new();
    let mut ancestor = pid;
    for _ in 0..MAX_ANCESTORS {
        let Some(parent) = modules::parent(ancestor) else {
            break;
        };
        ancestor = parent;
        let left = mappings.keys().filter(|each| !names.contains_key(*each));
        let said: BTreeMap<u64, Arc<Name>> = left
            .filter_map(|each| Some((*each, say(ancestor, *each)?)))
            .collect();
        if said.is_empty() {
            continue;
        }
        let theirs = modules::find(ancestor, &said.keys().copied().collect()).unwrap_or_default();
        for (function, name) in said {
            let same = theirs
                .get(&function)
                .is_some_and(|mapping| mapping.is_same(&mappings[&function], function));
            if same {
                names.insert(function, name);
            }
        }
    }
    names
}
