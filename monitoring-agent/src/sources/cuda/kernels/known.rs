//! What processes' functions are called, as far as it has been said. Bounded: the oldest are
//! forgotten, with a count. Knows nothing of files and of counts.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::Arc,
};

use monitoring_common::cuda::{ProcessId, pid_of};

use super::Name;

/// Most functions that are remembered. A process that asks its driver for every function of a
/// large library asks for some ten thousand.
pub const MAX_FUNCTIONS: usize = 65_536;

/// Most memory of their names.
pub const MAX_NAME_BYTES: usize = 32 << 20;

/// Most handles of one function that are followed, one to the next. CUDA has three kinds: the
/// host's function, the runtime's kernel and the driver's function.
const MAX_HANDLES: usize = 8;

/// A process and what it calls the function by.
pub(super) type Function = (ProcessId, u64);

#[derive(Debug, Default)]
pub(super) struct Known {
    functions: HashMap<Function, Entry>,
    /// The last process of each number that something is known of.
    processes: HashMap<u32, ProcessId>,
    /// All of which something may be known.
    all: HashSet<ProcessId>,
    /// By age, oldest first. One that is no more, or has another age, is left over.
    order: VecDeque<(Function, u64)>,
    next_age: u64,
    bytes: usize,
    forgotten: u64,
}

#[derive(Debug)]
struct Entry {
    age: u64,
    what: What,
}

#[derive(Clone, Debug)]
pub(super) enum What {
    Name(Arc<Name>),
    /// The same as another of the process.
    SameAs(u64),
}

impl What {
    fn bytes(&self) -> usize {
        match self {
            Self::Name(name) => name.bytes(),
            Self::SameAs(_) => 0,
        }
    }
}

impl Known {
    /// Remembers what a function is, in place of what was known of it.
    pub(super) fn insert(&mut self, function: Function, what: What) {
        self.bytes += what.bytes();
        let (process, _) = function;
        let last = self.processes.entry(pid_of(process)).or_default();
        *last = process.max(*last);
        self.all.insert(process);
        if let Some(entry) = self.functions.get_mut(&function) {
            self.bytes -= entry.what.bytes();
            entry.what = what;
        } else {
            let age = self.next_age;
            self.next_age += 1;
            self.order.push_back((function, age));
            self.functions.insert(function, Entry { age, what });
        }
        while self.functions.len() > MAX_FUNCTIONS || self.bytes > MAX_NAME_BYTES {
            let Some((oldest, age)) = self.order.pop_front() else {
                break;
            };
            if self.is_of(oldest, age)
                && let Some(entry) = self.functions.remove(&oldest)
            {
                self.bytes -= entry.what.bytes();
                self.forgotten += 1;
            }
        }
        if self.order.len() > 2 * MAX_FUNCTIONS {
            let mut order = std::mem::take(&mut self.order);
            order.retain(|(function, age)| self.is_of(*function, *age));
            self.order = order;
        }
    }

    fn is_of(&self, function: Function, age: u64) -> bool {
        let entry = self.functions.get(&function);
        entry.is_some_and(|entry| entry.age == age)
    }

    /// The function's name; or else under which of its handles it would have to be found out.
    pub(super) fn name(&self, (process, function): Function) -> Result<Arc<Name>, Function> {
        let mut handle = function;
        for _ in 0..MAX_HANDLES {
            match self
                .functions
                .get(&(process, handle))
                .map(|entry| &entry.what)
            {
                Some(What::Name(name)) => return Ok(Arc::clone(name)),
                Some(What::SameAs(other)) => handle = *other,
                None => break,
            }
        }
        Err((process, handle))
    }

    /// The process of this number, if something is known of it.
    pub(super) fn process(&self, pid: u32) -> Option<ProcessId> {
        self.processes.get(&pid).copied()
    }

    /// The processes of which something may be known.
    pub(super) fn processes(&self) -> &HashSet<ProcessId> {
        &self.all
    }

    /// Forgets processes that have ended.
    pub(super) fn remove(&mut self, processes: &HashSet<ProcessId>) {
        let before = self.all.len();
        self.all.retain(|process| !processes.contains(process));
        if self.all.len() == before {
            return;
        }
        self.processes
            .retain(|_, process| !processes.contains(process));
        let bytes = &mut self.bytes;
        self.functions.retain(|(process, _), entry| {
            let gone = processes.contains(process);
            if gone {
                *bytes -= entry.what.bytes();
            }
            !gone
        });
    }

    /// Functions that were forgotten while their processes may have been alive.
    pub(super) fn forgotten(&self) -> u64 {
        self.forgotten
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(text: &str) -> What {
        What::Name(Arc::new(Name::new(text.as_bytes(), false)))
    }

    fn label(known: &Known, function: Function) -> Result<String, Function> {
        known.name(function).map(|name| name.label.to_string())
    }

    #[test]
    fn handles_are_followed() {
        let mut known = Known::default();
        known.insert((7, 3), What::SameAs(2));
        known.insert((7, 2), What::SameAs(1));
        assert_eq!(label(&known, (7, 3)), Err((7, 1)));
        known.insert((7, 1), named("matmul"));
        assert_eq!(label(&known, (7, 3)), Ok("matmul".into()));
        assert_eq!(label(&known, (8, 3)), Err((8, 3)));
        // A handle that is used again is another function.
        known.insert((7, 3), named("softmax"));
        assert_eq!(label(&known, (7, 3)), Ok("softmax".into()));
        // Handles that point to each other have no name.
        known.insert((9, 1), What::SameAs(2));
        known.insert((9, 2), What::SameAs(1));
        assert!(known.name((9, 1)).is_err());
    }

    #[test]
    fn the_oldest_are_forgotten_and_counted() {
        let mut known = Known::default();
        let many = MAX_FUNCTIONS as u64 + 10;
        for function in 0..many {
            known.insert((7, function), What::SameAs(1 << 40));
        }
        assert_eq!(known.forgotten(), 10);
        assert_eq!(known.functions.len(), MAX_FUNCTIONS);
        assert_eq!(label(&known, (7, 9)), Err((7, 9)));
        assert_eq!(label(&known, (7, 10)), Err((7, 1 << 40)));
    }

    #[test]
    fn long_names_are_bounded_in_memory() {
        let mut known = Known::default();
        let long = named(&"x".repeat(1_023));
        for function in 0..40_000 {
            known.insert((7, function), long.clone());
        }
        assert!(known.bytes <= MAX_NAME_BYTES);
        assert_eq!(known.functions.len() as u64 + known.forgotten(), 40_000);
        known.remove(&HashSet::from([7]));
        assert_eq!((known.bytes, known.functions.len()), (0, 0));
        assert!(known.processes().is_empty());
    }

    #[test]
    fn processes_that_come_and_go_leave_nothing() {
        let mut known = Known::default();
        for pid in 1..=400 {
            for function in 0..1_000 {
                known.insert((pid, function), What::SameAs(1 << 40));
            }
            known.remove(&HashSet::from([pid]));
        }
        assert_eq!((known.forgotten(), known.functions.len()), (0, 0));
        assert!(known.order.len() <= 2 * MAX_FUNCTIONS);
    }
}
