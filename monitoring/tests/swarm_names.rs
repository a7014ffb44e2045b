//! Names without end, in a process of their own: what they say is still right.

use std::collections::BTreeMap;

use monitoring::{MetricsCollector, swarm};

const LIMIT: u64 = 1_000;
const NAMES: u64 = LIMIT + 200;

/// Numbers of series by name and labels.
fn numbers(text: &str) -> BTreeMap<&str, f64> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let lines = lines.filter_map(|line| line.rsplit_once(' '));
    lines
        .map(|(series, number)| (series, number.parse().unwrap()))
        .collect()
}

/// What all names say.
fn say_all() {
    for number in 0..NAMES {
        let name = format!("agent {number}");
        swarm::agent_spawned(&name);
        swarm::message_sent(&name, 10);
        swarm::message_received(&name, 1);
        swarm::goal_failed(&name);
        swarm::generation(&name, number, 1.0, 0.5);
        swarm::job_queue_depth(&name, number);
        swarm::resource_allocated("gpu", &name, 1.0);
    }
}

#[test]
fn names_beyond_the_limit_keep_what_else_is_said_of_them() {
    say_all();
    // One that is known stays so for hooks that it calls later.
    swarm::goal_completed("agent 0");
    swarm::agent_stopped("agent 0");
    let text = MetricsCollector::new().encode();
    let numbers = numbers(&text);
    let beyond = (NAMES - LIMIT) as f64;
    for (series, want) in [
        (r#"swarm_agents_spawned_total{agent="other"}"#, Some(beyond)),
        (
            r#"swarm_messages_total{agent="other",direction="transmit"}"#,
            Some(beyond),
        ),
        (
            r#"swarm_message_bytes_total{agent="other",direction="transmit"}"#,
            Some(10.0 * beyond),
        ),
        (
            r#"swarm_message_bytes_total{agent="other",direction="receive"}"#,
            Some(beyond),
        ),
        (
            r#"agent_goals_total{agent="other",outcome="failed"}"#,
            Some(beyond),
        ),
        (
            r#"agent_goals_total{agent="agent 0",outcome="completed"}"#,
            Some(1.0),
        ),
        (r#"swarm_agents_stopped_total{agent="agent 0"}"#, Some(1.0)),
        (
            r#"evolution_fitness{agent="agent 999",stat="mean"}"#,
            Some(0.5),
        ),
        (r#"evolution_generation{agent="agent 1000"}"#, None),
    ] {
        assert_eq!(numbers.get(series).copied(), want, "{series}");
    }
    // No label but the agent's is ever another one, and no gauge is of several agents.
    let mixed = numbers
        .keys()
        .filter(|series| series.contains(r#"="other""#));
    let mixed: Vec<_> = mixed
        .filter(|series| {
            series.matches(r#"="other""#).count() > 1
                || !series.contains(r#"agent="other""#)
                || ["evolution_", "cluster_"]
                    .iter()
                    .any(|name| series.starts_with(name))
        })
        .collect();
    assert!(mixed.is_empty(), "{mixed:?}");
    let of = |name: &str| {
        let series = numbers.keys().filter(|series| series.starts_with(name));
        series.count() as u64
    };
    assert_eq!(of("evolution_fitness{"), 2 * LIMIT);
    assert_eq!(of("cluster_job_queue_depth{"), LIMIT);
    assert_eq!(of("cluster_resource_allocated{"), LIMIT);
    assert_eq!(of("swarm_messages_total{"), 2 * (LIMIT + 1));
    assert!(of("monitoring_series_limited_total") > 0, "{text}");
}
