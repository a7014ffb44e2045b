//! `stratoswarm-monitor`: shows nodes in a terminal. Parses the command line, sets the exit code.

use std::process::ExitCode;

use clap::Parser as _;
use monitoring_tools::{
    monitor::{self, Cli},
    output,
};

fn main() -> ExitCode {
    output::exit_code("stratoswarm-monitor", monitor::run(&Cli::parse()))
}
