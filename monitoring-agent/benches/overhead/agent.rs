//! The agent with chosen families, so that no other is measured with them, and how long its
//! programs run.

use std::{collections::BTreeMap, fs, time::Instant};

use monitoring_agent::sources::SOURCES;

use crate::process::{Running, free_port, scrape, wait_for};

/// The agent on `port` with these families and no other, and with the kernel's BPF statistics on
/// or not.
pub(crate) fn agent(port: u16, families: &[&str], bpf_stats: bool) -> Running {
    let monitoring = format!("collection_interval = \"1s\"\nbpf_stats = {bpf_stats}\n");
    agent_with(port, families, &monitoring, "")
}

/// The agent on `port` with these families and no other, with settings of `[monitoring]` and of the
/// families. Behind those of `[monitoring]` there may be sections, which then stand as they are.
pub(crate) fn agent_with(
    port: u16,
    families: &[&str],
    monitoring: &str,
    of_families: &str,
) -> Running {
    let rest = SOURCES.iter().filter(|source| {
        let section = format!("[sources.{}]", source.name);
        !monitoring.contains(&section)
    });
    let sections = rest.map(|source| {
        let enabled = families.contains(&source.name);
        let settings = if enabled { of_families } else { "" };
        format!("[sources.{}]\nenabled = {enabled}\n{settings}", source.name)
    });
    let sections: String = sections.collect();
    let config = format!("[monitoring]\n{monitoring}{sections}");
    agent_by(port, families, &config)
}

/// The agent on `port` by a configuration, in which these families are enabled.
pub(crate) fn agent_by(port: u16, families: &[&str], config: &str) -> Running {
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    fs::write(file.path(), config).expect("write the configuration");
    let path = file.path().to_str().expect("a path in UTF-8");
    // It has read its configuration once it is ready.
    let running = Running::agent(port, &["--config", path]);
    let metrics = scrape(port, "/metrics");
    for family in families {
        let up = format!("monitoring_agent_source_up{{source=\"{family}\"}} 1");
        assert!(metrics.contains(&up), "{family} does not run: {metrics}");
    }
    running
}

/// Programs that run less often than this share of the one that runs most are somebody else's
/// doing.
const SHARE: f64 = 0.01;

/// Does some work and prints what the kernel measures of each program meanwhile.
pub(crate) fn print_run_times(families: &[&str], work: impl FnOnce()) {
    let port = free_port();
    let running = agent(port, families, true);
    let before = programs(port);
    work();
    let mut programs = programs(port);
    drop(running);
    for (name, program) in &mut programs {
        if let Some(before) = before.get(name) {
            program.runs -= before.runs;
            program.seconds -= before.seconds;
        }
    }
    let most = programs.values().map(|program| program.runs);
    let most = most.fold(0.0, f64::max);
    println!("  ns a run by BPF statistics, which themselves add to it");
    for (name, program) in programs {
        if program.runs > most * SHARE {
            let each = program.seconds / program.runs * 1e9;
            println!("    {name:<44}{each:>9.0}  in {} runs", program.runs);
        }
    }
    println!();
}

/// What the kernel measured of one program since it was loaded.
#[derive(Default)]
struct Program {
    runs: f64,
    seconds: f64,
}

/// All of the agent's programs, by name, in a snapshot that was taken after this call began.
fn programs(port: u16) -> BTreeMap<String, Program> {
    let begun = Instant::now();
    let mut metrics = String::new();
    wait_for("a fresh snapshot", || {
        metrics = scrape(port, "/metrics");
        let age = samples(&metrics, "monitoring_agent_snapshot_age_seconds").next();
        age.is_some_and(|(_, age)| age < begun.elapsed().as_secs_f64())
    });
    let mut programs = BTreeMap::<String, Program>::new();
    for (name, runs) in samples(&metrics, "monitoring_agent_bpf_runs_total") {
        programs.entry(name.to_owned()).or_default().runs += runs;
    }
    for (name, seconds) in samples(&metrics, "monitoring_agent_bpf_run_seconds_total") {
        programs.entry(name.to_owned()).or_default().seconds += seconds;
    }
    programs
}

/// A metric's samples: the value of the only label, if there is one, and the sample's.
fn samples<'a>(metrics: &'a str, name: &'a str) -> impl Iterator<Item = (&'a str, f64)> {
    metrics.lines().filter_map(move |line| {
        let (labels, value) = line.strip_prefix(name)?.rsplit_once(' ')?;
        Some((
            labels.split('"').nth(1).unwrap_or_default(),
            value.parse().ok()?,
        ))
    })
}
