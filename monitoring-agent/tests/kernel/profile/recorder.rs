//! A session, and all that it has told.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use monitoring_agent::{
    loader::SharedMaps,
    offsets::Offsets,
    profile::session::{Event, Key, Kind, Session, SessionOptions},
};
use tokio::runtime::Runtime;

use super::worker::{Task, Worker};
use crate::poll::PATIENCE;

/// Whether CPUs are emulated: their timers come when the emulator gets round to it, and samples are
/// fewer than they should be.
pub(super) fn is_emulated() -> bool {
    std::env::var_os("MONITORING_TEST_GUEST").is_some()
}

/// Samples that a test needs to say anything.
pub(super) fn enough_samples() -> u64 {
    if is_emulated() { 20 } else { 200 }
}

/// Asserts that so many samples were taken, give or take some; never more.
pub(super) fn assert_samples(samples: u64, wanted: f64, tolerance: f64) {
    let samples = samples as f64;
    assert!(
        samples <= wanted + tolerance && (is_emulated() || samples >= wanted - tolerance),
        "{samples} samples for {wanted} ± {tolerance}"
    );
}

/// What was heard of a key.
#[derive(Clone, Debug, Default)]
pub(super) struct Stack {
    pub(super) user: Vec<u64>,
    pub(super) kernel: Vec<u64>,
    pub(super) comm: [u8; 16],
    pub(super) process_comm: [u8; 16],
    pub(super) process_start_ns: u64,
    pub(super) time_ns: u64,
}

/// What was counted of a key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sum {
    pub(super) samples: u64,
    pub(super) value: u64,
}

/// A session that keeps what it is told.
pub(super) struct Recorder {
    pub(super) session: Session,
    /// By window and key.
    pub(super) stacks: HashMap<(u32, Key), Stack>,
    /// Of all windows that have ended, and of samples that came by themselves.
    pub(super) sums: HashMap<Key, Sum>,
    /// The number of samples that came by themselves.
    pub(super) alone: u64,
    /// How often a stack came for a key that was known in its window already, and was not a sample.
    pub(super) doubled: u64,
    /// Counts of which no stack was sent.
    pub(super) without_stack: u64,
    _runtime: Runtime,
}

pub(super) const fn cpu(hertz: u32) -> SessionOptions {
    SessionOptions {
        kind: Kind::Cpu {
            hertz,
            event: Event::CpuClock,
        },
        pid: None,
        max_stacks: 65_536,
        ring_bytes: 16 * 1024 * 1024,
        debug: false,
    }
}

impl Recorder {
    pub(super) fn start(options: &SessionOptions) -> Self {
        Self::with_limits(options, &[])
    }

    pub(super) fn with_limits(options: &SessionOptions, limits: &[(&'static str, u32)]) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let inside = runtime.enter();
        let shared = SharedMaps::with_limits(limits);
        let session = Session::start(options, &shared, &mut Offsets::new());
        let session = session.unwrap_or_else(|error| panic!("{error}"));
        drop(inside);
        Self {
            session,
            stacks: HashMap::new(),
            sums: HashMap::new(),
            alone: 0,
            doubled: 0,
            without_stack: 0,
            _runtime: runtime,
        }
    }

    /// Takes what has come.
    pub(super) fn hear(&mut self) {
        let (stacks, sums) = (&mut self.stacks, &mut self.sums);
        let (alone, doubled) = (&mut self.alone, &mut self.doubled);
        self.session.hear(&mut |stack| {
            assert_ne!(stack.key.process, 0, "an idle task");
            let new = Stack {
                user: stack.user.to_vec(),
                kernel: stack.kernel.to_vec(),
                comm: stack.comm,
                process_comm: stack.process_comm,
                process_start_ns: stack.process_start_ns,
                time_ns: stack.time_ns,
            };
            let known = stacks.insert((stack.window, stack.key), new);
            if stack.samples > 0 {
                let sum = sums.entry(stack.key).or_default();
                sum.samples += stack.samples;
                sum.value += stack.value;
                *alone += stack.samples;
            } else if known.is_some() {
                *doubled += 1;
            }
        });
    }

    /// Ends a window. Counts whose stack was sent must have one.
    pub(super) fn end_window(&mut self) {
        let window = self.session.window();
        let counted = self.session.end_window().unwrap();
        self.hear();
        for counted in counted {
            let known = self.stacks.contains_key(&(window, counted.key));
            assert!(
                known || !counted.stack_sent,
                "no stack of {counted:?} in window {window}"
            );
            self.without_stack += u64::from(!counted.stack_sent);
            let sum = self.sums.entry(counted.key).or_default();
            sum.samples += counted.samples;
            sum.value += counted.value;
        }
    }

    /// Listens for so long.
    pub(super) fn listen(&mut self, duration: Duration) {
        let end = Instant::now() + duration;
        while let Some(left) = end.checked_duration_since(Instant::now()) {
            self.session.wait(left).unwrap();
            self.session.follow_cpus().unwrap();
            self.hear();
        }
    }

    /// Has a worker do something, and ends the window then.
    pub(super) fn watch(&mut self, worker: &mut Worker, task: Task) {
        worker.begins(task);
        self.until_done(worker);
        self.end_window();
    }

    /// Listens until a worker has done what it was told.
    pub(super) fn until_done(&mut self, worker: &mut Worker) {
        let deadline = Instant::now() + PATIENCE;
        while !worker.is_done() {
            self.listen(Duration::from_millis(20));
            assert!(Instant::now() < deadline, "a worker's work");
        }
    }

    /// The sums of what a function says yes to.
    pub(super) fn sum(&self, wanted: impl Fn(&Key) -> bool) -> Sum {
        let mut all = Sum::default();
        for (_, sum) in self.sums.iter().filter(|(key, _)| wanted(key)) {
            all.samples += sum.samples;
            all.value += sum.value;
        }
        all
    }

    /// The keys of a process, with sums and stacks.
    pub(super) fn of(&self, worker: &Worker) -> Vec<(Key, Sum, &Stack)> {
        let pid = worker.pid();
        let stacks = self.stacks.iter();
        let mut seen = std::collections::HashSet::new();
        let stacks = stacks.filter(|((_, key), _)| key.process == pid && seen.insert(*key));
        stacks
            .filter_map(|((_, key), stack)| Some((*key, *self.sums.get(key)?, stack)))
            .collect()
    }

    /// The losses that are not zero.
    pub(super) fn losses(&mut self) -> Vec<(&'static str, u64)> {
        let lost = self.session.lost().unwrap().into_iter();
        lost.filter(|(_, count)| *count > 0).collect()
    }
}
