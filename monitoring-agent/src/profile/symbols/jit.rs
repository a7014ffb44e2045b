//! Names of what just-in-time compilers wrote, as long as their lists stay as they are. Bounded: the
//! processes that were not asked for longest are forgotten first.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    Function, NO_ROOM, Named,
    files::function,
    perf_map::{self, Said, State},
};
use crate::profile::mappings::{Place, worker::Worker};

/// Most memory that names of all processes take, and most that is added each time that names are asked
/// for. One of usual length takes 250 bytes; the longest, of which a program may write as many as it
/// likes, take thirty times as many.
const MAX_BYTES: usize = 16 * 1024 * 1024;

/// What an address takes in a table beside its name, and a process beside its addresses, about.
const ADDRESS_OVERHEAD: usize = 64;
const PROCESS_OVERHEAD: usize = 128;

/// For addresses that are known a list is read no more often than this, however often it grows: it may
/// be long.
const EVERY: Duration = Duration::from_secs(1);

/// What is known of a process.
#[derive(Debug)]
struct Known {
    /// As the list was when it was read. `None`: there is none.
    state: Option<State>,
    /// Of all addresses that were asked for.
    names: HashMap<u64, Name>,
    /// How much memory all of it takes, about.
    bytes: usize,
    read: Instant,
    used: u64,
}

impl Known {
    /// Counts anew how much memory all of it takes: a name once for all addresses that have it.
    fn count(&mut self) {
        let mut seen = HashSet::new();
        self.bytes = PROCESS_OVERHEAD + self.names.len() * ADDRESS_OVERHEAD;
        for name in self.names.values() {
            if let Said::Name(name) = name
                && seen.insert(name.as_ptr())
            {
                self.bytes += super::bytes_of(name);
            }
        }
    }

    /// Whether reading the list again as it was would tell nothing else.
    fn is_known(&self, address: u64) -> bool {
        let name = self.names.get(&address);
        name.is_some_and(|name| *name != Said::TooMuch)
    }
}

/// What is known of processes.
#[derive(Debug)]
pub(super) struct Jit {
    known: HashMap<u32, Known>,
    tick: u64,
    file: Arc<str>,
}

/// What a list says of an address.
type Name = Said<Arc<[Function]>>;

/// What came of reading a list: its state, and the names.
type Read = Option<(State, Vec<Name>)>;

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
        // Who asks for little leaves the rest to the others.
        let mut wanted: Vec<_> = wanted.into_iter().collect();
        wanted.sort_unstable_by_key(|(_, addresses)| addresses.len());
        let mut room = MAX_BYTES;
        let mut left = wanted.len();
        for (pid, addresses) in wanted {
            let mut addresses: Vec<u64> = addresses.into_iter().collect();
            addresses.sort_unstable();
            room -= self.learn_process(worker, pid, &addresses, room / left);
            left -= 1;
        }
    }

    /// Returns how much of the room its names take.
    fn learn_process(
        &mut self,
        worker: &Worker,
        pid: u32,
        addresses: &[u64],
        room: usize,
    ) -> usize {
        let known = self.known.get_mut(&pid);
        let before = known.and_then(|known| {
            known.used = self.tick;
            let is_recent = known.read.elapsed() < EVERY;
            let is_all_known = addresses.iter().all(|address| known.is_known(*address));
            Some((known.state?, is_recent, is_all_known))
        });
        if before.is_some_and(|(_, is_recent, is_all_known)| is_recent && is_all_known) {
            return 0;
        }
        let before = before.map(|(state, _, is_all_known)| (state, is_all_known));
        let asked = addresses.to_vec();
        let read = worker.run(move || read(pid, &asked, before, room));
        let Ok((found, taken)) = read else {
            return 0;
        };
        match found {
            Found::Unchanged => {
                if let Some(known) = self.known.get_mut(&pid) {
                    known.read = Instant::now();
                }
            }
            Found::Read(read) => self.add(pid, addresses, read),
        }
        taken
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
            known.names.clear();
        }
        known.state = state;
        known.read = Instant::now();
        for (address, name) in addresses.iter().zip(names) {
            known.names.insert(*address, name);
        }
        known.count();
    }

    /// The name of an address; why not, if it is not known.
    pub(super) fn of(&self, pid: u32, address: u64) -> (Named, Option<&'static str>) {
        let known = self.known.get(&pid);
        let name = known.and_then(|known| known.names.get(&address));
        let (functions, problem) = match (name, known) {
            (Some(Said::Name(functions)), _) => (Some(Arc::clone(functions)), None),
            (Some(Said::TooMuch), _) => (None, Some(NO_ROOM)),
            (_, Some(Known { state: Some(_), .. })) => (None, Some("not_in_perf_map")),
            _ => (None, Some("no_perf_map")),
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
    /// Nothing is to be learnt: what is known holds.
    Unchanged,
    Read(Read),
}

/// What is found, and how much of the room its names take. `before`: the state in which the list was
/// read, and whether that told of all addresses.
fn read(pid: u32, addresses: &[u64], before: Option<(State, bool)>, room: usize) -> (Found, usize) {
    let user = before.and_then(|(state, _)| state.user);
    match perf_map::open(pid, user) {
        Ok((_, state)) if Some((state, true)) == before => (Found::Unchanged, 0),
        Ok((list, state)) => {
            let said = perf_map::look_up(list, addresses, room);
            let (names, taken) = functions(&said, room);
            (Found::Read(Some((state, names))), taken)
        }
        // What was known of a process holds when it has ended and its list is gone.
        Err(_) if before.is_some() && !perf_map::is_alive(pid) => (Found::Unchanged, 0),
        Err(_) => (Found::Read(None), 0),
    }
}

/// Functions of names, each made once, as many as there is room for; and how much of it they take.
fn functions(said: &[Said<Arc<[u8]>>], room: usize) -> (Vec<Name>, usize) {
    let mut made: HashMap<*const u8, Name> = HashMap::new();
    let mut taken = 0;
    let mut convert = |name: &[u8]| {
        let function = function(name);
        let bytes = super::bytes_of(&function);
        if taken + bytes > room {
            return Said::TooMuch;
        }
        taken += bytes;
        Said::Name(function)
    };
    let names = said.iter().map(|said| match said {
        Said::Name(name) => made
            .entry(name.as_ptr())
            .or_insert_with(|| convert(name))
            .clone(),
        Said::Nothing => Said::Nothing,
        Said::TooMuch => Said::TooMuch,
    });
    let names = names.collect();
    (names, taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_names_are_bounded_by_what_they_take() {
        let mut jit = Jit::new();
        let addresses: Vec<u64> = (0..1000).collect();
        let long = "n".repeat(4000);
        let name = |_: &u64| Said::Name(function(long.as_bytes()));
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

    #[test]
    fn addresses_of_a_line_share_its_name() {
        let mut jit = Jit::new();
        let line: Arc<[u8]> = vec![b'n'; 4000].into();
        let addresses: Vec<u64> = (0..200).collect();
        let said = vec![Said::Name(line); addresses.len()];
        let (names, taken) = functions(&said, MAX_BYTES);
        assert!((4000..10_000).contains(&taken), "{taken}");
        jit.add(1, &addresses, Some((State::default(), names)));
        let (first, last) = (jit.of(1, 0).0, jit.of(1, 199).0);
        assert!(Arc::ptr_eq(&first.functions, &last.functions));
        let bytes = PROCESS_OVERHEAD + addresses.len() * ADDRESS_OVERHEAD + taken;
        assert_eq!(jit.bytes(), bytes);
    }

    #[test]
    fn names_without_room_are_asked_for_again() {
        let mut jit = Jit::new();
        let lines = (0..10).map(|_| Said::Name(vec![b'n'; 4000].into()));
        let said: Vec<Said<Arc<[u8]>>> = lines.collect();
        let (names, taken) = functions(&said, 20_000);
        assert!((4000..=20_000).contains(&taken), "{taken}");
        let addresses: Vec<u64> = (0..10).collect();
        jit.add(1, &addresses, Some((State::default(), names)));
        assert_eq!(jit.of(1, 0).1, None);
        assert_eq!(jit.of(1, 9).1, Some(NO_ROOM));
        assert!(jit.known[&1].is_known(0));
        assert!(!jit.known[&1].is_known(9));
    }
}
