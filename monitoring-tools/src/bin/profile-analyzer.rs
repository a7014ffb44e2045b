//! `profile-analyzer`: says what a profile holds. Parses the command line, sets the exit code.

use std::process::ExitCode;

use clap::Parser as _;
use monitoring_tools::{
    analyzer::{self, Cli},
    output,
};

fn main() -> ExitCode {
    output::exit_code("profile-analyzer", analyzer::run(&Cli::parse()))
}
