//! Probes that come while threads are in the middle of their calls: from the moment on that a process
//! is said to be seen, its calls are counted exactly.

use std::{
    collections::BTreeMap,
    env,
    sync::{
        PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst},
    },
    thread,
};

use monitoring_agent::source::Batch;

use super::{
    Mapped, PROCESS, SOURCE,
    library::{allocate, free, launch, never_return},
    watched_with,
};
use crate::{
    node::{ME, Node, count, counter, losses, sample},
    poll::poll_until,
};

const THREADS: usize = 4;
const ROUNDS: usize = 4;

/// Calls of each kind that are compared in each round, at least.
const COMPARED: u64 = 20_000;

/// Threads that call all the time, unless they are to rest.
#[derive(Default)]
struct Callers {
    rest: AtomicBool,
    stop: AtomicBool,
    resting: AtomicUsize,
    launches: AtomicU64,
    allocations: AtomicU64,
}

impl Callers {
    fn run(&self) {
        while !self.stop.load(SeqCst) {
            if self.rest.load(SeqCst) {
                self.resting.fetch_add(1, SeqCst);
                while self.rest.load(SeqCst) && !self.stop.load(SeqCst) {
                    thread::yield_now();
                }
                self.resting.fetch_sub(1, SeqCst);
            }
            for _ in 0..32 {
                launch(1, 0x10);
            }
            free(allocate(64));
            self.launches.fetch_add(32, SeqCst);
            self.allocations.fetch_add(1, SeqCst);
        }
    }

    /// What they have called, when none of them is in a call.
    fn at_rest(&self) -> BTreeMap<&'static str, u64> {
        self.rest.store(true, SeqCst);
        poll_until("all rest", || {
            (self.resting.load(SeqCst) == THREADS).then_some(())
        });
        let allocations = self.allocations.load(SeqCst);
        BTreeMap::from([
            ("cudaLaunchKernel", self.launches.load(SeqCst)),
            ("cudaMalloc", allocations),
            ("cudaFree", allocations),
            // Within the call of the runtime.
            ("cuMemAlloc", 0),
        ])
    }

    fn go_on(&self) {
        self.rest.store(false, SeqCst);
        let before = self.launches.load(SeqCst);
        poll_until("they have called often enough", || {
            (self.launches.load(SeqCst) >= before + COMPARED).then_some(())
        });
    }
}

/// Stops the threads however the test ends.
struct Stopped<'a>(&'a Callers);

impl Drop for Stopped<'_> {
    fn drop(&mut self) {
        self.0.stop.store(true, SeqCst);
    }
}

/// Calls of this process, as the source has counted them.
fn counted(batch: &Batch, calls: &BTreeMap<&'static str, u64>) -> BTreeMap<&'static str, u64> {
    let of = |call: &&'static str| {
        let api = if call.starts_with("cuda") {
            "runtime"
        } else {
            "driver"
        };
        let labels = [("agent", ME), ("api", api), ("call", call)];
        (*call, counter(batch, "cuda_calls_total", &labels))
    };
    calls.keys().map(of).collect()
}

/// Launches by kernel.
fn launches(batch: &Batch) -> u64 {
    let families = batch.families.iter();
    let launches = families.filter(|family| family.name() == "gpu_kernel_launches_total");
    launches
        .flat_map(prometheus::proto::MetricFamily::get_metric)
        .map(count)
        .sum()
}

/// Waits until this process is seen.
fn seen(node: &mut Node) {
    let labels = [("agent", ME), ("state", "static")];
    poll_until("this process is seen", || {
        let batch = node.collect(SOURCE);
        sample(&batch, "cuda_probe_coverage", &labels).map(|_| ())
    });
}

/// Lets the threads call for some time, and compares what they did with what was counted.
fn compare(node: &mut Node, callers: &Callers, what: &str) {
    let own = callers.at_rest();
    let batch = node.collect(SOURCE);
    let (before, launched) = (counted(&batch, &own), launches(&batch));
    callers.go_on();
    let later = callers.at_rest();
    let batch = node.collect(SOURCE);
    let found: BTreeMap<_, _> = counted(&batch, &own)
        .into_iter()
        .map(|(call, count)| (call, count - before[call]))
        .collect();
    let wanted: BTreeMap<_, _> = later
        .iter()
        .map(|(call, count)| (*call, count - own[call]))
        .collect();
    assert_eq!(found, wanted, "{what}");
    assert_eq!(
        launches(&batch) - launched,
        wanted["cudaLaunchKernel"],
        "{what}"
    );
    let mut lost = losses(&batch);
    // It had its library before that was probed, if anybody was told of it by then.
    lost.retain(|(reason, _)| *reason != "probed_late");
    assert!(lost.is_empty(), "{what}: {lost:?}");
    callers.go_on();
}

#[test]
fn calls_are_exact_from_when_their_process_is_seen() {
    let _alone = PROCESS.lock().unwrap_or_else(PoisonError::into_inner);
    let callers = Callers::default();
    thread::scope(|scope| {
        let _stopped = Stopped(&callers);
        for _ in 0..THREADS {
            scope.spawn(|| callers.run());
        }
        callers.go_on();
        let mut node = Node::start(&["process"]);
        for round in 0..ROUNDS {
            // What costs too much is counted at entry, or nothing is.
            let budget = [0.001, 100.0][round % 2];
            node.restart(SOURCE, |config| {
                config.sources.cuda.overhead_budget = budget;
            });
            let driver = Mapped::driver();
            seen(&mut node);
            compare(&mut node, &callers, &format!("round {round}"));
            // More libraries, one after the other.
            let own = env::current_exe().unwrap();
            let more = ["libcudart.so.12", "libcuda.so"].map(|name| {
                let library = Mapped::new(&own, name);
                callers.go_on();
                library
            });
            compare(
                &mut node,
                &callers,
                &format!("round {round}, more libraries"),
            );
            drop((driver, more));
        }
    });
}

#[test]
fn a_return_that_nobody_sees_costs_one_duration_and_no_call() {
    const CALLS: u64 = 1_000;
    let (mut node, _driver, _alone) = watched_with(|config| {
        config.sources.cuda.overhead_budget = 100.0;
    });
    // Each from the same place on the stack. The last one is over when its thread ends.
    let caller = thread::spawn(|| (0..CALLS).for_each(|_| never_return()));
    caller.join().unwrap();
    let labels = [
        ("agent", ME),
        ("api", "runtime"),
        ("call", "cudaEventCreate"),
    ];
    let batch = poll_until("all are counted", || {
        let batch = node.collect(SOURCE);
        (counter(&batch, "cuda_calls_total", &labels) == CALLS).then_some(batch)
    });
    assert_eq!(losses(&batch), [("no_return", CALLS - 1)]);
}
