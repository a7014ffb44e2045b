//! `monitoring-agent check`: what this kernel and these privileges allow, source by source, which
//! GPUs there are, and which processes the rules find.

use std::{
    fmt::Write as _,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use monitoring::otlp::Client;
use prometheus::proto::{Metric, MetricFamily};

use crate::{
    config::Config,
    exporting, identity,
    labels::Labels,
    loader::SharedMaps,
    offsets::Offsets,
    printable::printable,
    profile::profiler::Profiler,
    source::{Batch, Source, StartError},
    sources::{SOURCES, StartContext, trace},
    spans::{QueueLimits, Spans},
};

/// Processes shown of each agent.
const EXAMPLES: usize = 3;

/// Most characters shown of a command line, and most bytes read of one.
const COMMAND_LENGTH: usize = 100;
const COMMAND_BYTES: u64 = 4096;

/// How long a source may take to its first numbers. A GPU's driver that keeps nothing in memory
/// takes some seconds for each GPU.
const FIRST_NUMBERS: Duration = Duration::from_secs(30);

/// How often it is asked for them.
const PAUSE: Duration = Duration::from_millis(20);

/// The metric whose labels say which GPUs there are.
const GPUS: &str = "gpu_info";

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
    let shared = SharedMaps::new();
    let profiler = Profiler::new(&labels, &shared);
    let mut offsets = Offsets::new();
    // Nobody sends what is found out to be possible.
    let spans = Spans::new(QueueLimits { spans: 0, bytes: 0 });
    let mut report = Report {
        text: String::new(),
        working: 0,
    };
    let mut gpus = String::new();
    for entry in SOURCES {
        let line = if let Some(key) = (entry.off_by)(config) {
            if key == trace::ENDPOINT {
                format!("off     needs {key}")
            } else {
                format!("off     switched off by {key} = false")
            }
        } else {
            let started = (entry.start)(&mut StartContext {
                config,
                labels: &labels,
                shared: &shared,
                offsets: &mut offsets,
                profiler: &profiler,
                history: None,
                exemplars: &Arc::default(),
                gpu_states: &Arc::default(),
                kernel_names: &Arc::default(),
                spans: &spans,
                past_roots: &Arc::default(),
                at_once: true,
            });
            match started {
                Ok(source) => collected(source, &mut report, &mut gpus),
                Err(error) => failed(&error),
            }
        };
        // Writing to a string does not fail.
        let _ = writeln!(report.text, "{:<10} {line}", entry.name);
    }
    report.text.push_str(&otlp(config));
    report.text.push_str(&gpus);
    report.text.push_str(&agents(&labels));
    report
}

/// Where spans and metrics would go, and whether they could: without a word to the collector, and
/// without one of what headers say.
fn otlp(config: &Config) -> String {
    let settings = exporting::settings(config);
    let spans = settings.spans.map(|spans| ("spans", spans.target));
    let metrics = settings.metrics.map(|metrics| ("metrics", metrics.target));
    let mut text = String::new();
    for (what, target) in [spans, metrics].into_iter().flatten() {
        let (url, protocol) = (&target.url, target.protocol.name());
        let line = match Client::new(&target) {
            Ok(_) => format!("ok      {what} go to {url} by {protocol}"),
            Err(error) => format!("BROKEN  {what} cannot be sent to {url}: {error}"),
        };
        // Writing to a string does not fail.
        let _ = writeln!(text, "{:<10} {line}", "otlp");
    }
    text
}

/// The GPUs that these numbers are of, by number, and those that do not answer.
fn list_gpus(batch: &Batch) -> String {
    let label = |metric: &Metric, name: &str| {
        let mut labels = metric.get_label().iter();
        let label = labels.find(|label| label.name() == name);
        label.map_or_else(String::new, |label| label.value().to_owned())
    };
    let mut text = String::new();
    let infos = batch.families.iter().filter(|family| family.name() == GPUS);
    for gpu in infos.flat_map(MetricFamily::get_metric) {
        let [number, name, uuid] = ["device_id", "name", "uuid"].map(|key| label(gpu, key));
        // Writing to a string does not fail.
        let _ = writeln!(text, "  {number:>3}  {name}  {uuid}");
    }
    for missing in &batch.missing {
        let _ = writeln!(text, "       {missing}");
    }
    if !text.is_empty() {
        text.insert_str(0, "\nGPUs, by NVML\n");
    }
    text
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

fn collected(mut source: Box<dyn Source>, report: &mut Report, gpus: &mut String) -> String {
    let batch = match first_numbers(&mut *source) {
        Err(error) => {
            return format!("BROKEN  it starts, but its numbers cannot be read: {error:#}");
        }
        Ok(batch) => batch,
    };
    if let Some(off) = &batch.off {
        return format!("no      {}", off.why);
    }
    if let Some(why) = &batch.stale {
        return format!("BROKEN  it starts, but its numbers cannot be read: {why}");
    }
    if batch.starting {
        let seconds = FIRST_NUMBERS.as_secs();
        return format!("BROKEN  it starts, but has no numbers after {seconds} s");
    }
    report.working += 1;
    gpus.push_str(&list_gpus(&batch));
    let missing = batch.programs.iter().filter(|program| !program.attached);
    let missing: Vec<_> = missing.map(|program| program.name.as_str()).collect();
    let attached = batch.programs.len() - missing.len();
    match (batch.programs.len(), &*missing) {
        (0, _) if batch.missing.is_empty() => format!("ok      {} metrics", batch.families.len()),
        (0, _) => {
            let (metrics, missing) = (batch.families.len(), batch.missing.len());
            format!("partly  {metrics} metrics; {missing} lost, listed below")
        }
        (_, []) => format!("ok      {attached} programs attached"),
        (all, _) => {
            let missing = missing.join(", ");
            format!("partly  {attached} of {all} programs attached; not: {missing}")
        }
    }
}

/// The first collection that has numbers, or the last one before patience ends.
fn first_numbers(source: &mut dyn Source) -> anyhow::Result<Batch> {
    let deadline = Instant::now() + FIRST_NUMBERS;
    loop {
        let batch = source.collect()?;
        // A call that has not come back may only be slow.
        let is_decided = !batch.starting && batch.stale.is_none();
        if is_decided || Instant::now() >= deadline {
            return Ok(batch);
        }
        thread::sleep(PAUSE);
    }
}
