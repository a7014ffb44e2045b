//! A stopped agent leaves nothing in the kernel, and stops in time; a reload changes only what it
//! has to.

use std::{
    collections::BTreeSet,
    fs,
    future::Future,
    time::{Duration, Instant},
};

use aya::{maps::loaded_maps, programs::loaded_programs};
use monitoring_agent::{config::Config, pipeline::Agent, snapshot::Snapshot};
use prometheus::proto::MetricFamily;

use crate::{
    node::{ME, me},
    poll::{PATIENCE, poll_until},
    work,
};

fn config() -> Config {
    let mut config = Config {
        listen: "127.0.0.1:0".parse().unwrap(),
        agents: vec![me()],
        collection_interval: Duration::from_millis(200),
        ..Config::default()
    };
    // Nothing is left on the machine's disk.
    config.sources.profile.history = false;
    config
}

/// Ids of all programs and maps in the kernel.
fn kernel_objects() -> BTreeSet<(&'static str, u32)> {
    let programs = loaded_programs().filter_map(Result::ok);
    let maps = loaded_maps().filter_map(Result::ok);
    let programs = programs.map(|info| ("program", info.id()));
    programs
        .chain(maps.map(|info| ("map", info.id())))
        .collect()
}

/// Open descriptors of this process that are no files, and its threads but for tokio's, which come and go.
fn descriptors_and_threads() -> (usize, usize) {
    let threads = fs::read_dir("/proc/self/task").unwrap().flatten();
    let names = threads.filter_map(|thread| fs::read_to_string(thread.path().join("comm")).ok());
    let ours = names.filter(|name| !name.starts_with("tokio"));
    // Files that programs of this node execute are held open too, as many as there are.
    let descriptors = fs::read_dir("/proc/self/fd").unwrap().flatten();
    let targets = descriptors.filter_map(|descriptor| fs::read_link(descriptor.path()).ok());
    let own = targets.filter(|target| target.is_relative());
    (own.count(), ours.count())
}

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.enable_all().build().unwrap();
    runtime.block_on(test);
}

/// Waits for a snapshot of the agent.
async fn wait_for(agent: &Agent, what: &str, done: impl FnMut(&Snapshot) -> bool) {
    let mut done = done;
    let mut latest = agent.latest();
    let reached = latest.wait_for(|snapshot| done(snapshot));
    let reached = tokio::time::timeout(PATIENCE, reached).await;
    drop(reached.unwrap_or_else(|_| panic!("not within {PATIENCE:?}: {what}")));
}

/// This process's calls of `getppid` in a snapshot.
fn getppids(snapshot: &Snapshot) -> f64 {
    let family = snapshot
        .families
        .iter()
        .find(|family| family.name() == "syscall_total");
    let metrics = family.into_iter().flat_map(MetricFamily::get_metric);
    let ours = metrics.filter(|metric| {
        let has = |value| {
            metric
                .get_label()
                .iter()
                .any(|label| label.value() == value)
        };
        has(ME) && has("getppid")
    });
    ours.map(|metric| metric.get_counter().get_value()).sum()
}

#[test]
fn nothing_is_left_after_a_stop() {
    let before = kernel_objects();
    let mut while_running = BTreeSet::new();
    run(async {
        let agent = Agent::start(config()).await.unwrap();
        wait_for(&agent, "a first snapshot", |snapshot| snapshot.ready).await;
        while_running = &kernel_objects() - &before;
        let begun = Instant::now();
        agent.stop().await;
        assert!(
            begun.elapsed() < Duration::from_secs(1),
            "took {:?}",
            begun.elapsed()
        );
    });
    assert!(
        while_running.len() > 10,
        "4 programs and their maps: {while_running:?}"
    );
    // The kernel frees programs and maps a little after their last user is gone.
    poll_until("no program or map is left", || {
        kernel_objects().is_disjoint(&while_running).then_some(())
    });
}

#[test]
fn a_reload_keeps_what_did_not_change() {
    run(async {
        let mut agent = Agent::start(config()).await.unwrap();
        work::getppid(1_000);
        wait_for(&agent, "the first calls", |snapshot| {
            getppids(snapshot) >= 1_000.0
        })
        .await;
        let objects = kernel_objects();
        let interval = Duration::from_millis(100);
        let mut changed = Config {
            collection_interval: interval,
            ..config()
        };
        changed.node = "renamed".to_owned();
        agent.reload(changed.clone()).await;
        assert_eq!(kernel_objects(), objects, "no program was loaded again");
        work::getppid(1_000);
        wait_for(&agent, "all calls", |snapshot| {
            (getppids(snapshot) - 2_000.0).abs() < 0.5
        })
        .await;
        let mut off = changed;
        off.sources.syscalls.enabled = false;
        agent.reload(off).await;
        let gone = |snapshot: &Snapshot| {
            !snapshot
                .families
                .iter()
                .any(|family| family.name() == "syscall_total")
        };
        wait_for(&agent, "the source is off", gone).await;
        agent.stop().await;
    });
}

/// Threads that the profiler starts when there is work for them, which may be in one round and not in
/// another. What leaks in each of six restarts is more.
const WHEN_NEEDED: usize = 3;

#[test]
fn restarting_sources_leaks_nothing() {
    run(async {
        let mut agent = Agent::start(config()).await.unwrap();
        let restart_twice = async |agent: &mut Agent| {
            for ebpf_debug in [true, false] {
                let config = Config {
                    ebpf_debug,
                    ..config()
                };
                agent.reload(config).await;
                wait_for(agent, "a snapshot", |snapshot| snapshot.ready).await;
            }
            poll_settled().await
        };
        // The first rounds start what stays, such as the runtime's blocking threads.
        restart_twice(&mut agent).await;
        let (fds, threads) = restart_twice(&mut agent).await;
        for _ in 0..3 {
            restart_twice(&mut agent).await;
            poll_no_more_than(fds, threads + WHEN_NEEDED).await;
        }
        agent.stop().await;
    });
}

/// How long it may take until probes are detached: before 6.6 each takes the kernel a tenth of a second,
/// on a busy machine several.
const DETACHING: Duration = Duration::from_mins(2);

/// Waits until there are no more descriptors and threads than there were. What detaches probes does so
/// on a thread of its own, one after the other where the kernel wants it so.
async fn poll_no_more_than(fds: usize, threads: usize) {
    let deadline = Instant::now() + DETACHING;
    loop {
        let (now_fds, now_threads) = descriptors_and_threads();
        if now_fds <= fds && now_threads <= threads {
            return;
        }
        assert!(
            Instant::now() < deadline,
            "descriptors: {fds}, then {now_fds}; threads: {threads}, then {now_threads}"
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Open descriptors and threads of this process, once two looks give the same.
async fn poll_settled() -> (usize, usize) {
    let deadline = Instant::now() + DETACHING;
    let mut last = descriptors_and_threads();
    let mut equal = 0;
    while equal < 20 {
        assert!(
            Instant::now() < deadline,
            "descriptors and threads do not settle"
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
        let now = descriptors_and_threads();
        equal = if now == last { equal + 1 } else { 0 };
        last = now;
    }
    last
}
