//! The metric names that others build on: none goes missing, none comes unlisted.

use std::collections::BTreeSet;

use crate::{
    block::known_requests,
    cuda::known_work,
    gpu::{EVERYTHING, Node, is_complete, is_read_twice, without_errors},
    poll::poll_until,
    process::{Agent, known_calls},
};

const GOLDEN: &str = include_str!("../golden/metrics.txt");

/// Metrics that need something which this node lacks.
fn optional(name: &str) -> bool {
    let lacks = |path: &str| !std::path::Path::new(path).exists();
    let disks = || std::fs::read_to_string("/proc/diskstats").unwrap();
    let real = |line: &str| !["loop", "ram", "fd"].iter().any(|kind| line.contains(kind));
    match name {
        // Nothing is left out of these snapshots; no interface may have a speed to tell.
        // And what is held is looked for every ten seconds only.
        "monitoring_agent_series_limited_total"
        | "node_network_speed_bytes"
        | "cuda_oldest_allocation_age_seconds" => true,
        _ if name.starts_with("node_pressure_") => lacks("/proc/pressure"),
        _ if name.starts_with("node_disk_") => !disks().lines().any(real),
        _ => false,
    }
}

#[test]
fn the_golden_list_is_what_is_exported() {
    // Some metrics are of configured agents and peers only. The test is one itself: the scrapes
    // are traffic with it.
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("monitoring.toml");
    let config = "[[agents]]\nname = \"shell\"\ncomm = [\"sh\"]\n\
                  [[peers]]\nname = \"this node\"\naddresses = \"127.0.0.0/8\"\n";
    let gpus = Node::new(&without_errors());
    std::fs::write(&file, gpus.config() + config).unwrap();
    let agent = Agent::start(&["--bpf-stats", "--config", file.to_str().unwrap()]);
    let _cuda = known_work(&agent);
    known_calls(10, 10);
    known_requests();
    let golden: BTreeSet<_> = GOLDEN.lines().collect();
    poll_until("the GPUs are read twice", || {
        is_read_twice(&agent.fresh_metrics()).then_some(())
    });
    gpus.rewrite(EVERYTHING);
    let metrics = poll_until("GPUs tell what comes last", || {
        let metrics = agent.fresh_metrics();
        is_complete(&metrics).then_some(metrics)
    });
    let types = metrics
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE "));
    let exported: BTreeSet<_> = types.filter_map(|line| line.split(' ').next()).collect();
    let unlisted: Vec<_> = exported.difference(&golden).collect();
    assert!(
        unlisted.is_empty(),
        "add to tests/golden/metrics.txt and README.md: {unlisted:?}"
    );
    let missing: Vec<_> = golden
        .difference(&exported)
        .filter(|name| !optional(name))
        .collect();
    assert!(missing.is_empty(), "no longer exported: {missing:?}");
}

#[test]
fn the_golden_list_is_sorted() {
    assert!(GOLDEN.lines().is_sorted(), "sort tests/golden/metrics.txt");
}
