//! `metrics-export`: writes a snapshot of a node's metrics. Parses the command line, sets the exit
//! code.

use std::process::ExitCode;

use clap::Parser as _;
use monitoring_tools::{
    export::{self, Cli},
    output,
};

fn main() -> ExitCode {
    output::exit_code_by("metrics-export", export::run(&Cli::parse()), export::code)
}
