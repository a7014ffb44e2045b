//! Source `profile`: samples continuously, counts the samples, and keeps the profiles.
//!
//! One thread takes in stacks while their processes can still be looked at; another, which may take
//! its time, names them and writes them down. A collection ends the windows, so that its counts are
//! exact; it waits for neither.

mod keeper;
mod listener;
mod totals;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use tracing::warn;

use self::{keeper::Keeper, listener::Listener, totals::Totals};
use super::StartContext;
use crate::{
    config::{Config, ProfileEvent},
    families::Family as Metrics,
    labels::{Labels, in_initial_pid_namespace},
    profile::{
        Type,
        assemble::Content,
        placer::Placer,
        profiler::Profiler,
        recorder::Recorder,
        session::{Event, Kind, SessionOptions},
    },
    source::{Batch, MapState, Source, StartError},
};

const SAMPLES_HELP: &str = "Samples of CPU time that tasks were found using, by where they were \
                            (user, or kernel with the program's stack behind it), and by how much of \
                            the program's stack could be followed: complete, truncated at 200 frames, \
                            no_unwind_info where a function keeps no frame pointer, or error.";
const RATE_HELP: &str = "How often each CPU that is busy is sampled; a sample stands for one part in \
                         so many of a second.";

/// Distinct stacks of threads that there is room for between two collections.
const MAX_STACKS: u32 = 16_384;

/// Room in the ring: some 2,000 stacks of 60 frames, which at 19 samples a second are the new ones of
/// a second on 100 busy CPUs.
const RING_BYTES: u32 = 1 << 20;

/// How long the end of the source may take: less than the agent's own patience.
const PATIENCE: Duration = Duration::from_secs(4);

struct Profiles {
    labels: Arc<Labels>,
    profiler: Arc<Profiler>,
    parts: Vec<(Content, Arc<Mutex<Recorder>>)>,
    totals: Totals,
    /// There until it is dropped.
    listener: Option<Listener>,
    /// None where nothing is kept.
    keeper: Option<Arc<Keeper>>,
}

/// The key that switches the source off, if one does.
pub fn off_by(config: &Config) -> Option<&'static str> {
    if !config.profiling_enabled {
        Some("monitoring.profiling_enabled")
    } else if !config.sources.profile.enabled {
        Some("sources.profile.enabled")
    } else if wanted(config).is_empty() {
        Some("monitoring.profile_sample_rate")
    } else {
        None
    }
}

/// What is to be recorded all the time.
fn wanted(config: &Config) -> Vec<(Type, Kind)> {
    let profile = &config.sources.profile;
    let event = match profile.event {
        ProfileEvent::Auto => Event::Auto,
        ProfileEvent::CpuClock => Event::CpuClock,
        ProfileEvent::Cycles => Event::Cycles,
    };
    let hertz = config.profile_hertz();
    let kinds = [
        (hertz > 0, Type::Cpu, Kind::Cpu { hertz, event }),
        (profile.offcpu, Type::OffCpu, Kind::OffCpu),
        (profile.memory, Type::Memory, Kind::Memory),
    ];
    let wanted = kinds.into_iter().filter(|(wanted, ..)| *wanted);
    wanted.map(|(_, kind, of)| (kind, of)).collect()
}

/// Begins to sample.
///
/// # Errors
///
/// See [`StartError`].
pub fn start(context: &mut StartContext<'_>) -> Result<Box<dyn Source>, StartError> {
    if !in_initial_pid_namespace()? {
        let why = "the agent runs in a pid namespace of its own, where it cannot tell processes \
                   apart; run it in the node's (docker: --pid=host, Kubernetes: hostPID: true)";
        return Err(StartError::Unsupported(why.to_owned()));
    }
    let (mut parts, mut heard) = (Vec::new(), Vec::new());
    let mut refused = None;
    for (kind, session) in wanted(context.config) {
        match record(context, session) {
            Ok((mut recorder, placer)) => {
                let hertz = recorder.session().hertz();
                let of = Content { kind, hertz };
                let recorder = Arc::new(Mutex::new(recorder));
                parts.push((of, Arc::clone(&recorder)));
                heard.push(listener::Part {
                    content: of,
                    recorder,
                    placer,
                    is_short: false,
                });
            }
            // The others go on without it.
            Err(StartError::Unsupported(why)) => {
                warn!("there will be no {kind} profile: {why}");
                refused = Some(StartError::Unsupported(why));
            }
            Err(error) => return Err(error),
        }
    }
    if let (true, Some(refused)) = (parts.is_empty(), refused) {
        return Err(refused);
    }
    let length = context.config.sources.profile.history_window;
    let keeper = match context.history {
        Some(history) => Some(Keeper::start(context.profiler, history, length)?),
        None => None,
    };
    let keeper = keeper.map(Arc::new);
    Ok(Box::new(Profiles {
        labels: Arc::clone(context.labels),
        profiler: Arc::clone(context.profiler),
        totals: Totals::default(),
        listener: Some(Listener::start(heard, keeper.clone())?),
        keeper,
        parts,
    }))
}

fn record(context: &mut StartContext<'_>, kind: Kind) -> Result<(Recorder, Placer), StartError> {
    let options = SessionOptions {
        kind,
        pid: None,
        max_stacks: MAX_STACKS,
        ring_bytes: RING_BYTES,
        debug: context.config.ebpf_debug,
    };
    context.profiler.record(&options, context.offsets)
}

impl Source for Profiles {
    fn collect(&mut self) -> anyhow::Result<Batch> {
        let agents = self.labels.names();
        let mut batch = Batch::default();
        let mut rate = Metrics::gauge("profile_sample_rate_hertz", RATE_HELP);
        for (part, (content, recorder)) in self.parts.iter().enumerate() {
            let mut recorder = lock(recorder);
            let session = recorder.session();
            batch.lost.extend(session.lost()?);
            let (programs, recursions) = session.programs();
            batch.lost.push(("recursion", recursions));
            batch.programs.extend(programs);
            batch.maps.extend(session.maps());
            // Last: what it gives must not be dropped by an error.
            let ended = recorder.end_window()?;
            drop(recorder);
            if content.kind == Type::Cpu {
                self.totals.add(&ended.counted);
                rate.push(&[], content.hertz.into());
            }
            if let Some(listener) = &self.listener {
                listener.ended(part, ended, &agents);
            }
        }
        let mut samples = Metrics::counter("profile_samples_total", SAMPLES_HELP);
        self.totals.fill(&mut samples, &agents);
        batch.families = vec![samples.build(), rate.build()];
        batch.lost.extend(self.profiler.lost());
        batch.families.extend(self.profiler.families());
        if let Some(keeper) = &self.keeper {
            batch.families.extend(keeper.families());
            batch.lost.extend(keeper.lost());
            let unplaced = self.listener.as_ref().map_or(0, Listener::lost);
            batch.lost.push(("unplaced_window", unplaced));
        }
        batch.lost = summed(batch.lost);
        batch.maps = added_up(batch.maps);
        Ok(batch)
    }
}

impl Drop for Profiles {
    /// Keeps what was recorded up to now, if that does not take too long.
    fn drop(&mut self) {
        let agents = self.labels.names();
        let Some(listener) = self.listener.take() else {
            return;
        };
        for (part, (_, recorder)) in self.parts.iter().enumerate() {
            match lock(recorder).end_window() {
                Ok(ended) => listener.ended(part, ended, &agents),
                Err(error) => warn!("the last samples are not kept: {error:#}"),
            }
        }
        let deadline = Instant::now() + PATIENCE;
        let mut kept = ends(&listener.close(), deadline);
        // Nobody else has it, once the listener has ended.
        if let Some(keeper) = self.keeper.take().and_then(Arc::into_inner) {
            kept &= ends(&keeper.close(), deadline);
        }
        if !kept {
            warn!("the profile of the last minutes is not kept: naming it takes too long");
        }
    }
}

/// Whether a thread ends by then.
fn ends(thread: &JoinHandle<()>, deadline: Instant) -> bool {
    while !thread.is_finished() {
        if Instant::now() >= deadline {
            return false;
        }
        thread::sleep(Duration::from_millis(2));
    }
    true
}

/// Each reason once: several recordings have the same.
fn summed(lost: Vec<(&'static str, u64)>) -> Vec<(&'static str, u64)> {
    let mut sums = BTreeMap::new();
    for (reason, count) in lost {
        *sums.entry(reason).or_insert(0) += count;
    }
    sums.into_iter().collect()
}

/// Each map once: each recording has its own.
fn added_up(maps: Vec<MapState>) -> Vec<MapState> {
    let mut sums: Vec<MapState> = Vec::new();
    for map in maps {
        match sums.iter_mut().find(|sum| sum.name == map.name) {
            None => sums.push(map),
            Some(sum) => {
                sum.bytes += map.bytes;
                sum.entries = sum.entries.zip(map.entries).map(|(a, b)| a + b);
            }
        }
    }
    sums
}

fn lock(recorder: &Mutex<Recorder>) -> MutexGuard<'_, Recorder> {
    // What a panic left half heard is counted as stacks that nobody told.
    recorder.lock().unwrap_or_else(PoisonError::into_inner)
}
