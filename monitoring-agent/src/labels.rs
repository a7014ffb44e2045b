//! Which agent a process belongs to: rules on this side, one map on the kernel's.
//!
//! The kernel looks processes up in `AGENT_OF`; this is its only writer in userspace. A change
//! raises `LABEL_EPOCH`, which makes every task look again.
//!
//! Reading a process's identity can block for as long as that process holds its memory map, so no
//! lock is held meanwhile.

use std::{
    collections::HashSet,
    fs, io,
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use anyhow::Context as _;
use aya::maps::{Array, HashMap, Map, MapData, MapError};
use monitoring_common::agents::{AGENT_OF, AgentId, LABEL_EPOCH, MAX_AGENTS, OTHER};
use tracing::warn;

use crate::{config::AgentRule, identity::Identities, loader::SharedMaps};

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
    lost: AtomicU64,
}

type Rules = Arc<[(AgentId, AgentRule)]>;

struct Maps {
    agent_of: HashMap<MapData, u32, u32>,
    /// The same map once more: the typed one does not give its descriptor.
    agent_of_state: MapData,
    epoch: Array<MapData, u32>,
}

impl Labels {
    /// Labels by the configuration's rules; no process is labelled yet.
    pub fn new(rules: &[AgentRule]) -> Self {
        let labels = Self {
            names: Mutex::new([OTHER_NAME.to_owned()].into()),
            rules: Mutex::new(Rules::default()),
            maps: Mutex::new(None),
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
        let (Some(agent_of), Some(epoch)) = (shared.get(AGENT_OF), shared.get(LABEL_EPOCH)) else {
            return Ok(());
        };
        let reopen = |map: &MapData| anyhow::Ok(MapData::from_id(map.info()?.id())?);
        {
            let mut maps = lock(&self.maps);
            if maps.is_some() {
                return Ok(());
            }
            let mut opened = Maps {
                agent_of_state: reopen(agent_of)?,
                agent_of: Map::HashMap(reopen(agent_of)?)
                    .try_into()
                    .context("map AGENT_OF")?,
                epoch: Map::Array(reopen(epoch)?)
                    .try_into()
                    .context("map LABEL_EPOCH")?,
            };
            // Even with nobody to watch: the epoch's first value tells tasks to look.
            opened.new_epoch()?;
            *maps = Some(opened);
        }
        self.scan()
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
        *lock(&self.names) = names.into();
        *lock(&self.rules) = numbered.into();
    }

    /// Labels every process of the node anew, and those that appear while it looks.
    pub fn scan(&self) -> anyhow::Result<()> {
        if !in_initial_pid_namespace()? {
            // The numbers in this /proc are not those that the kernel programs see.
            return Ok(());
        }
        let mut scan = self.relabelling();
        let mut seen = HashSet::new();
        for _ in 0..SCAN_ROUNDS {
            let before = seen.len();
            for entry in fs::read_dir("/proc").context("list /proc")? {
                let name = entry.context("list /proc")?.file_name();
                let pid = name.to_str().and_then(|name| name.parse().ok());
                if let Some(pid) = pid.filter(|pid| seen.insert(*pid)) {
                    scan.relabel(pid)?;
                }
            }
            if seen.len() == before {
                break;
            }
        }
        Ok(())
    }

    /// Labels a process that executes another program, and the children that it made before this
    /// was known: they inherited the old label and may never execute anything themselves.
    pub fn exec(&self, pid: u32) -> anyhow::Result<()> {
        let mut relabelling = self.relabelling();
        let mut waiting = vec![pid];
        while let Some(pid) = waiting.pop() {
            if relabelling.relabel(pid)? {
                waiting.extend(children(pid));
            }
        }
        Ok(())
    }

    /// Removes processes that have ended; returns how many are watched.
    pub fn sweep(&self) -> anyhow::Result<u64> {
        let mut maps = lock(&self.maps);
        let Some(maps) = &mut *maps else { return Ok(0) };
        let pids: Vec<u32> = maps.agent_of.keys().collect::<Result<_, _>>()?;
        let mut alive = 0;
        for pid in pids {
            if Path::new("/proc").join(pid.to_string()).exists() {
                alive += 1;
            } else {
                // A process that ended needs no epoch: none of its tasks will ask again.
                maps.remove(pid)?;
            }
        }
        Ok(alive)
    }

    /// The name of the agent that the kernel counts a process under; `None` for the rest.
    pub fn agent_of(&self, pid: u32) -> Option<String> {
        let agent = lock(&self.maps).as_ref()?.agent_of.get(&pid, 0).ok()?;
        self.names().get(usize::try_from(agent).ok()?).cloned()
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

    fn relabelling(&self) -> Relabelling<'_> {
        let rules = Arc::clone(&lock(&self.rules));
        Relabelling {
            identities: Identities::new(rules.iter().map(|(_, rule)| rule)),
            rules,
            labels: self,
            changed: false,
        }
    }
}

/// A round of labelling. Raises the epoch at its end if a label changed, also after an error.
struct Relabelling<'a> {
    labels: &'a Labels,
    rules: Rules,
    identities: Identities,
    changed: bool,
}

impl Relabelling<'_> {
    /// Brings one process's label up to date; returns whether it changed.
    fn relabel(&mut self, pid: u32) -> anyhow::Result<bool> {
        // A process that has ended meanwhile belongs to nobody.
        let identity = self.identities.read(pid);
        let rule = identity
            .and_then(|identity| self.rules.iter().find(|(_, rule)| rule.matches(&identity)));
        let agent = rule.map_or(OTHER, |(id, _)| *id);
        let mut maps = lock(&self.labels.maps);
        let Some(maps) = &mut *maps else {
            return Ok(false);
        };
        let labelled = maps.agent_of.get(&pid, 0).unwrap_or(OTHER.into());
        if labelled == u32::from(agent) {
            return Ok(false);
        }
        if agent == OTHER {
            maps.remove(pid)?;
        } else if let Err(error) = maps.agent_of.insert(pid, u32::from(agent), 0) {
            if self.labels.lost.fetch_add(1, Relaxed) == 0 {
                warn!(pid, %error, "a watched process could not be labelled; it counts as `other`");
            }
            return Ok(false);
        }
        self.changed = true;
        Ok(true)
    }
}

impl Drop for Relabelling<'_> {
    fn drop(&mut self) {
        if self.changed
            && let Some(maps) = &mut *lock(&self.labels.maps)
            && let Err(error) = maps.new_epoch()
        {
            warn!("tasks do not learn of new labels: {error:#}");
        }
    }
}

impl Maps {
    fn remove(&mut self, pid: u32) -> anyhow::Result<()> {
        match self.agent_of.remove(&pid) {
            // The kernel may have been first, when another process took the number.
            Ok(()) | Err(MapError::KeyNotFound | MapError::ElementNotFound) => Ok(()),
            Err(MapError::SyscallError(error))
                if error.io_error.kind() == io::ErrorKind::NotFound =>
            {
                Ok(())
            }
            Err(error) => Err(error).context("remove a label"),
        }
    }

    fn new_epoch(&mut self) -> anyhow::Result<()> {
        let epoch = self.epoch.get(&0, 0).context("read the label epoch")?;
        // Tasks start at 0, which therefore is no epoch.
        let next = epoch.wrapping_add(1).max(1);
        self.epoch.set(0, next, 0).context("raise the label epoch")
    }
}

/// Whether /proc here has the process numbers that the kernel programs see.
pub fn in_initial_pid_namespace() -> anyhow::Result<bool> {
    // PROC_PID_INIT_INO of the kernel's include/linux/proc_ns.h, fixed since 3.8.
    const INITIAL: &str = "pid:[4026531836]";
    let namespace = fs::read_link("/proc/self/ns/pid").context("read /proc/self/ns/pid")?;
    Ok(namespace.as_os_str() == INITIAL)
}

/// The processes that a process's threads made; none where the kernel does not tell
/// (`CONFIG_PROC_CHILDREN`) or the process has ended.
fn children(pid: u32) -> Vec<u32> {
    let threads = fs::read_dir(format!("/proc/{pid}/task"));
    let threads = threads.into_iter().flatten().map_while(Result::ok);
    let lists =
        threads.filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    let mut pids = Vec::new();
    for list in lists {
        pids.extend(
            list.split_ascii_whitespace()
                .filter_map(|pid| pid.parse::<u32>().ok()),
        );
    }
    pids
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is behind the locks stays consistent whatever panicked: each value is set as a whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
