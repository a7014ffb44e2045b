//! Makes a capture: records until the time is over, while what has ended is named beside it.
//!
//! Knows neither who asked nor how many may ask at a time.

use std::{
    sync::{
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use monitoring_profile::Profile;
use tracing::debug;

use super::{
    assemble::{self, Content, Filter, assemble},
    placer::{Placer, Window},
    recorder::Recorder,
    service::{Progress, Watch},
    symbols::Symbols,
};
use crate::labels::Labels;

/// Longest time between two looks at the ring, and at whether the capture is still wanted.
const LISTEN_INTERVAL: Duration = Duration::from_millis(100);

/// How long the ring is left alone after it was read: new stacks come one by one, and are taken in
/// many at a time.
const REST: Duration = Duration::from_millis(20);

/// How long a window lasts: what is in the kernel's maps at a time.
const WINDOW: Duration = Duration::from_secs(10);

/// A window with so many stacks ends before its time, so that one takes about 10 MiB whatever the node
/// runs: of processes that come and go each has stacks of its own.
const MANY_STACKS: usize = 32_768;

/// How often processes are labelled where nobody else does it.
const SCAN_INTERVAL: Duration = Duration::from_secs(1);

/// Windows that may wait to be named.
const WAITING: usize = 4;

/// Largest profile, about: one that has grown so large ends the capture. A program can have endlessly
/// many stacks if it wants to.
const LARGEST_BYTES: usize = 128 << 20;

/// What naming needs.
pub(super) struct Naming<'a> {
    pub(super) content: Content,
    pub(super) symbols: &'a Symbols,
    pub(super) labels: &'a Labels,
    /// Only this agent is of interest.
    pub(super) agent: Option<&'a str>,
}

/// Why a capture ends before its time.
#[derive(Default)]
struct Early {
    /// The profile is as large as it may be.
    full: AtomicBool,
    /// Nobody wants it.
    abandoned: AtomicBool,
}

/// Records for so long, or until nobody wants more. `scanned` are labelled every second.
pub(super) fn run(
    recorder: &mut Recorder,
    placer: &mut Placer,
    duration: Duration,
    watch: &mut Watch,
    naming: &Naming<'_>,
    scanned: Option<&Labels>,
) -> anyhow::Result<Profile> {
    let early = Early::default();
    let mut profile = thread::scope(|scope| {
        let (windows, received) = sync_channel(WAITING);
        let thread = scope.spawn(|| name(received, naming, &early));
        let result = record(recorder, placer, duration, watch, &windows, &early, scanned);
        // The namer ends when no window can come any more.
        drop(windows);
        let profile = thread.join();
        result?;
        profile.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })?;
    if early.full.load(Ordering::Relaxed) {
        profile.add_comment(format!(
            "ended early: the profile has grown to {} MiB; ask for less time, one process or a lower \
             rate",
            LARGEST_BYTES >> 20
        ));
    }
    for (reason, count) in recorder.session().lost()? {
        if count > 0 {
            profile.add_comment(format!("{count} samples or stacks lost: {reason}"));
        }
    }
    Ok(profile)
}

fn record(
    recorder: &mut Recorder,
    placer: &mut Placer,
    duration: Duration,
    watch: &mut Watch,
    windows: &SyncSender<Window>,
    early: &Early,
    scanned: Option<&Labels>,
) -> anyhow::Result<()> {
    let begun = Instant::now();
    let (end, mut window_end) = (begun + duration, begun + WINDOW);
    let mut scan_due = begun + SCAN_INTERVAL;
    loop {
        let left = end.min(window_end);
        thread::sleep(REST.min(left.saturating_duration_since(Instant::now())));
        let wait = left.saturating_duration_since(Instant::now());
        recorder.session().wait(wait.min(LISTEN_INTERVAL))?;
        recorder.session().follow_cpus()?;
        placer.place(recorder.hear());
        let now = Instant::now();
        if let Some(labels) = scanned
            && now >= scan_due
        {
            scan_due = now + SCAN_INTERVAL;
            if let Err(error) = labels.scan() {
                debug!("new processes are not labelled: {error:#}");
            }
        }
        watch.report(Progress {
            elapsed: now - begun,
            samples: recorder.session().taken()?,
        });
        let is_full = early.full.load(Ordering::Relaxed);
        let ended = now >= end || watch.is_over() || is_full;
        if !ended && now < window_end && placer.stacks() < MANY_STACKS {
            continue;
        }
        window_end = now + WINDOW;
        early
            .abandoned
            .store(watch.is_abandoned(), Ordering::Relaxed);
        let window = placer.window(recorder.end_window()?);
        // If the namer is gone, its result says why.
        if windows.send(window).is_err() || ended {
            return Ok(());
        }
    }
}

/// Names windows, and adds them up.
fn name(windows: Receiver<Window>, naming: &Naming<'_>, early: &Early) -> anyhow::Result<Profile> {
    let mut profile = assemble::empty(naming.content);
    for window in windows {
        if early.abandoned.load(Ordering::Relaxed) {
            break;
        }
        let agents = naming.labels.names();
        let filter = Filter {
            agent: naming.agent,
        };
        let more = assemble(&window, naming.content, naming.symbols, &agents, filter);
        profile.merge(&more).context("add up a profile's windows")?;
        if profile.memory_bytes() > LARGEST_BYTES {
            early.full.store(true, Ordering::Relaxed);
            break;
        }
    }
    Ok(profile)
}
