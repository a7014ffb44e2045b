//! The metric names that others build on: none goes missing, none comes unlisted.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write as _,
    process::{Child, Command, Stdio},
};

use monitoring::swarm;

use crate::{
    block::known_requests,
    cuda::known_work,
    gpu::{EVERYTHING, Node, is_complete, is_read_twice, without_errors},
    poll::poll_until,
    process::{Agent, known_calls},
};

/// What is in the environment of a program that speaks.
pub(crate) const SPEAKS: &str = "MONITORING_TEST_SPEAKS";

const GOLDEN: &str = include_str!("../golden/metrics.txt");

/// Their labels: a name and those of its metric on each line.
const LABELS: &str = include_str!("../golden/labels.txt");

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
    let config =
        format!("{config}[[agents]]\nname = \"speaker\"\nenvironment = [\"{SPEAKS}=*\"]\n");
    let gpus = Node::new(&without_errors());
    let history = folder.path().join("profiles");
    let history = format!("[sources.profile]\nhistory_directory = {history:?}\n");
    // Nobody takes its spans, which are counted all the same.
    let endpoint = "[monitoring]\notlp_endpoint = 'http://127.0.0.1:9'\n";
    let gpu_config = gpus.config().replacen("[monitoring]\n", endpoint, 1);
    std::fs::write(&file, gpu_config + &config + &history).unwrap();
    let agent = Agent::start(&["--bpf-stats", "--config", file.to_str().unwrap()]);
    let _cuda = known_work(&agent);
    known_calls(10, 10);
    known_requests();
    let mut speaker = Speaker::start();
    poll_until("what an application says is counted", || {
        speaker.say_all();
        let metrics = agent.fresh_metrics();
        metrics.contains("evolution_generation").then_some(())
    });
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
        "add to tests/golden/metrics.txt and docs/metrics.md: {unlisted:?}"
    );
    let missing: Vec<_> = golden
        .difference(&exported)
        .filter(|name| !optional(name))
        .collect();
    assert!(missing.is_empty(), "no longer exported: {missing:?}");
    labels_are_as_listed(&metrics);
}

/// Each metric has the labels of the list; one whose samples differ has them all together.
fn labels_are_as_listed(metrics: &str) {
    let mut found: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for line in metrics.lines().filter(|line| !line.starts_with('#')) {
        let (sample, _) = line.rsplit_once(' ').unwrap();
        let (name, labels) = sample.split_once('{').unwrap_or((sample, "}"));
        let part = ["_bucket", "_count", "_sum"]
            .iter()
            .find_map(|part| name.strip_suffix(part).filter(|base| is_listed(base)));
        let known = found.entry(part.unwrap_or(name)).or_default();
        // What follows a comma or the brace, up to the equals sign, where a value begins.
        let mut rest = labels;
        while let Some((label, value)) = rest.split_once("=\"") {
            known.insert(label.trim_start_matches(','));
            rest = after_value(value);
        }
    }
    for labels in found.values_mut() {
        labels.remove("le");
    }
    let listed: BTreeMap<&str, BTreeSet<&str>> = LABELS
        .lines()
        .map(|line| {
            let mut words = line.split(' ');
            (words.next().unwrap(), words.collect())
        })
        .collect();
    let wrong: Vec<_> = found
        .iter()
        .filter(|(name, labels)| listed.get(*name) != Some(labels))
        .collect();
    assert!(
        wrong.is_empty(),
        "not the labels of tests/golden/labels.txt: {wrong:#?}"
    );
    for name in GOLDEN.lines() {
        assert!(listed.contains_key(name), "{name}: its labels are missing");
    }
}

fn is_listed(name: &str) -> bool {
    GOLDEN.lines().any(|listed| listed == name)
}

/// What follows a label's value, whose opening quote is gone.
fn after_value(text: &str) -> &str {
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        if c == '"' && !escaped {
            return &text[at + 1..];
        }
        escaped = c == '\\' && !escaped;
    }
    ""
}

/// An application that says something of its agents: this program, started once more.
pub(crate) struct Speaker(Child);

impl Speaker {
    pub(crate) fn start() -> Self {
        let program = std::env::current_exe().unwrap();
        let child = Command::new(program)
            .args(["--exact", "golden::an_application_that_speaks"])
            .env(SPEAKS, "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn();
        Self(child.unwrap())
    }

    pub(crate) fn say_all(&mut self) {
        writeln!(self.0.stdin.as_ref().unwrap()).unwrap();
    }
}

impl Drop for Speaker {
    fn drop(&mut self) {
        // It ends with its input.
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

/// Says all that an application can say at each line; nothing, unless the test above has started it.
#[test]
fn an_application_that_speaks() {
    if std::env::var_os(SPEAKS).is_none() {
        return;
    }
    for _ in std::io::stdin().lines() {
        swarm::agent_spawned("scout");
        swarm::message_sent("scout", 5);
        swarm::goal_completed("scout");
        swarm::generation("scout", 7, 1.0, 0.5);
        swarm::job_queue_depth("queue", 3);
        swarm::resource_allocated("gpu", "scout", 0.5);
        swarm::agent_stopped("scout");
    }
}

#[test]
fn the_golden_list_is_sorted() {
    assert!(GOLDEN.lines().is_sorted(), "sort tests/golden/metrics.txt");
    assert!(LABELS.lines().is_sorted(), "sort tests/golden/labels.txt");
}
