//! Looks at processes, decides by the rules, and brings the kernel's labels up to date.
//!
//! Reading a process's identity can block for as long as that process holds its memory map, so no
//! lock is held meanwhile.

use std::{
    collections::HashMap,
    fs,
    sync::{Arc, atomic::Ordering::Relaxed},
};

use monitoring_common::{
    agents::{AgentId, Label, OTHER},
    process::{Event, NAME_BYTES},
};
use tracing::warn;

use super::{Labels, Rules, lock};
use crate::{
    config::Identity,
    identity::{self, Cgroup, Identities, Look},
};

/// How often a process is looked at again because it has become another meanwhile. A process that
/// executes that fast has an event for each time.
const LOOKS: usize = 4;

/// Cgroups whose paths are remembered for processes that are gone before they are looked at.
const CGROUPS: usize = 1024;

/// What an executing process turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The agent that the execution counts under.
    pub agent: AgentId,
    /// Whether the process has ended, and the event of that is on its way.
    pub end_follows: bool,
}

/// Cgroups by their address in the kernel, as processes were last seen in them.
#[derive(Debug, Default)]
pub struct CgroupMemory(HashMap<u64, Cgroup>);

/// A round of labelling. Begins a new epoch at its end if a label changed, also after an error.
pub(super) struct Relabelling<'a> {
    labels: &'a Labels,
    rules: Rules,
    identities: Identities,
    changed: bool,
}

/// What became of a label that was to be set.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Set {
    Same,
    Changed,
    /// The kernel has labelled the process meanwhile, by something that it executed later.
    Overtaken,
    /// The kernel's map is full.
    Lost,
}

/// What the rules say of a process.
#[derive(Clone, Copy)]
struct Decision {
    agent: AgentId,
    /// Whether every process with the same program and cgroup is the same agent's.
    by_program: bool,
}

impl<'a> Relabelling<'a> {
    pub(super) fn new(labels: &'a Labels) -> Self {
        let rules = Arc::clone(&lock(&labels.rules));
        Self {
            identities: Identities::new(rules.iter().map(|(_, rule)| rule)),
            rules,
            labels,
            changed: false,
        }
    }

    /// Brings one process's label up to date; returns whether it changed.
    pub(super) fn relabel(&mut self, pid: u32) -> bool {
        let mut changed = false;
        // Looked at again after a change, as it may have executed something else meanwhile, whose
        // label the kernel knew and this one has overwritten.
        for _ in 0..LOOKS {
            let found = self.label(pid);
            // A process that has ended meanwhile belongs to nobody.
            let Some(look) = self.identities.read(pid).filter(|look| !look.ended) else {
                break;
            };
            let decision = decide(&self.rules, &look.identity);
            let started_ticks = look.started_ticks;
            match self.set(pid, found, decision.agent, started_ticks) {
                Set::Changed => changed = true,
                Set::Overtaken => {}
                Set::Same | Set::Lost => break,
            }
        }
        changed
    }

    /// Labels a process that executes another program, and the children that it made before this
    /// was known: they inherited the old label and may never execute anything themselves.
    pub(super) fn exec(
        &mut self,
        event: &Event,
        cgroups: &mut CgroupMemory,
    ) -> anyhow::Result<Answer> {
        let told = Told::of(event);
        let found = self.label(event.pid);
        let look = self.identities.read(event.pid);
        let look = look.filter(|look| look.started_ticks == event.started_ticks);
        let ends = look.is_some_and(|look| look.ended);
        let identity = look.and_then(|look| told.complete(look));
        let agent = match (identity, ends) {
            (Some(identity), false) => {
                let decision = decide(&self.rules, &identity);
                cgroups.remember(event.key.css_set, &identity);
                let inode = identity::executable_inode(event.pid);
                self.teach(event, decision, inode == Some(event.key.inode))?;
                let set = self.set(event.pid, found, decision.agent, event.started_ticks);
                if matches!(set, Set::Changed | Set::Overtaken) {
                    self.relabel_from(event.pid);
                }
                if set == Set::Lost {
                    OTHER
                } else {
                    decision.agent
                }
            }
            (_, ends) => {
                let agent = told.decide(&self.rules, cgroups.0.get(&event.key.css_set), event);
                // Where it has executed something else by now, the label is that one's, which the
                // kernel sets or asks about.
                if ends && self.awaits(event) {
                    // Its end may still be to be counted, by its label.
                    self.set(event.pid, found, agent, event.started_ticks);
                }
                agent
            }
        };
        let settled = match self.labels.programs() {
            Some(programs) if event.uncounted != 0 => {
                lock(&programs).settle(event.pid, event.at_ns)?
            }
            _ => true,
        };
        Ok(Answer {
            agent,
            end_follows: !settled,
        })
    }

    /// Labels a process anew and, as far as that changes something, those that came from it.
    fn relabel_from(&mut self, pid: u32) {
        self.relabel(pid);
        let mut waiting = children(pid);
        while let Some(pid) = waiting.pop() {
            if self.relabel(pid) {
                waiting.extend(children(pid));
            }
        }
    }

    fn awaits(&self, event: &Event) -> bool {
        let programs = self.labels.programs();
        programs.is_some_and(|programs| lock(&programs).awaits(event.pid, event.at_ns))
    }

    fn label(&self, pid: u32) -> Option<Label> {
        lock(&self.labels.maps).as_ref()?.get(pid)
    }

    /// Sets a label, unless it is no more what was found before the process was looked at.
    fn set(&mut self, pid: u32, found: Option<Label>, agent: AgentId, started_ticks: u32) -> Set {
        let mut maps = lock(&self.labels.maps);
        let Some(maps) = &mut *maps else {
            return Set::Same;
        };
        let label = maps.get(pid);
        if label != found {
            return Set::Overtaken;
        }
        let same = label.map_or(agent == OTHER, |label| {
            (label.agent, label.started_ticks) == (u32::from(agent), started_ticks)
        });
        if same {
            return Set::Same;
        }
        if let Err(error) = maps.set(pid, agent, started_ticks) {
            if self.labels.lost.fetch_add(1, Relaxed) == 0 {
                warn!(
                    pid,
                    "a watched process could not be labelled; it counts as `other`: {error:#}"
                );
            }
            return Set::Lost;
        }
        self.changed = true;
        Set::Changed
    }

    /// Has the kernel label the next process that executes the same in the same cgroup.
    fn teach(&self, event: &Event, decision: Decision, same_file: bool) -> anyhow::Result<()> {
        let Some(programs) = self.labels.programs() else {
            return Ok(());
        };
        let mut programs = lock(&programs);
        // With the lock held: whoever changes the rules clears what was taught by the old ones.
        if !Arc::ptr_eq(&self.rules, &lock(&self.labels.rules)) {
            return Ok(());
        }
        if decision.by_program && same_file {
            programs.learn(event.key, decision.agent, event.at_ns)
        } else {
            programs.unlearn(&event.key)
        }
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

/// The first rule that matches.
fn decide(rules: &Rules, identity: &Identity<'_>) -> Decision {
    let mut by_program = true;
    for (agent, rule) in rules.iter() {
        let agent = *agent;
        if rule.matches_program(identity) {
            return Decision { agent, by_program };
        }
        if rule.needs_environment() {
            by_program = false;
            if rule.matches_environment(identity.environment) {
                return Decision { agent, by_program };
            }
        }
    }
    Decision {
        agent: OTHER,
        by_program,
    }
}

/// What the kernel's event tells of a program, for processes that cannot be looked at any more.
struct Told {
    comm: String,
    /// File name of the executable.
    name: String,
    /// Its whole path, where the kernel knows that, or else the name.
    exe: String,
}

impl Told {
    fn of(event: &Event) -> Self {
        let text = |bytes: &[u8]| {
            let end = bytes.iter().position(|byte| *byte == 0);
            String::from_utf8_lossy(&bytes[..end.unwrap_or(bytes.len())]).into_owned()
        };
        let (name, path) = (text(&event.name), text(&event.path));
        // A path that is relative, was cut, or leads over a link to another name is not that of
        // the executable; its name is.
        let whole = path.len() + 1 < event.path.len() && path.starts_with('/');
        let same = path.rsplit('/').next() == Some(&name);
        let exe = if whole && same { &path } else { &name };
        Self {
            comm: text(&event.key.comm),
            exe: exe.clone(),
            name,
        }
    }

    /// A process as it was found, if it still runs this program. Where the executable may not be
    /// looked at, the kernel's word for it stands in.
    fn complete<'a>(&'a self, look: Look<'a>) -> Option<Identity<'a>> {
        let mut identity = look.identity;
        if identity.exe.is_empty() {
            identity.exe = &self.exe;
        }
        let name = identity.exe_name();
        // A name that is too long for the event is there as far as it fits.
        let same_file = name == self.name
            || (self.name.len() + 1 >= NAME_BYTES && name.starts_with(&self.name));
        (identity.comm == self.comm && same_file).then_some(identity)
    }

    /// The rules' word on a process that is gone, as far as they can tell. Where its agent so far
    /// might be by what cannot be known any more, and is inherited, it stays that one's.
    fn decide(&self, rules: &Rules, cgroup: Option<&Cgroup>, event: &Event) -> AgentId {
        let identity = Identity {
            comm: &self.comm,
            exe: &self.exe,
            ..cgroup.map(Cgroup::identity).unwrap_or_default()
        };
        let agent = decide(rules, &identity).agent;
        let before = rules.iter().find(|(id, _)| u32::from(*id) == event.agent);
        let inherited = before.filter(|(_, rule)| {
            rule.needs_environment() || (cgroup.is_none() && rule.needs_cgroup())
        });
        match inherited {
            Some((before, _)) if agent == OTHER => *before,
            _ => agent,
        }
    }
}

impl CgroupMemory {
    fn remember(&mut self, css_set: u64, identity: &Identity<'_>) {
        let cgroup = Cgroup {
            path: identity.cgroup.to_owned(),
            container: identity.container.to_owned(),
            pod: identity.pod.to_owned(),
        };
        if self.0.len() >= CGROUPS && !self.0.contains_key(&css_set) {
            // Rare, and soon filled again with those that are in use.
            self.0.clear();
        }
        self.0.insert(css_set, cgroup);
    }
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
