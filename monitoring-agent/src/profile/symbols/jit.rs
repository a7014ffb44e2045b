//! Names of what just-in-time compilers wrote, as long as their lists stay as they are. Bounded: the
//! processes that were not asked for longest are forgotten first.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    Function, Named,
    files::function,
    perf_map::{self, State},
};
use crate::profile::mappings::{Place, worker::Worker};

/// Most memory that names of all processes take. One of usual length takes 250 bytes; the longest, of
/// which a program may write as many as it likes, take thirty times as many.
const MAX_BYTES: usize = 16 * 1024 * 1024;

/// What an address takes in a table beside its name, and a process beside its addresses, about.
const ADDRESS_OVERHEAD: usize = 64;
const PROCESS_OVERHEAD: usize = 128;

/// A list is read no more often than this, however often it grows: it may be long.
const EVERY: Duration = Duration::from_secs(1);

/// What is known of a process.
#[derive(Debug)]
struct Known {
    /// As the list was when it was read. `None`: there is none.
    state: Option<State>,
    /// `None` of those that the list says nothing of.
    names: HashMap<u64, Option<Arc<[Function]>>>,
    /// How much memory all of it takes, about.
    bytes: usize,
    read: Instant,
    used: u64,
}

impl Known {
    fn clear(&mut self) {
        self.names.clear();
        self.bytes = PROCESS_OVERHEAD;
    }

    fn insert(&mut self, address: u64, name: Option<Arc<[Function]>>) {
        self.bytes += bytes_of(name.as_deref());
        if let Some(replaced) = self.names.insert(address, name) {
            self.bytes -= bytes_of(replaced.as_deref());
        }
    }
}

fn bytes_of(name: Option<&[Function]>) -> usize {
    ADDRESS_OVERHEAD + name.map_or(0, super::bytes_of)
}

/// What is known of processes.
#[derive(Debug)]
pub(super) struct Jit {
    known: HashMap<u32, Known>,
    tick: u64,
    file: Arc<str>,
}

/// What came of reading a list: its state, and the names.
type Read = Option<(State, Vec<Option<Arc<[Function]>>>)>;

impl Jit {
    pub(super) fn new() -> Self {
        Self {
            known: HashMap::new(),
            tick: 0,
            file: "[jit]".into(),
        }
    }

    /// Finds out what is not known yet, or may have changed.
    pub(super) fn learn(&mut self, worker: &Worker, places: &[Place]) {
        self.tick += 1;
        let mut wanted: HashMap<u32, HashSet<u64>> = HashMap::new();
        for place in places {
            if let Place::Jit { pid, address } = place {
                wanted.entry(*pid).or_default().insert(*address);
            }
        }
        for (pid, addresses) in wanted {
            let mut addresses: Vec<u64> = addresses.into_iter().collect();
            addresses.sort_unstable();
            self.learn_process(worker, pid, &addresses);
        }
    }

    fn learn_process(&mut self, worker: &Worker, pid: u32, addresses: &[u64]) {
        let known = self.known.get_mut(&pid);
        let before = known.and_then(|known| {
            known.used = self.tick;
            let is_recent = known.read.elapsed() < EVERY;
            let is_all_known = addresses
                .iter()
                .all(|address| known.names.contains_key(address));
            Some((known.state?, is_recent, is_all_known))
        });
        if before.is_some_and(|(_, is_recent, _)| is_recent) {
            return;
        }
        let unchanged = before.and_then(|(state, _, is_all)| is_all.then_some(state));
        let user = before.and_then(|(state, ..)| state.user);
        let asked = addresses.to_vec();
        let read = worker.run(move || read(pid, &asked, unchanged, user));
        let Ok(found) = read else {
            return;
        };
        match found {
            Found::Unchanged => {
                if let Some(known) = self.known.get_mut(&pid) {
                    known.read = Instant::now();
                }
            }
            Found::Read(read) => self.add(pid, addresses, read),
        }
    }

    fn add(&mut self, pid: u32, addresses: &[u64], read: Read) {
        let (state, names) = match read {
            Some((state, names)) => (Some(state), names),
            None => (None, Vec::new()),
        };
        let known = self.known.entry(pid).or_insert_with(|| Known {
            state,
            names: HashMap::new(),
            bytes: PROCESS_OVERHEAD,
            read: Instant::now(),
            used: self.tick,
        });
        if known.state != state {
            known.clear();
        }
        known.state = state;
        known.read = Instant::now();
        for (address, name) in addresses.iter().zip(names) {
            known.insert(*address, name);
        }
    }

    /// The name of an address; why not, if it is not known.
    pub(super) fn of(&self, pid: u32, address: u64) -> (Named, Option<&'static str>) {
        let known = self.known.get(&pid);
        let functions = known.and_then(|known| known.names.get(&address)?.clone());
        let problem = match &known {
            _ if functions.is_some() => None,
            Some(Known { state: Some(_), .. }) => Some("not_in_perf_map"),
            _ => Some("no_perf_map"),
        };
        let named = Named {
            functions: functions.unwrap_or_default(),
            file: Arc::clone(&self.file),
            build_id: Arc::default(),
        };
        (named, problem)
    }

    /// Forgets what is too much.
    pub(super) fn shrink(&mut self) {
        let mut bytes = self.bytes();
        while bytes > MAX_BYTES {
            let oldest = self.known.iter().min_by_key(|(_, known)| known.used);
            let Some(pid) = oldest.map(|(pid, _)| *pid) else {
                return;
            };
            bytes -= self.known.remove(&pid).map_or(0, |known| known.bytes);
        }
    }

    pub(super) fn names(&self) -> usize {
        self.known.values().map(|known| known.names.len()).sum()
    }

    pub(super) fn bytes(&self) -> usize {
        self.known.values().map(|known| known.bytes).sum()
    }
}

enum Found {
    /// It is the list that was read before.
    Unchanged,
    Read(Read),
}

fn read(pid: u32, addresses: &[u64], unchanged: Option<State>, user: Option<u32>) -> Found {
    match perf_map::open(pid, user) {
        Ok((_, state)) if Some(state) == unchanged => Found::Unchanged,
        Ok((list, state)) => {
            let names = perf_map::look_up(list, addresses).into_iter();
            let names = names.map(|name| name.map(|name| function(&name)));
            Found::Read(Some((state, names.collect())))
        }
        // What was known of a process holds when it has ended and its list is gone.
        Err(_) if unchanged.is_some() && !perf_map::is_alive(pid) => Found::Unchanged,
        Err(_) => Found::Read(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_names_are_bounded_by_what_they_take() {
        let mut jit = Jit::new();
        let addresses: Vec<u64> = (0..1000).collect();
        // Shared here, and counted for each address: they are different ones in a list.
        let long = function("n".repeat(4000).as_bytes());
        let name = |_: &u64| Some(Arc::clone(&long));
        for pid in 1..=8 {
            jit.tick += 1;
            let names = addresses.iter().map(name).collect();
            jit.add(pid, &addresses, Some((State::default(), names)));
            // What is told anew takes no more than before.
            let before = jit.bytes();
            let names = addresses.iter().map(name).collect();
            jit.add(pid, &addresses, Some((State::default(), names)));
            assert_eq!(jit.bytes(), before);
        }
        assert!(jit.bytes() > 2 * MAX_BYTES);
        jit.shrink();
        assert!(jit.bytes() <= MAX_BYTES);
        let (named, _) = jit.of(8, 7);
        assert_eq!(named.functions.len(), 1, "the last one is kept");
        let (named, _) = jit.of(1, 7);
        assert_eq!(named.functions.len(), 0);
    }
}
