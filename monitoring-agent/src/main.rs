//! Parses the command line, runs the agent until a signal, sets the exit code.

use std::{
    io::{IsTerminal as _, Write as _},
    process::ExitCode,
};

use anyhow::Context as _;
use clap::Parser as _;
use monitoring_agent::{
    check,
    cli::{Cli, Command},
    config::{self, Config},
    pipeline::Agent,
    privileges, profile,
};
use tokio::signal::unix::{SignalKind, signal};
use tracing::{info, warn};

fn main() -> ExitCode {
    let cli = Cli::parse();
    keep_memory_small();
    match run(&cli) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("monitoring-agent: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> anyhow::Result<ExitCode> {
    let loaded = config::load(&cli.flags, std::env::vars_os())?;
    tracing_subscriber::fmt()
        .with_max_level(loaded.log_level)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    let config = with_notes(loaded);
    say_what_is_missing()?;
    // One thread is enough: sources have their own, and exporters only render.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("start the tokio runtime")?;
    let code = runtime.block_on(async {
        match &cli.command {
            Some(Command::Check) => {
                let report = check::run(&config);
                // Whoever reads it may have stopped reading; the exit code says the rest.
                let _ = std::io::stdout().write_all(report.text.as_bytes());
                Ok(ExitCode::from(u8::from(report.working == 0)))
            }
            Some(Command::Profile(args)) => {
                let service = profile::profiler::alone(&config);
                let done = profile::command::run(args, &config, &service).await?;
                eprintln!("{done}");
                Ok(ExitCode::SUCCESS)
            }
            None => serve(cli, config).await,
        }
    });
    // A source that hangs must not hold up the end.
    runtime.shutdown_background();
    code
}

async fn serve(cli: &Cli, config: Config) -> anyhow::Result<ExitCode> {
    let mut hangup = signal(SignalKind::hangup()).context("handle SIGHUP")?;
    let mut terminate = signal(SignalKind::terminate()).context("handle SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("handle SIGINT")?;
    let mut agent = Agent::start(config).await?;
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = hangup.recv() => match config::load(&cli.flags, std::env::vars_os()) {
                Ok(loaded) => agent.reload(with_notes(loaded)).await,
                Err(error) => warn!("the old configuration stays in force: {error:#}"),
            }
        }
    }
    info!("stopping");
    agent.stop().await;
    Ok(ExitCode::SUCCESS)
}

/// Logs what the configuration has to say of itself.
fn with_notes(loaded: config::Loaded) -> Config {
    if let Some(file) = &loaded.file {
        info!("configuration from {}", file.display());
    }
    for note in &loaded.notes {
        info!("{note}");
    }
    loaded.config
}

/// Logs which privileges this process lacks, and what there is not without them.
fn say_what_is_missing() -> anyhow::Result<()> {
    for privilege in privileges::missing()? {
        warn!(
            "without {}, {}; {}",
            privilege.name,
            privilege.without,
            privilege.cure()
        );
    }
    Ok(())
}

/// Largest block that comes out of an arena. A block above it is given back to the node as soon as
/// it is free. This is the allocator's own value at first; unless it is set, one large block that is
/// freed makes it larger, and what loading needs for a moment would stay for good.
#[cfg(target_env = "gnu")]
const LARGEST_IN_ARENA: libc::c_int = 128 * 1024;

/// Threads of sources allocate little; an arena for each would keep memory apart and unused.
fn keep_memory_small() {
    #[cfg(target_env = "gnu")]
    // SAFETY: sets parameters of the allocator before any other thread exists.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 2);
        libc::mallopt(libc::M_MMAP_THRESHOLD, LARGEST_IN_ARENA);
    }
}
