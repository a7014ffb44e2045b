//! Which agent a process belongs to: rules on this side, one map on the kernel's.
//!
//! The kernel looks processes up in `AGENT_OF`; this is its only writer in userspace. A change
//! begins a new epoch, which makes every task look again. What the rules say of a program is also
//! taught to the kernel, which then labels those that execute it by itself.

mod maps;
mod programs;
mod relabelling;

use std::{
    collections::HashSet,
    fs,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use anyhow::Context as _;
use aya::maps::MapData;
use monitoring_common::{
    agents::{AgentId, MAX_AGENTS},
    process::Event,
};
pub use programs::Programs;
pub use relabelling::{Answer, CgroupMemory};
use tracing::warn;

use self::{maps::Maps, relabelling::Relabelling};
use crate::{
    config::AgentRule,
    identity::{self, Identities},
    loader::SharedMaps,
};

/// Label value of all processes that no rule matches.
pub const OTHER_NAME: &str = "other";

/// How often a scan of /proc is repeated for processes that appeared meanwhile.
const SCAN_ROUNDS: usize = 3;

/// The agents' names and the processes that belong to them.
pub struct Labels {
    /// By [`AgentId`]. A name keeps its number for the life of the agent, also across reloads.
    names: Mutex<Arc<[String]>>,
    rules: Mutex<Rules>,
    maps: Mutex<Option<Maps>>,
    /// The running family's, if it runs.
    programs: Mutex<Weak<Mutex<Programs>>>,
    lost: AtomicU64,
}

type Rules = Arc<[(AgentId, AgentRule)]>;

impl Labels {
    /// Labels by the configuration's rules; no process is labelled yet.
    pub fn new(rules: &[AgentRule]) -> Self {
        let labels = Self {
            names: Mutex::new([OTHER_NAME.to_owned()].into()),
            rules: Mutex::new(Rules::default()),
            maps: Mutex::new(None),
            programs: Mutex::new(Weak::new()),
            lost: AtomicU64::new(0),
        };
        labels.set_rules(rules);
        labels
    }

    /// The agents' names, by number.
    pub fn names(&self) -> Arc<[String]> {
        Arc::clone(&lock(&self.names))
    }

    /// Takes up the kernel's maps, the first time that an object has made them, and labels the
    /// processes that run already.
    pub fn adopt(&self, shared: &SharedMaps) -> anyhow::Result<()> {
        {
            let mut maps = lock(&self.maps);
            if maps.is_some() {
                return Ok(());
            }
            let Some(mut opened) = Maps::open(shared)? else {
                return Ok(());
            };
            // Even with nobody to watch: the epoch's first value tells tasks to look.
            opened.new_epoch()?;
            *maps = Some(opened);
        }
        self.scan()
    }

    /// Teaches the kernel from now on which programs are whose, for as long as the caller keeps
    /// what this returns.
    pub fn teach(&self, programs: Programs) -> anyhow::Result<Arc<Mutex<Programs>>> {
        let programs = Arc::new(Mutex::new(programs));
        *lock(&self.programs) = Arc::downgrade(&programs);
        let rules = !lock(&self.rules).is_empty();
        lock(&programs).restart(rules)?;
        Ok(programs)
    }

    /// Changes the rules. Processes keep their labels until the next [`scan`](Self::scan).
    pub fn set_rules(&self, rules: &[AgentRule]) {
        let mut names = self.names().to_vec();
        let mut numbered = Vec::new();
        for rule in rules {
            let known = names.iter().position(|name| *name == rule.name);
            let number = known.unwrap_or(names.len());
            if number >= MAX_AGENTS {
                warn!(
                    agent = rule.name,
                    "more than {} agent names since the start; processes of this one count as \
                     `other` until the agent is restarted",
                    MAX_AGENTS - 1
                );
                continue;
            }
            if known.is_none() {
                names.push(rule.name.clone());
            }
            let id = AgentId::try_from(number).expect("MAX_AGENTS fits an agent number");
            numbered.push((id, rule.clone()));
        }
        let any = !numbered.is_empty();
        *lock(&self.names) = names.into();
        *lock(&self.rules) = numbered.into();
        if let Some(programs) = self.programs()
            && let Err(error) = lock(&programs).restart(any)
        {
            warn!("some processes may be labelled by the old [[agents]]: {error:#}");
        }
    }

    /// Labels every process of the node anew, and those that appear while it looks.
    pub fn scan(&self) -> anyhow::Result<()> {
        if !in_initial_pid_namespace()? {
            // The numbers in this /proc are not those that the kernel programs see.
            return Ok(());
        }
        let mut scan = Relabelling::new(self);
        let mut seen = HashSet::new();
        for _ in 0..SCAN_ROUNDS {
            let before = seen.len();
            for pid in processes()? {
                if seen.insert(pid) {
                    scan.relabel(pid);
                }
            }
            if seen.len() == before {
                break;
            }
        }
        Ok(())
    }

    /// Labels a process that executes another program, and the children that it made before this
    /// was known.
    pub fn exec(&self, event: &Event, cgroups: &mut CgroupMemory) -> anyhow::Result<Answer> {
        Relabelling::new(self).exec(event, cgroups)
    }

    /// Removes what processes that have ended left behind; returns how many are watched.
    ///
    /// The kernel does so itself at the end of a process. This is for those that ended while it
    /// did not look, or just before they were labelled.
    pub fn sweep(&self) -> anyhow::Result<u64> {
        let labels = match &mut *lock(&self.maps) {
            Some(maps) => maps.all()?,
            None => return Ok(0),
        };
        let mut alive = 0;
        for (pid, label) in labels {
            if identity::started_ticks(pid) == Some(label.started_ticks) {
                alive += 1;
                continue;
            }
            // The number may be another process's by now. One that ended needs no epoch: none of
            // its tasks will ask again.
            if let Some(maps) = &mut *lock(&self.maps)
                && maps.get(pid) == Some(label)
            {
                maps.remove(pid)?;
            }
        }
        Ok(alive)
    }

    /// The processes that the rules match, by agent, without asking the kernel.
    pub fn matching(&self) -> anyhow::Result<Vec<(String, Vec<u32>)>> {
        let rules = Arc::clone(&lock(&self.rules));
        let mut found: Vec<_> = rules
            .iter()
            .map(|(_, rule)| (rule.name.clone(), Vec::new()))
            .collect();
        let mut identities = Identities::new(rules.iter().map(|(_, rule)| rule));
        for pid in processes()? {
            let Some(look) = identities.read(pid) else {
                continue;
            };
            let rule = rules
                .iter()
                .position(|(_, rule)| rule.matches(&look.identity));
            if let Some((_, pids)) = rule.and_then(|rule| found.get_mut(rule)) {
                pids.push(pid);
            }
        }
        Ok(found)
    }

    /// The name of the agent that the kernel counts a process under; `None` for the rest. Where no
    /// kernel program runs that would need labels, what the rules say of the process now.
    pub fn agent_of(&self, pid: u32) -> Option<String> {
        let label = match lock(&self.maps).as_ref() {
            Some(maps) => Some(maps.get(pid)?),
            None => None,
        };
        let Some(label) = label else {
            return self.matched(pid);
        };
        self.names()
            .get(usize::try_from(label.agent).ok()?)
            .cloned()
    }

    /// The agent whose rule is the first that matches a process, by /proc alone.
    fn matched(&self, pid: u32) -> Option<String> {
        let rules = Arc::clone(&lock(&self.rules));
        // Elsewhere the number is another process's, or nobody's.
        if rules.is_empty() || !in_initial_pid_namespace().unwrap_or(false) {
            return None;
        }
        let mut identities = Identities::new(rules.iter().map(|(_, rule)| rule));
        let look = identities.read(pid)?;
        let mut rules = rules.iter();
        let (_, rule) = rules.find(|(_, rule)| rule.matches(&look.identity))?;
        Some(rule.name.clone())
    }

    /// Processes that should have been labelled when the kernel's map was full.
    pub fn lost(&self) -> u64 {
        self.lost.load(Relaxed)
    }

    /// The kernel's map of watched processes, for its state.
    pub fn with_map<T>(&self, read: impl FnOnce(&MapData) -> T) -> Option<T> {
        lock(&self.maps)
            .as_ref()
            .map(|maps| read(&maps.agent_of_state))
    }

    fn programs(&self) -> Option<Arc<Mutex<Programs>>> {
        lock(&self.programs).upgrade()
    }
}

/// Whether /proc here has the process numbers that the kernel programs see.
pub fn in_initial_pid_namespace() -> anyhow::Result<bool> {
    // PROC_PID_INIT_INO of the kernel's include/linux/proc_ns.h, fixed since 3.8.
    const INITIAL: &str = "pid:[4026531836]";
    let namespace = fs::read_link("/proc/self/ns/pid").context("read /proc/self/ns/pid")?;
    Ok(namespace.as_os_str() == INITIAL)
}

/// The numbers of all processes there are at the moment.
fn processes() -> anyhow::Result<Vec<u32>> {
    let mut pids = Vec::new();
    for entry in fs::read_dir("/proc").context("list /proc")? {
        let name = entry.context("list /proc")?.file_name();
        pids.extend(name.to_str().and_then(|name| name.parse::<u32>().ok()));
    }
    Ok(pids)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is behind the locks stays consistent whatever panicked: each value is set as a whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
