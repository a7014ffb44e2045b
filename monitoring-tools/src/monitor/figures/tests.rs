//! Figures of a real node, and of nodes that tell little.

use std::time::{Duration, Instant};

use super::*;
use crate::monitor::{snapshot::Snapshot, units};

const FIRST: &str = include_str!("../../../tests/node/first.txt");
const SECOND: &str = include_str!("../../../tests/node/second.txt");

/// Figures of the second text, two seconds after the first.
fn figures(first: &str, second: &str) -> Figures {
    let then = Instant::now();
    let first = Snapshot::read(first, then).unwrap();
    let mut second = Snapshot::read(second, then).unwrap();
    second.taken = first.taken + Duration::from_secs(2);
    Figures::of(&Change::between(Some(&first), &second))
}

fn near(got: Option<f64>, want: f64) {
    let got = got.unwrap();
    assert!((got - want).abs() <= want.abs() * 1e-9, "{got} {want}");
}

#[test]
fn a_real_node() {
    let figures = figures(FIRST, SECOND);
    assert!(figures.is_an_agents);
    let host = &figures.host;
    assert_eq!(host.name.as_deref(), Some("gpu-01"));
    assert_eq!(host.cpus.len(), 2);
    for cpu in host.cpus.iter().chain([&host.cpu]) {
        let busy = cpu.busy.unwrap();
        assert!((0.0..=1.0).contains(&busy), "{cpu:?}");
        assert!(cpu.system.unwrap() <= busy + 1e-9, "{cpu:?}");
    }
    assert_eq!(host.disks[0].name, "vda");
    assert!(host.links.iter().any(|link| link.name == "eth0"));
    let names: Vec<&str> = figures
        .agents
        .iter()
        .map(|agent| agent.name.as_str())
        .collect();
    assert_eq!(names, ["swarmlet", "gpu-agents", "evolution", "other"]);
    assert_eq!(figures.agents[2].processes, Some(0.0), "none of these runs");
    assert_eq!(figures.agents[3].processes, None, "nobody counts the rest");
    let gpu = &figures.gpus[0];
    assert_eq!(gpu.name.as_deref(), Some("NVIDIA H200"));
    assert_eq!(
        gpu.throttled.as_deref(),
        Some(&["sw_power_cap".to_owned()][..])
    );
    assert_eq!(
        figures.gpus[1].utilization, None,
        "it has MIG instances, and tells none"
    );
    // 60,000 launches of 8 kernels in the two seconds, and what failed, of vectorAdd.
    let kernels = &figures.cuda.kernels;
    let matmul = kernels
        .iter()
        .find(|kernel| kernel.name == "matmul")
        .unwrap();
    near(matmul.launches, 3750.0);
    near(matmul.total, 11_250.0);
    let calls = &figures.cuda.calls;
    assert_eq!(calls[0].name, "cudaLaunchKernel");
    near(calls[0].calls, 30_002.5);
    assert!(calls[0].p50.unwrap().least() <= calls[0].p99.unwrap().least());
    assert!(
        figures
            .latencies
            .iter()
            .any(|row| row.metric == "sched_runqueue_latency")
    );
}

#[test]
fn what_is_missing_is_not_zero() {
    let little = "# TYPE node_load1 gauge\nnode_load1 0\n";
    let figures = figures(little, little);
    assert!(!figures.is_an_agents);
    let host = &figures.host;
    assert_eq!(host.loads, [Some(0.0), None, None]);
    assert_eq!(units::percent(host.cpu.busy), units::NONE);
    assert_eq!(host.memory.used(), None);
    assert!(figures.agents.is_empty() && figures.gpus.is_empty() && figures.cuda.is_empty());
    assert_eq!(figures.losses.total, None);
}

#[test]
fn a_part_that_is_missing_is_missed_in_the_sum() {
    let text = |bytes: u32| {
        format!(
            "agent_threads{{agent=\"a\"}} 3\nnode_network_receive_bytes_total{{device=\"e\"}} {bytes}\n\
             node_network_receive_packets_total{{device=\"e\"}} {bytes}\n"
        )
    };
    let figures = figures(&text(100), &text(300));
    assert_eq!(figures.host.links[0].received_bytes, Some(100.0));
    assert_eq!(
        figures.host.links[0].packets, None,
        "only those received are told"
    );
    let agent = &figures.agents[0];
    assert_eq!(
        (agent.threads, agent.rss_bytes, agent.cpu),
        (Some(3.0), None, None)
    );
}

#[test]
fn names_are_harmless_and_short() {
    let text = format!(
        "agent_threads{{agent=\"a\u{1b}]0;x\u{7}\u{202e}\"}} 1\nagent_threads{{agent=\"{}\"}} 1\n",
        "x".repeat(5000)
    );
    let figures = figures(&text, &text);
    assert_eq!(figures.agents[0].name, r"a\u{1b}]0;x\u{7}\u{202e}");
    assert_eq!(figures.agents[1].name.chars().count(), LONGEST);
}
