//! `monitoring-agent profile`: captures a profile and writes it to a file.
//!
//! What can be wrong is found before anything is captured. The file appears whole or not at all.
//! Knows captures by what they can be asked; no running agent is needed or disturbed.

mod output;
#[cfg(test)]
mod tests;

use std::{
    path::Path,
    pin::pin,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};
use indicatif::{ProgressBar, ProgressStyle};
use monitoring_profile::Profile;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::oneshot,
};

use self::output::Output;
use super::{
    Type,
    service::{CaptureError, DEFAULT_HERTZ, Progress, Request, Service},
};
use crate::{
    cli::ProfileArgs,
    config::Config,
    privileges::{self, SYS_ADMIN},
};

/// The label of what no rule names.
const UNNAMED_AGENT: &str = "other";

/// Captures, and writes what was captured. The first SIGINT or SIGTERM ends the capture early, and
/// what there is by then is written; the second ends everything. Says what was written.
///
/// # Errors
///
/// When the arguments do not go together, something is not there or not allowed, the capture fails,
/// or the file cannot be written. Then there is no file.
pub async fn run(args: &ProfileArgs, config: &Config, service: &Service) -> anyhow::Result<String> {
    let mut interrupt = signal(SignalKind::interrupt()).context("handle SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("handle SIGTERM")?;
    let (finish, finished) = oneshot::channel();
    let mut finish = Some(finish);
    // Whoever may finish it is there as long as this function is.
    let mut done = pin!(capture_to_file(args, config, service, async {
        _ = finished.await;
    }));
    loop {
        tokio::select! {
            done = &mut done => return done,
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        let Some(finish) = finish.take() else {
            bail!("interrupted twice: nothing was written");
        };
        // It may be over already.
        let _ = finish.send(());
    }
}

async fn capture_to_file(
    args: &ProfileArgs,
    config: &Config,
    service: &Service,
    finish: impl Future<Output = ()>,
) -> anyhow::Result<String> {
    let request = request(args, config)?;
    let output = Output::prepare(args)?;
    let begun = Instant::now();
    let bar = bar(&request);
    let shown = bar.clone();
    let report = move |progress: Progress| {
        let elapsed = u64::try_from(progress.elapsed.as_millis()).unwrap_or(u64::MAX);
        shown.set_position(elapsed);
        shown.set_message(format!("{} samples", progress.samples));
    };
    let profile = service.capture_until(request, finish, report).await;
    bar.finish_and_clear();
    let profile = profile.map_err(|error| explained(error, config))?;
    let said = summary(&profile, begun.elapsed());
    let writing = tokio::task::spawn_blocking(move || output.write(&profile));
    let place = writing.await.context("write the profile")??;
    Ok(format!("{said}{place}"))
}

/// What to capture, once nothing is wrong with it.
fn request(args: &ProfileArgs, config: &Config) -> anyhow::Result<Request> {
    ensure!(
        config.profiling_enabled,
        "profiling is switched off: monitoring.profiling_enabled is false in the configuration"
    );
    ensure!(
        args.hz.is_none() || args.kind == Type::Cpu,
        "--hz is for --type cpu: a profile of type {} takes no samples in time",
        args.kind
    );
    if let Some(agent) = &args.agent {
        let is_known = config.agents.iter().any(|rule| rule.name == *agent);
        if !is_known && agent != UNNAMED_AGENT {
            return Err(explained(CaptureError::NoSuchAgent(agent.clone()), config));
        }
    }
    if let Some(pid) = args.pid
        && !Path::new(&format!("/proc/{pid}")).exists()
    {
        return Err(explained(CaptureError::NoSuchProcess(pid), config));
    }
    ensure!(
        !privileges::missing()?.contains(&SYS_ADMIN),
        "sampling the node needs root (or {}): run this with sudo",
        SYS_ADMIN.name
    );
    Ok(Request {
        kind: args.kind,
        hertz: args.hz,
        pid: args.pid,
        agent: args.agent.clone(),
        duration: Duration::from_secs(args.seconds.into()),
    })
}

/// The error with what to do about it.
fn explained(error: CaptureError, config: &Config) -> anyhow::Error {
    match error {
        CaptureError::NoSuchAgent(_) => {
            let names = config.agents.iter().map(|rule| rule.name.as_str());
            let names: Vec<_> = names.chain([UNNAMED_AGENT]).collect();
            anyhow::anyhow!("{error}; there are: {}", names.join(", "))
        }
        CaptureError::Failed(error) => error.context("capture"),
        error => error.into(),
    }
}

/// A bar on stderr, if that is a terminal.
fn bar(request: &Request) -> ProgressBar {
    let length = u64::try_from(request.duration.as_millis()).unwrap_or(u64::MAX);
    let bar = ProgressBar::new(length);
    let style = ProgressStyle::with_template("{prefix} [{bar:40}] {elapsed} {msg}");
    bar.set_style(
        style
            .expect("the template is well-formed")
            .progress_chars("=> "),
    );
    let prefix = match request.kind {
        Type::Cpu => format!("cpu, {} Hz", request.hertz.unwrap_or(DEFAULT_HERTZ)),
        kind => kind.to_string(),
    };
    bar.set_prefix(prefix);
    bar.tick();
    bar
}

/// How much it is, and of how long.
fn summary(profile: &Profile, took: Duration) -> String {
    let value = profile.default_type();
    let Some(kind) = profile.sample_types().get(value) else {
        return String::new();
    };
    let total = profile.total(value);
    let amount = match kind.unit.as_str() {
        "nanoseconds" => format!("{:.3} s", total as f64 / 1e9),
        "bytes" => format!("{:.1} MiB", total as f64 / f64::from(1 << 20)),
        unit => format!("{total} {unit}"),
    };
    let length = match u64::try_from(profile.duration_ns()) {
        Ok(length @ 1..) => Duration::from_nanos(length),
        _ => took,
    };
    let (name, length) = (&kind.kind, length.as_secs_f64());
    format!("{name}: {amount} in {length:.1} s")
}
