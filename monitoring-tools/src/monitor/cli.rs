//! The command line of `stratoswarm-monitor`.

// Help is plain text: backticks and angle brackets would be shown.
#![allow(clippy::doc_markdown, rustdoc::bare_urls)]

use std::time::Duration;

use clap::Parser;

use super::app::View;
use crate::scrape::client::metrics_url;

/// The interval of a monitor that nobody told another one.
const INTERVAL: &str = "2s";

/// Asking more often would cost the node more than it tells.
const SHORTEST: Duration = Duration::from_millis(100);

/// Shows nodes in the terminal, live: CPUs, memory, disks, network, agents, GPUs, CUDA, latencies,
/// losses, and a flame graph of the last seconds.
///
/// Reads what the nodes' agents tell Prometheus, and nothing else. Press ? for keys.
#[derive(Debug, Parser)]
#[command(
    name = "stratoswarm-monitor",
    version,
    after_help = "Exit codes: 0 all is well, 1 no terminal, or with --once no answer or no profile, 2 wrong usage. With \
                  NO_COLOR in the environment there are no colours."
)]
pub struct Cli {
    /// Where a node's metrics are: http://NODE:PORT/metrics, or NODE:PORT. Repeat it for several
    #[arg(long = "url", value_name = "URL", value_parser = metrics_url)]
    #[arg(default_value = "http://localhost:9090/metrics")]
    pub(super) urls: Vec<String>,

    /// Time between two questions. Rates are of the time between two snapshots of the agent, which
    /// its collection_interval says
    #[arg(long, value_name = "TIME", default_value = INTERVAL, value_parser = interval)]
    pub(super) interval: Duration,

    /// What is shown first
    #[arg(long, value_name = "VIEW", default_value = "node")]
    pub(super) view: View,

    /// Length of the profile that the flame graph shows, 1 to 60
    #[arg(long, value_name = "SECONDS", default_value_t = 5)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=60))]
    pub(super) flame_seconds: u32,

    /// Print one screen as text, for scripts, and end
    #[arg(long)]
    pub(super) once: bool,

    /// How long --once waits for the second snapshot, without which there are no rates; for a profile
    /// at least as long as it takes, and half a minute
    #[arg(long, value_name = "TIME", default_value = "25s", requires = "once")]
    pub(super) wait: humantime::Duration,

    /// Columns and rows of --once [default: the terminal's, or 80x24]
    #[arg(long, value_name = "WxH", value_parser = size, requires = "once")]
    pub(super) size: Option<(u16, u16)>,
}

fn interval(written: &str) -> Result<Duration, String> {
    let interval = humantime::parse_duration(written).map_err(|error| error.to_string())?;
    if interval < SHORTEST {
        return Err(format!("at least {}", humantime::format_duration(SHORTEST)));
    }
    Ok(interval)
}

/// The largest screens, so that nobody asks for gigabytes.
const LARGEST: u16 = 1000;

fn size(written: &str) -> Result<(u16, u16), String> {
    let sides = written.split_once('x');
    let sides = sides.and_then(|(width, height)| Some((width.parse().ok()?, height.parse().ok()?)));
    match sides {
        Some((width, height))
            if (1..=LARGEST).contains(&width) && (1..=LARGEST).contains(&height) =>
        {
            Ok((width, height))
        }
        _ => Err(format!("it is written 80x24, at most {LARGEST}x{LARGEST}")),
    }
}
