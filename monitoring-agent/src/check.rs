//! `monitoring-agent check`: what this kernel and these privileges allow, source by source, and
//! which processes the rules find.

use std::{fmt::Write as _, sync::Arc};

use crate::{
    config::Config,
    identity,
    labels::Labels,
    loader::SharedMaps,
    offsets::Offsets,
    printable::printable,
    source::{Source, StartError},
    sources::{SOURCES, StartContext},
};

/// Processes shown of each agent.
const EXAMPLES: usize = 3;

/// Most characters shown of a command line, and most bytes read of one.
const COMMAND_LENGTH: usize = 100;
const COMMAND_BYTES: u64 = 4096;

/// What a check found.
#[derive(Debug)]
pub struct Report {
    /// One line a source, and the watched processes, for people.
    pub text: String,
    /// Sources that would deliver.
    pub working: usize,
}

/// Starts every wanted source for one collection, and stops it again. Must run on a tokio runtime.
pub fn run(config: &Config) -> Report {
    let labels = Arc::new(Labels::new(&config.agents));
    let mut shared = SharedMaps::new();
    let mut offsets = Offsets::new();
    let mut report = Report {
        text: String::new(),
        working: 0,
    };
    for entry in SOURCES {
        let line = if (entry.enabled)(config) {
            let started = (entry.start)(&mut StartContext {
                config,
                labels: &labels,
                shared: &mut shared,
                offsets: &mut offsets,
            });
            started.map_or_else(
                |error| failed(&error),
                |source| collected(source, &mut report),
            )
        } else {
            format!(
                "off     switched off by sources.{}.enabled = false",
                entry.name
            )
        };
        // Writing to a string does not fail.
        let _ = writeln!(report.text, "{:<10} {line}", entry.name);
    }
    report.text.push_str(&agents(&labels));
    report
}

/// How many processes each agent has now, and some of them.
fn agents(labels: &Labels) -> String {
    let found = match labels.matching() {
        Ok(found) => found,
        Err(error) => return format!("\nThe processes cannot be listed: {error:#}\n"),
    };
    let mut text = String::from("\nWatched processes, by [[agents]]; the rest counts as `other`\n");
    for (name, pids) in found {
        // Writing to a string does not fail.
        let _ = writeln!(text, "{name}: {}", pids.len());
        for pid in pids.iter().take(EXAMPLES) {
            // One that has ended since has no command line, like a kernel thread.
            let command = identity::command_line(*pid, COMMAND_BYTES).unwrap_or_default();
            let command = printable(&command, COMMAND_LENGTH);
            let _ = writeln!(text, "  {pid:>8}  {command}");
        }
    }
    text
}

fn failed(error: &StartError) -> String {
    match error {
        StartError::Unsupported(why) => format!("no      {why}"),
        StartError::Broken(error) => format!("BROKEN  {error:#}"),
    }
}

fn collected(mut source: Box<dyn Source>, report: &mut Report) -> String {
    match source.collect() {
        Err(error) => format!("BROKEN  it starts, but its numbers cannot be read: {error:#}"),
        Ok(batch) => {
            report.working += 1;
            let missing = batch.programs.iter().filter(|program| !program.attached);
            let missing: Vec<_> = missing.map(|program| program.name.as_str()).collect();
            let attached = batch.programs.len() - missing.len();
            match (batch.programs.len(), &*missing) {
                (0, _) => format!("ok      {} metrics", batch.families.len()),
                (_, []) => format!("ok      {attached} programs attached"),
                (all, _) => {
                    let missing = missing.join(", ");
                    format!("partly  {attached} of {all} programs attached; not: {missing}")
                }
            }
        }
    }
}
