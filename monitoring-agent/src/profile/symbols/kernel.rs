//! Names of the kernel's functions, each looked up once.

use std::{
    collections::{BTreeMap, HashMap},
    fs::File,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    Function, Named,
    files::function,
    kallsyms::{self, Known},
};
use crate::profile::mappings::worker::Worker;

/// Most functions that are known: 20 MB. A kernel with its modules has about as many, and calls a few
/// thousand of them.
const MAX_NAMES: usize = 128 * 1024;

/// So long what is in modules holds, and what is nowhere: modules and BPF programs come and go.
const HOLDS: Duration = Duration::from_mins(1);

/// Names of addresses, by the first address of each range: its end, and the name.
type Ranges = BTreeMap<u64, (u64, Named)>;

/// What is known of the kernel.
#[derive(Debug)]
pub(super) struct Kernel {
    /// Of the kernel itself, which stays as it is.
    fixed: Ranges,
    /// Of everything else.
    moving: Ranges,
    since: Instant,
    modules: HashMap<String, (Arc<str>, Arc<str>)>,
}

impl Kernel {
    pub(super) fn new() -> Self {
        Self {
            fixed: Ranges::new(),
            moving: Ranges::new(),
            since: Instant::now(),
            modules: HashMap::new(),
        }
    }

    /// Finds out what is not known yet.
    pub(super) fn learn(&mut self, worker: &Worker, addresses: &[u64]) {
        if self.since.elapsed() >= HOLDS {
            self.moving.clear();
            self.modules.clear();
            self.since = Instant::now();
        }
        if self.names() > MAX_NAMES {
            self.fixed.clear();
            self.moving.clear();
        }
        let unknown = addresses.iter().copied();
        let mut unknown: Vec<u64> = unknown
            .filter(|address| self.find(*address).is_none())
            .collect();
        if unknown.is_empty() {
            return;
        }
        unknown.sort_unstable();
        unknown.dedup();
        let found = worker.run(move || {
            let list = File::open("/proc/kallsyms").ok()?;
            Some(kallsyms::look_up(list, &unknown))
        });
        for known in found.ok().flatten().unwrap_or_default() {
            self.add(&known);
        }
    }

    fn add(&mut self, known: &Known) {
        let (file, build_id) = self.module(&known.module);
        let functions: Arc<[Function]> = if known.name.is_empty() {
            Arc::default()
        } else {
            function(known.name.as_bytes())
        };
        let is_fixed = known.module.is_empty() && !known.name.is_empty();
        let named = Named {
            functions,
            file,
            build_id,
        };
        let ranges = if is_fixed {
            &mut self.fixed
        } else {
            &mut self.moving
        };
        ranges.insert(known.start, (known.end, named));
    }

    /// How a module is shown, and its build id.
    fn module(&mut self, name: &str) -> (Arc<str>, Arc<str>) {
        if let Some(known) = self.modules.get(name) {
            return known.clone();
        }
        let shown = if name.is_empty() { "kernel" } else { name };
        let known = (format!("[{shown}]").into(), kallsyms::build_id(name).into());
        self.modules
            .insert(name.to_owned(), known)
            .unwrap_or_else(|| self.modules[name].clone())
    }

    fn find(&self, address: u64) -> Option<&Named> {
        let within = |ranges: &'_ Ranges| {
            let (start, (end, _)) = ranges.range(..=address).next_back()?;
            (address < *end).then_some(*start)
        };
        if let Some(start) = within(&self.fixed) {
            return Some(&self.fixed[&start].1);
        }
        within(&self.moving).map(|start| &self.moving[&start].1)
    }

    /// The name of an address; why not, if it is not known.
    pub(super) fn of(&self, address: u64) -> (Named, Option<&'static str>) {
        let named = self.find(address).cloned().unwrap_or_default();
        let problem = named.functions.is_empty().then_some("kernel");
        (named, problem)
    }

    pub(super) fn names(&self) -> usize {
        self.fixed.len() + self.moving.len()
    }

    pub(super) fn bytes(&self) -> usize {
        let all = self.fixed.values().chain(self.moving.values());
        all.map(|(_, named)| 120 + super::bytes_of(&named.functions))
            .sum()
    }
}
