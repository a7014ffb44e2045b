//! Source `swarm`: what applications say of their agents, by the hooks of the crate `monitoring`.

mod counts;
mod finder;
mod hooks;
mod probes;
mod reports;
mod unseen;
mod watcher;

use std::{
    os::fd::{AsFd as _, OwnedFd},
    sync::{Arc, TryLockError},
};

use anyhow::Context as _;
use aya::include_bytes_aligned;
use monitoring_common::swarm::{NAME_BYTES, Name, lost};

use self::{
    counts::CountMaps,
    reports::ReportMap,
    watcher::{Shared, Watcher},
};
use super::StartContext;
use crate::{
    families::Family as Metrics,
    kernel_state::{self, Losses},
    loader::{self, Family, field},
    offsets::ABSENT,
    printable::printable,
    privileges::{self, SYS_PTRACE},
    source::{Batch, ProgramState, Source, StartError},
};

const OBJECT: &[u8] = include_bytes_aligned!(concat!(env!("OUT_DIR"), "/swarm"));

/// The program at hooks.
const PROGRAM: &str = "swarm_hook";

const PROBED_HELP: &str = "Files that processes execute, or did until a moment ago, with hooks that \
                           are probed.";

/// Fields by which reports are told apart, by the global that they go to.
const FIELDS: [(&str, &str, &str); 4] = [
    ("GROUP_LEADER", "task_struct", "group_leader"),
    ("START_BOOTTIME", "task_struct", "start_boottime"),
    ("MM", "task_struct", "mm"),
    ("START_STACK", "mm_struct", "start_stack"),
];

struct Swarm {
    counts: CountMaps,
    reports: ReportMap,
    losses: Losses,
    /// The program's descriptor, where it is not one of the object's own.
    program: Option<OwnedFd>,
    /// What the kernel said last of the programs, and how often it did not run them.
    programs: (Vec<ProgramState>, u64),
    shared: Arc<Shared>,
    // Ends before the rest.
    _watcher: Watcher,
}

/// Loads the family, and begins to look for files with hooks.
///
/// # Errors
///
/// See [`StartError`].
pub fn start(context: &mut StartContext<'_>) -> Result<Box<dyn Source>, StartError> {
    // Without it, most hooks would go unseen.
    privileges::need(&SYS_PTRACE)?;
    let mut globals = Vec::new();
    for (global, structure, name) in FIELDS {
        let offset = field(context.offsets, structure, name)?;
        if offset == ABSENT {
            let why = format!("{structure}.{name} is not in this kernel's BTF");
            return Err(StartError::Unsupported(why));
        }
        globals.push((global, vec![offset]));
    }
    let family = Family {
        name: "swarm",
        object: OBJECT,
        globals,
        map_sizes: Vec::new(),
        programs: &[],
        tracing: None,
        debug: context.config.ebpf_debug,
    };
    let mut loaded = loader::load(&family, context.shared, context.offsets)?;
    context.labels.adopt(context.shared)?;
    let probe = loaded.function_probe(OBJECT, PROGRAM)?;
    let program = probe
        .program()
        .1
        .map(|program| program.try_clone_to_owned());
    let program = program.transpose().context("copy a program's descriptor")?;
    let counts = CountMaps::new(&mut loaded)?;
    let reports = ReportMap::new(&mut loaded)?;
    let losses = Losses::new(&mut loaded, &lost::REASONS)?;
    let shared = Arc::new(Shared::new(loaded));
    Ok(Box::new(Swarm {
        counts,
        reports,
        losses,
        program,
        programs: Default::default(),
        _watcher: Watcher::start(&shared, probe)?,
        shared,
    }))
}

impl Source for Swarm {
    fn collect(&mut self) -> anyhow::Result<Batch> {
        let (mut families, known) = self.counts.collect()?;
        let (gauges, reports) = self.reports.collect()?;
        families.extend(gauges);
        let probed = Metrics::gauge("swarm_probed_files", PROBED_HELP);
        families.push(probed.with(&[], self.shared.probed() as f64).build());
        let (programs, recursions) = self.programs();
        let mut lost = self.losses.read()?;
        lost.push(("recursion", recursions));
        lost.extend(self.shared.missed());
        let [(named, counts), (others, rest)] = self.counts.maps();
        let (name, map) = self.reports.map();
        let maps = vec![
            kernel_state::map(named, counts.fd(), Some(known)),
            kernel_state::map(others, rest.fd(), None),
            kernel_state::map(name, map.fd(), Some(reports)),
        ];
        Ok(Batch {
            families,
            lost,
            programs,
            maps,
            ..Batch::default()
        })
    }
}

impl Swarm {
    /// The programs' states. While one of them is attached to a file, those of the last time: that
    /// may take as long as a file system wants.
    fn programs(&mut self) -> (Vec<ProgramState>, u64) {
        match self.shared.loaded.try_lock() {
            Ok(loaded) => self.programs = kernel_state::programs(&loaded),
            Err(TryLockError::Poisoned(broken)) => {
                self.programs = kernel_state::programs(&broken.into_inner());
            }
            Err(TryLockError::WouldBlock) => {}
        }
        let (mut states, recursions) = self.programs.clone();
        if let Some(program) = &self.program {
            states.push(kernel_state::program(PROGRAM, program.as_fd()));
        }
        (states, recursions)
    }
}

/// A name as a label's value: as the program gave it, unless it is no text, or not of one line.
fn shown(name: &Name) -> String {
    let bytes = name.bytes();
    match str::from_utf8(bytes) {
        Ok(text) if !text.contains(char::is_control) => text.to_owned(),
        // An escape has at most ten characters.
        _ => printable(bytes, 10 * NAME_BYTES),
    }
}
