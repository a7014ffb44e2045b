//! Which agent a process belongs to: rules on this side, one map on the kernel's.
//!
//! The kernel looks processes up in `AGENT_OF`; this is its only writer in userspace. A change
//! raises `LABEL_EPOCH`, which makes every task look again.

use std::{
    collections::HashSet,
    fs,
    path::Path,
    sync::{Mutex, MutexGuard, PoisonError},
};

use anyhow::Context as _;
use aya::maps::{Array, HashMap, Map, MapData};
use monitoring_common::agents::{AGENT_OF, AgentId, LABEL_EPOCH, MAX_AGENTS, OTHER};
use tracing::warn;

use crate::{config::AgentRule, identity::Identities, loader::SharedMaps};

/// Label value of all processes that no rule matches.
pub const OTHER_NAME: &str = "other";

/// How often a scan of /proc is repeated for processes that appeared meanwhile.
const SCAN_ROUNDS: usize = 3;

/// The agents' names and the processes that belong to them.
pub struct Labels {
    inner: Mutex<Inner>,
}

struct Inner {
    /// By [`AgentId`]. A name keeps its number for the life of the agent, also across reloads.
    names: Vec<String>,
    rules: Vec<(AgentId, AgentRule)>,
    maps: Option<Maps>,
    lost: u64,
}

struct Maps {
    agent_of: HashMap<MapData, u32, u32>,
    /// The same map once more: the typed one does not give its descriptor.
    agent_of_state: MapData,
    epoch: Array<MapData, u32>,
}

impl Labels {
    /// Labels by the configuration's rules; no process is labelled yet.
    pub fn new(rules: &[AgentRule]) -> Self {
        let mut inner = Inner {
            names: vec![OTHER_NAME.to_owned()],
            rules: Vec::new(),
            maps: None,
            lost: 0,
        };
        inner.set_rules(rules);
        Self {
            inner: Mutex::new(inner),
        }
    }

    /// The agents' names, by number.
    pub fn names(&self) -> Vec<String> {
        self.lock().names.clone()
    }

    /// Takes up the kernel's maps, the first time that an object has made them, and labels the
    /// processes that run already.
    pub fn adopt(&self, shared: &SharedMaps) -> anyhow::Result<()> {
        let mut inner = self.lock();
        if inner.maps.is_some() {
            return Ok(());
        }
        let (Some(agent_of), Some(epoch)) = (shared.get(AGENT_OF), shared.get(LABEL_EPOCH)) else {
            return Ok(());
        };
        let reopen = |map: &MapData| anyhow::Ok(MapData::from_id(map.info()?.id())?);
        inner.maps = Some(Maps {
            agent_of_state: reopen(agent_of)?,
            agent_of: Map::HashMap(reopen(agent_of)?)
                .try_into()
                .context("map AGENT_OF")?,
            epoch: Map::Array(reopen(epoch)?)
                .try_into()
                .context("map LABEL_EPOCH")?,
        });
        inner.scan()?;
        // Even with nobody to watch: the epoch's first value tells tasks to look.
        inner.new_epoch()
    }

    /// Changes the rules and labels all processes anew.
    pub fn reload(&self, rules: &[AgentRule]) -> anyhow::Result<()> {
        let mut inner = self.lock();
        inner.set_rules(rules);
        inner.scan()
    }

    /// Labels every process of the node anew, as after lost events.
    pub fn scan(&self) -> anyhow::Result<()> {
        self.lock().scan()
    }

    /// Labels a process that executes another program.
    pub fn exec(&self, pid: u32) -> anyhow::Result<()> {
        let mut inner = self.lock();
        let mut identities = Identities::new(inner.rules.iter().map(|(_, rule)| rule));
        if inner.relabel(pid, &mut identities)? {
            inner.new_epoch()?;
        }
        Ok(())
    }

    /// Removes processes that have ended; returns how many are watched.
    pub fn sweep(&self) -> anyhow::Result<u64> {
        let mut inner = self.lock();
        let Some(maps) = &mut inner.maps else {
            return Ok(0);
        };
        let pids: Vec<u32> = maps.agent_of.keys().collect::<Result<_, _>>()?;
        let mut alive = 0;
        for pid in pids {
            if Path::new("/proc").join(pid.to_string()).exists() {
                alive += 1;
            } else {
                // A process that ended needs no epoch: none of its tasks will ask again.
                let _ = maps.agent_of.remove(&pid);
            }
        }
        Ok(alive)
    }

    /// The name of the agent that the kernel counts a process under; `None` for the rest.
    pub fn agent_of(&self, pid: u32) -> Option<String> {
        let inner = self.lock();
        let agent = inner.maps.as_ref()?.agent_of.get(&pid, 0).ok()?;
        inner.names.get(usize::try_from(agent).ok()?).cloned()
    }

    /// Processes that should have been labelled when the kernel's map was full.
    pub fn lost(&self) -> u64 {
        self.lock().lost
    }

    /// The kernel's map of watched processes, for its state.
    pub fn with_map<T>(&self, read: impl FnOnce(&MapData) -> T) -> Option<T> {
        self.lock()
            .maps
            .as_ref()
            .map(|maps| read(&maps.agent_of_state))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // The maps stay consistent whatever panicked: each entry is written by itself.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn set_rules(&mut self, rules: &[AgentRule]) {
        self.rules.clear();
        for rule in rules {
            let known = self.names.iter().position(|name| *name == rule.name);
            let number = known.unwrap_or(self.names.len());
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
                self.names.push(rule.name.clone());
            }
            let id = AgentId::try_from(number).expect("MAX_AGENTS fits an agent number");
            self.rules.push((id, rule.clone()));
        }
    }

    /// Labels all processes, and those that appear while it looks.
    fn scan(&mut self) -> anyhow::Result<()> {
        let mut identities = Identities::new(self.rules.iter().map(|(_, rule)| rule));
        let mut seen = HashSet::new();
        let mut changed = false;
        for _ in 0..SCAN_ROUNDS {
            let before = seen.len();
            for entry in fs::read_dir("/proc").context("list /proc")? {
                let name = entry.context("list /proc")?.file_name();
                let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else {
                    continue;
                };
                if seen.insert(pid) {
                    changed |= self.relabel(pid, &mut identities)?;
                }
            }
            if seen.len() == before {
                break;
            }
        }
        if changed { self.new_epoch() } else { Ok(()) }
    }

    /// Brings one process's label up to date; returns whether it changed.
    fn relabel(&mut self, pid: u32, identities: &mut Identities) -> anyhow::Result<bool> {
        let agent = self.agent_by_rules(pid, identities);
        let Some(maps) = &mut self.maps else {
            return Ok(false);
        };
        let labelled = maps.agent_of.get(&pid, 0).unwrap_or(OTHER.into());
        if labelled == u32::from(agent) {
            return Ok(false);
        }
        if agent == OTHER {
            maps.agent_of.remove(&pid).context("remove a label")?;
        } else if let Err(error) = maps.agent_of.insert(pid, u32::from(agent), 0) {
            self.lost += 1;
            warn!(pid, %error, "a watched process could not be labelled and counts as `other`");
            return Ok(false);
        }
        Ok(true)
    }

    fn agent_by_rules(&self, pid: u32, identities: &mut Identities) -> AgentId {
        // A process that has ended meanwhile belongs to nobody.
        let Some(identity) = identities.read(pid) else {
            return OTHER;
        };
        let rule = self.rules.iter().find(|(_, rule)| rule.matches(&identity));
        rule.map_or(OTHER, |(id, _)| *id)
    }

    fn new_epoch(&mut self) -> anyhow::Result<()> {
        let Some(maps) = &mut self.maps else {
            return Ok(());
        };
        let epoch = maps.epoch.get(&0, 0).context("read the label epoch")?;
        // Tasks start at 0, which therefore is no epoch.
        let next = epoch.wrapping_add(1).max(1);
        maps.epoch.set(0, next, 0).context("raise the label epoch")
    }
}
