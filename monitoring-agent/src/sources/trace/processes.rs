//! The processes of which there are spans, and the resource that each has in OTLP: by
//! OpenTelemetry's semantic conventions, with names that are safe to show.
//!
//! Knows neither spans nor how processes are looked at.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, SystemTime},
};

use monitoring_common::{agents::OTHER, trace::Header};
use opentelemetry_proto::tonic::common::v1::KeyValue;

use super::{facts::Facts, ids::Ids, process_key::ProcessKey, timeline::Timeline};
use crate::{
    host_resource,
    printable::printable,
    spans::{
        Resource,
        attributes::{integer, text},
    },
};

/// Processes that are known at a time: about 10 MB with their resources. Those that were not heard of
/// for longest go first.
const MAX_PROCESSES: usize = 4_096;

/// A process that calls itself otherwise now may run another program; it is looked at again, but not
/// more often than that.
const LOOK_AGAIN_NS: u64 = 1_000_000_000;

/// Most characters of a path, and of a name.
const PATH_CHARACTERS: usize = 512;
const NAME_CHARACTERS: usize = 64;

/// What the resources of all processes of the node say.
#[derive(Clone, Debug, Default)]
pub(super) struct Host {
    pub(super) attributes: Vec<KeyValue>,
}

/// The processes of which there were spans of late.
#[derive(Debug, Default)]
pub(super) struct Processes {
    known: HashMap<ProcessKey, Known>,
    /// Those that are to be looked at.
    wanted: Vec<ProcessKey>,
}

#[derive(Debug)]
struct Known {
    /// What it was called when there was last a span of its first thread, or of any.
    comm: [u8; 16],
    facts: Option<Facts>,
    /// Whether it is being looked at for the first time.
    is_asked: bool,
    asked_ns: u64,
    /// Whether that was sooner than [`LOOK_AGAIN_NS`] after the time before.
    was_early: bool,
    heard_ns: u64,
    /// For one agent, until something changes.
    resource: Option<(u16, Arc<Resource>)>,
}

impl Processes {
    /// There is a span of a process, at this time of the monotonic clock.
    pub(super) fn heard(&mut self, header: &Header, now_ns: u64) {
        let process = ProcessKey::of(header);
        let is_first_thread = header.tid == header.pid;
        if let Some(known) = self.known.get_mut(&process) {
            known.heard_ns = now_ns;
            // A thread's name is its own; that of the first one becomes another with the program.
            let changes = is_first_thread && known.comm != header.comm;
            let is_early = now_ns.saturating_sub(known.asked_ns) < LOOK_AGAIN_NS;
            // Who is heard of between fork and exec is another program a moment later, maybe for less
            // than that.
            if changes && !(is_early && known.was_early) {
                known.comm = header.comm;
                known.was_early = is_early;
                known.asked_ns = now_ns;
                self.wanted.push(process);
            }
            return;
        }
        if self.known.len() >= MAX_PROCESSES {
            self.forget_oldest();
        }
        let known = Known {
            comm: header.comm,
            facts: None,
            is_asked: true,
            asked_ns: now_ns,
            was_early: false,
            heard_ns: now_ns,
            resource: None,
        };
        self.known.insert(process, known);
        self.wanted.push(process);
    }

    /// Those that are to be looked at, each once.
    pub(super) fn take_wanted(&mut self) -> Vec<ProcessKey> {
        std::mem::take(&mut self.wanted)
    }

    /// A process was looked at; `None` if it was gone, or nobody looks.
    pub(super) fn found(&mut self, process: ProcessKey, facts: Option<Facts>) {
        let Some(known) = self.known.get_mut(&process) else {
            return;
        };
        known.is_asked = false;
        // One that is gone is still what it was.
        if facts.is_some() && facts != known.facts {
            known.facts = facts;
            known.resource = None;
        }
    }

    /// Whether there is nothing more to wait for: it was looked at, or is not known at all.
    pub(super) fn is_settled(&self, process: ProcessKey) -> bool {
        self.known.get(&process).is_none_or(|known| !known.is_asked)
    }

    /// A process's name, for people.
    pub(super) fn name(&self, process: ProcessKey, comm: [u8; 16]) -> String {
        let known = self.known.get(&process);
        match known.and_then(|known| known.facts.as_ref()) {
            Some(facts) => shown(facts.program()),
            None => comm_text(known.map_or(comm, |known| known.comm)),
        }
    }

    /// The resource of a process, as one of an agent of this number and name.
    pub(super) fn resource(
        &mut self,
        process: ProcessKey,
        (agent, agent_name): (u16, &str),
        comm: [u8; 16],
        making: &Making<'_>,
    ) -> Arc<Resource> {
        let known = self.known.get(&process);
        if let Some((of, resource)) = known.and_then(|known| known.resource.as_ref())
            && *of == agent
        {
            return Arc::clone(resource);
        }
        let program = self.name(process, comm);
        let service = if agent == OTHER { &program } else { agent_name };
        let facts = known.and_then(|known| known.facts.as_ref());
        let attributes = attributes(process, service, &program, facts, making);
        let resource = Arc::new(Resource::new(attributes));
        if let Some(known) = self.known.get_mut(&process) {
            known.resource = Some((agent, Arc::clone(&resource)));
        }
        resource
    }

    /// Forgets the quarter that was not heard of for longest.
    fn forget_oldest(&mut self) {
        let mut heard: Vec<_> = self.known.values().map(|known| known.heard_ns).collect();
        let (_, oldest_kept, _) = heard.select_nth_unstable(MAX_PROCESSES / 4);
        let (oldest_kept, mut left) = (*oldest_kept, MAX_PROCESSES / 4);
        self.known.retain(|_, known| {
            let is_old = known.heard_ns <= oldest_kept && left > 0;
            left -= usize::from(is_old);
            !is_old
        });
        let known = &self.known;
        self.wanted.retain(|process| known.contains_key(process));
    }
}

/// What resources are made with.
pub(super) struct Making<'a> {
    pub(super) ids: &'a Ids,
    pub(super) timeline: &'a Timeline,
    pub(super) host: &'a Host,
}

fn attributes(
    process: ProcessKey,
    service: &str,
    program: &str,
    facts: Option<&Facts>,
    making: &Making<'_>,
) -> Vec<KeyValue> {
    let mut attributes = vec![
        text("service.name", service),
        text("service.instance.id", uuid(making.ids.instance(process))),
        integer("process.pid", process.pid),
        text("process.executable.name", program),
    ];
    if process.start_ns != 0 {
        let unix_ns = making.timeline.unix_since_boot_ns(process.start_ns);
        let at = SystemTime::UNIX_EPOCH + Duration::from_nanos(unix_ns);
        let at = humantime::format_rfc3339_millis(at).to_string();
        attributes.push(text("process.creation.time", at));
    }
    if let Some(facts) = facts {
        let path = printable(facts.executable.as_bytes(), PATH_CHARACTERS);
        let texts = [
            ("process.executable.path", path),
            ("container.id", facts.container.clone()),
            ("k8s.pod.uid", facts.pod.clone()),
        ];
        let texts = texts.into_iter().filter(|(_, value)| !value.is_empty());
        attributes.extend(texts.map(|(key, value)| text(key, value)));
        let numbers = [
            ("process.parent_pid", facts.parent_pid),
            ("process.user.id", facts.user),
        ];
        let numbers = numbers.into_iter();
        attributes.extend(numbers.filter_map(|(key, value)| Some(integer(key, value?))));
    }
    attributes.extend(making.host.attributes.iter().cloned());
    attributes
}

/// A thread's name, as far as it is one.
pub(super) fn comm_text(comm: [u8; 16]) -> String {
    let bytes = comm.split(|byte| *byte == 0).next().unwrap_or_default();
    printable(bytes, NAME_CHARACTERS)
}

fn shown(name: &str) -> String {
    printable(name.as_bytes(), NAME_CHARACTERS)
}

/// As a UUID of version 8, which is for ids that are made like this one.
fn uuid(id: u128) -> String {
    let id = id & !(0xf << 76 | 0x3 << 62) | 0x8 << 76 | 0x2 << 62;
    let digits = format!("{id:032x}");
    let parts = [0..8, 8..12, 12..16, 16..20, 20..32];
    parts.map(|part| &digits[part]).join("-")
}

impl Host {
    /// This node, by the name and type that its configuration gives it.
    pub(super) fn of_machine(node: &str, node_type: &str) -> Self {
        let attributes = host_resource::attributes(node, node_type);
        Self { attributes }
    }
}

#[cfg(test)]
mod tests;
