//! Finds out what functions are called of which nothing was sent: by what processes have
//! registered, by what the files register that functions lie in, and by those files' symbols.
//! Bounded in what it reads and keeps.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs::File,
    io, iter,
    sync::Arc,
};

use monitoring_common::cuda::{ProcessId, pid_of};

use super::{
    Name, Said,
    elf::{self, Problem},
    modules::{self, FileId},
    registered::{self, Host, Registered},
    startups::Startups,
    symbols,
};
use crate::{printable::printable, process_maps::Mapping};

/// Bytes of symbol tables that are read at a time: the two of the largest file.
const READ_BYTES: u64 = 2 * elf::MAX_TABLE_BYTES;

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
    registered: Arc<Registered>,
    startups: Startups,
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
    /// Asks what processes have registered, too.
    pub fn new(registered: Arc<Registered>) -> Self {
        Self {
            registered,
            ..Self::default()
        }
    }

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
        let mut handles = BTreeSet::new();
        let said = self.said(process, functions, said);
        for function in functions {
            if let Some(name) = said.get(function) {
                mappings.remove(function);
                names.push((*function, Arc::clone(name)));
            } else if !mappings.contains_key(function) {
                handles.insert(*function);
            }
        }
        names.extend(self.of_handles(process, handles, budget));
        let mut parts: BTreeMap<u64, (Mapping<'_>, Vec<u64>)> = BTreeMap::new();
        for (function, mapping) in mappings {
            let part = parts.entry(mapping.range.start);
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

    /// Functions that lie in no file.
    fn of_handles(
        &mut self,
        process: ProcessId,
        mut handles: BTreeSet<u64>,
        budget: &mut Budget,
    ) -> Vec<(u64, Arc<Name>)> {
        if handles.is_empty() {
            return Vec::new();
        }
        let Ok(found) = self.startups.by_handles(process, &handles, &mut budget.0) else {
            return Vec::new();
        };
        let mut names = Vec::new();
        for (handle, name) in found {
            if handles.remove(&handle) {
                names.push((handle, Arc::new(name)));
            }
        }
        names.extend(all(&handles, "handle"));
        names
    }

    /// Functions in one part of a file.
    fn of_file(
        &mut self,
        pid: u32,
        mapping: &Mapping<'_>,
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
            let Ok(mut found) = self.of_code(&file, id, &asked, &mut budget.0) else {
                return Vec::new();
            };
            if self.answers.len() + asked.len() > MAX_ANSWERS {
                self.answers.clear();
            }
            for offset in asked {
                let name = found.remove(&offset).map(Arc::new);
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

    /// Functions at offsets in a file, of those that have a name. What the file registers is what
    /// the process says when it starts; a symbol may be the compiler's own.
    fn of_code(
        &mut self,
        file: &File,
        id: FileId,
        asked: &[u64],
        budget: &mut u64,
    ) -> Result<HashMap<u64, Name>, Problem> {
        let registered = self.startups.of(file, id, budget)?.symbols(file, asked);
        let left: Vec<u64> = asked
            .iter()
            .copied()
            .filter(|offset| !registered.contains_key(offset))
            .collect();
        let mut names: HashMap<u64, Name> = registered
            .into_iter()
            .map(|(offset, symbol)| (offset, Name::new(&symbol.text, symbol.cut)))
            .collect();
        if !left.is_empty() {
            let symbols = match symbols::at(file, &left, budget) {
                Ok(found) => found,
                Err(Problem::Malformed) => HashMap::new(),
                Err(Problem::TooMuch) => return Err(Problem::TooMuch),
            };
            names.extend(symbols.into_iter().map(|(offset, symbol)| {
                let kernel = symbols::kernel_of(&symbol.text);
                (offset, Name::new(&kernel, symbol.cut))
            }));
        }
        Ok(names)
    }

    /// Names that a process has said, or those from which it was forked: it has their functions at
    /// the same addresses, and registered none itself. One that has executed another program since
    /// has other files there.
    fn said(
        &self,
        process: ProcessId,
        functions: &BTreeSet<u64>,
        said: Said<'_>,
    ) -> HashMap<u64, Arc<Name>> {
        let mut names = HashMap::new();
        let pid = pid_of(process);
        let ancestors = iter::successors(Some(pid), |ancestor| modules::parent(*ancestor));
        for ancestor in ancestors.take(1 + MAX_ANCESTORS) {
            let known = if ancestor == pid {
                Some(process)
            } else {
                self.registered.process(ancestor)
            };
            let left = functions.iter().filter(|each| !names.contains_key(*each));
            let mut hosts: Vec<(u64, Host, Option<Arc<Name>>)> = left
                .map(|function| {
                    let host = self.registered.host(known, *function);
                    (*function, host, said(ancestor, *function))
                })
                .collect();
            hosts.retain(|(_, host, name)| host.name.is_some() || name.is_some());
            let addresses = hosts.iter().map(|(_, host, _)| host.function).collect();
            let same = same_places(pid, ancestor, &addresses);
            hosts.retain(|(_, host, _)| same.contains(&host.function));
            for (function, host, name) in hosts {
                let name = name.or_else(|| registered::name_at(pid, host.name?).map(Arc::new));
                if let Some(name) = name {
                    names.insert(function, name);
                }
            }
        }
        names
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
fn unknown(mapping: &Mapping<'_>, function: u64) -> Arc<Name> {
    let file = printable(mapping.file_name(), FILE_NAME_CHARS);
    let offset = mapping.offset_of(function);
    Arc::new(Name::unknown(&format!("{file}+0x{offset:x}")))
}

/// Those of the addresses at which two processes have the same places of the same files; all, for
/// one and the same.
fn same_places(pid: u32, ancestor: u32, addresses: &BTreeSet<u64>) -> BTreeSet<u64> {
    if pid == ancestor || addresses.is_empty() {
        return addresses.clone();
    }
    let [ours, theirs] =
        [pid, ancestor].map(|each| modules::find(each, addresses).unwrap_or_default());
    let same = |address: &&u64| {
        let both = ours.get(*address).zip(theirs.get(*address));
        both.is_some_and(|(ours, theirs)| modules::is_same_place(ours, theirs, **address))
    };
    addresses.iter().filter(same).copied().collect()
}
