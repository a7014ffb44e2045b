//! `cargo xtask`: everything that is done with this repository, by one command each.
//!
//! Owns the command line only; each command has its own file. Nothing here is part of the agent.

mod api;
mod bench;
mod bounded;
mod catalogue;
mod command;
mod compiler;
mod dashboards;
mod packages;
mod promql;
mod qemu;
mod rights;
mod run;
mod setup;
mod sim;
mod test;
mod tidy;
mod toolchain;

use std::{env, path::PathBuf, process::ExitCode};

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Sets up, runs, tests and measures monitoring-agent.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Find or install the eBPF toolchain, and the tools that the tests compare with.
    Setup,
    /// Build the agent and run it as root.
    Run {
        /// Handed to the agent.
        #[arg(last = true)]
        arguments: Vec<String>,
    },
    /// Run every check and every test, here and on the other kernels; the exit status says all.
    Test {
        /// Only the kernel suite, on the other kernels.
        #[arg(long)]
        kernels: bool,
        /// Only the tests whose name contains one of these words, and no other check.
        filter: Vec<String>,
    },
    /// Build a simulated NVML with eight GPUs, for machines without one.
    Sim,
    /// Measure the agent's overhead.
    Bench {
        /// Handed to the benchmark.
        #[arg(last = true)]
        arguments: Vec<String>,
    },
    /// Write down anew what the library `monitoring` offers to other crates.
    Api,
    /// Write down Grafana's dashboards anew.
    Dashboards,
    /// Check the repository's own rules.
    Tidy,
}

fn main() -> ExitCode {
    dispatch(&Cli::parse().task).unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}

fn dispatch(task: &Task) -> Result<ExitCode> {
    let root = workspace();
    match task {
        Task::Setup => setup::everything(&root)?,
        Task::Run { arguments } => run::agent(&root, arguments)?,
        Task::Bench { arguments } => bench::overhead(&root, arguments)?,
        Task::Sim => sim::nvml(&root)?,
        Task::Api => api::write(&root)?,
        Task::Dashboards => dashboards::write(&root)?,
        Task::Tidy => tidy::check(&root)?,
        Task::Test { kernels, filter } => {
            let report = match (kernels, filter.is_empty()) {
                (true, _) => test::other_kernels(&root, filter),
                (false, true) => test::everything(&root),
                (false, false) => test::matching(&root, filter),
            };
            return Ok(report.finish());
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The workspace's root folder.
fn workspace() -> PathBuf {
    // Cargo says it at run time as well; that one is right even if this binary was built from
    // another copy of the workspace that shares its target folder.
    let package = env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    let package = package.unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")));
    let root = package.parent();
    root.expect("this package lies in the workspace")
        .to_path_buf()
}
