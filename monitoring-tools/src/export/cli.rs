//! The command line of `metrics-export`.

// Help is plain text: backticks and angle brackets would be shown.
#![allow(clippy::doc_markdown, rustdoc::bare_urls)]

use std::path::PathBuf;

use clap::{Parser, ValueEnum};
use glob::Pattern;

use super::filter::Filter;
use crate::scrape::client::metrics_url;

/// Where an agent is unless something else is said.
pub(super) const DEFAULT_URL: &str = "http://localhost:9090/metrics";

/// Writes a snapshot of a node's metrics: as JSON, CSV, Prometheus' text or OpenMetrics.
#[derive(Debug, Parser)]
#[command(
    name = "metrics-export",
    version,
    after_help = "Exit codes: 0 all is well, 1 nothing of what was asked for, or the snapshot cannot be \
                  written, 2 wrong usage, 3 the node does not answer, 4 its answer is no metrics."
)]
pub struct Cli {
    /// Where the node's agent serves them: http://NODE:PORT/metrics, or NODE:PORT
    /// [default: http://localhost:9090/metrics, and --direct if nothing answers there]
    #[arg(long, value_name = "URL", value_parser = metrics_url)]
    pub(super) url: Option<String>,

    /// Read this node without an agent: what needs no privileges, and its GPUs
    #[arg(long, conflicts_with = "url")]
    pub(super) direct: bool,

    /// NVIDIA's management library, where no agent is asked [default: what the system finds]
    #[arg(long, value_name = "FILE")]
    pub(super) nvml_library: Option<PathBuf>,

    /// The form of the snapshot [default: by the name of the output, or json]
    #[arg(long)]
    format: Option<Format>,

    /// Only metrics whose names match, such as 'node_cpu_*'; repeated, those that match any
    #[arg(long = "match", value_name = "NAME-GLOB")]
    names: Vec<Pattern>,

    /// Only values with this label; repeated, with all of them
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = label)]
    labels: Vec<(String, String)>,

    /// How long to wait for a whole answer
    #[arg(long, value_name = "TIME", default_value = "10s")]
    pub(super) timeout: humantime::Duration,

    /// Write to a file, at once or not at all; .json, .csv, .prom and .om choose the format
    #[arg(short, long, value_name = "FILE")]
    pub(super) output: Option<PathBuf>,
}

/// The form of a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// As /metrics.json of an agent.
    Json,
    /// Prometheus' text format.
    Prometheus,
    /// A row for each value.
    Csv,
    /// OpenMetrics' text format.
    Openmetrics,
}

impl Cli {
    /// The format that was asked for, or that the output's name says.
    pub fn format(&self) -> Format {
        let ending = self.output.as_ref().and_then(|output| output.extension());
        let named = match ending.and_then(|ending| ending.to_str()) {
            Some("csv") => Format::Csv,
            Some("prom") => Format::Prometheus,
            Some("om") => Format::Openmetrics,
            _ => Format::Json,
        };
        self.format.unwrap_or(named)
    }

    pub(super) fn filter(&self) -> Filter<'_> {
        Filter {
            names: &self.names,
            labels: &self.labels,
        }
    }
}

fn label(written: &str) -> Result<(String, String), String> {
    match written.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("it is written KEY=VALUE".to_owned()),
    }
}
