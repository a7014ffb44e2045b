//! What `metrics-export` does: takes a snapshot of a node's metrics, and writes it in a format.

mod cli;
mod csv;
mod filter;
mod json;
mod samples;
mod text;

use std::io::{self, Write as _};

use anyhow::{Context as _, Result, anyhow, bail};

pub use cli::{Cli, Format};

use crate::{
    output,
    scrape::{
        client::{Client, FetchError},
        family::Families,
        printable,
        text::{self as scraped, Limits, ReadError},
    },
};

/// What every agent tells of itself.
const AGENTS: &str = "monitoring_agent_build_info";

/// What takes kernel programs, and the privileges for them.
const ONLY_AGENTS: &str = "missing, because only an agent can tell: processes, system calls, \
                           scheduler, latencies of disks and network, CUDA, profiles";

/// The exit code for a node that did not answer.
const AWAY: u8 = 3;

/// The exit code for an answer that is no metrics.
const NO_METRICS: u8 = 4;

/// Answers the command line.
///
/// # Errors
///
/// If the node does not answer, if its answer is no metrics, if nothing of it was asked for, or if
/// the snapshot cannot be written. [`code`] tells these apart.
pub fn run(cli: &Cli) -> Result<()> {
    let mut families = families(cli)?;
    let all = families.len();
    cli.filter().retain(&mut families);
    if families.is_empty() {
        bail!("none of the {all} metrics is asked for: see --match and --label");
    }
    let answer = match cli.format() {
        Format::Json => json::write(&families),
        Format::Csv => csv::write(&families),
        Format::Prometheus => text::prometheus(&families),
        Format::Openmetrics => text::openmetrics(&families),
    };
    output::write(answer.as_bytes(), false, cli.output.as_deref())
}

/// The exit code that an error deserves.
pub fn code(error: &anyhow::Error) -> u8 {
    if let Some(error) = error.downcast_ref::<FetchError>() {
        return if error.is_away() { AWAY } else { NO_METRICS };
    }
    if error.downcast_ref::<ReadError>().is_some() {
        return NO_METRICS;
    }
    1
}

/// The families that were asked for, from where they were asked for. What there is to know about
/// that goes to standard error.
fn families(cli: &Cli) -> Result<Families> {
    if cli.direct {
        return direct(cli);
    }
    let url = cli.url.as_deref().unwrap_or(cli::DEFAULT_URL);
    match from_node(cli, url) {
        Ok(families) => {
            if !families.iter().any(|family| family.name == AGENTS) {
                note(&format!("it is no monitoring-agent that answers at {url}"));
            }
            Ok(families)
        }
        Err(error) if cli.url.is_none() && is_nobody_there(&error) => {
            note(&format!(
                "there is no agent at {url}: this node is read without one"
            ));
            direct(cli)
        }
        Err(error) => Err(error).with_context(|| url.to_owned()),
    }
}

/// Whether there is no agent. One that breaks off in the middle of its answer is there, and ill.
fn is_nobody_there(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(FetchError::Refused))
}

/// What a running agent tells, or anything else that speaks its format.
fn from_node(cli: &Cli, url: &str) -> Result<Families> {
    let text = Client::new(*cli.timeout).text(url)?;
    let families = scraped::read(&text, Limits::default());
    families.map_err(|error| anyhow!(error).context("its answer is no metrics"))
}

/// What this node and its GPUs tell everybody.
fn direct(cli: &Cli) -> Result<Families> {
    let collected = monitoring_tools_node::collect(cli.nvml_library.as_deref(), *cli.timeout);
    let collected = collected.context("read this node")?;
    for missing in &collected.missing {
        note(&format!("missing: {}", printable(missing)));
    }
    note(ONLY_AGENTS);
    scraped::read(&collected.text, Limits::default()).context("read this node")
}

/// Says something that is no failure. Standard error may be closed.
fn note(text: &str) {
    let _ = writeln!(io::stderr(), "metrics-export: {text}");
}
