//! A program that calls CUDA a known number of times and says what it did, for tests of probes. A
//! library, too, so that another package can have a program or an example of it.
//!
//! Knows CUDA by the functions of the library that it opens, whether stand-in or real.

#![deny(missing_docs)]

mod cuda;
mod driver;
mod kernels;
mod options;
mod runtime;
mod tally;
mod work;

use std::{
    ffi::OsString,
    io::{self, Write as _},
    process,
    time::Instant,
};

use anyhow::{Context as _, Result};
use clap::Parser as _;
use serde::Serialize;

use cuda::Cuda;
use options::{Api, Moment, Options};
use tally::Tally;

/// What is printed.
#[derive(Serialize)]
struct Report<'a> {
    pid: u32,
    /// From the first call of the work to the last.
    work_ns: u128,
    #[serde(flatten)]
    tally: &'a Tally,
}

/// Does what the command line says, and prints what was done as one line of JSON.
pub fn main() -> Result<()> {
    run(&Options::parse(), &|| ())
}

/// The same with arguments from elsewhere, such as for a test that is its own child process. The
/// first is the program's name.
pub fn main_with<T: Into<OsString> + Clone>(arguments: impl IntoIterator<Item = T>) -> Result<()> {
    main_within(arguments, || ())
}

/// The same, where each thread that works holds what `enter` gives it as long as it does.
pub fn main_within<T: Into<OsString> + Clone, G>(
    arguments: impl IntoIterator<Item = T>,
    enter: impl Fn() -> G + Sync,
) -> Result<()> {
    run(&Options::try_parse_from(arguments)?, &enter)
}

fn run<G>(options: &Options, enter: &(impl Fn() -> G + Sync)) -> Result<()> {
    pause(options, Moment::Start)?;
    let kernels = kernels::chosen(options)?;
    let cuda: Box<dyn Cuda> = match options.api {
        Api::Runtime => Box::new(runtime::Runtime::open(options, &kernels)?),
        Api::Driver => Box::new(driver::Driver::open(options, &kernels)?),
    };
    pause(options, Moment::Loaded)?;
    let start = Instant::now();
    work::run(&*cuda, options, &kernels, enter)?;
    let report = Report {
        pid: process::id(),
        work_ns: start.elapsed().as_nanos(),
        tally: &tally::total(),
    };
    println!("{}", serde_json::to_string(&report)?);
    pause(options, Moment::End)
}

/// Says where the program is, and waits for a line.
fn pause(options: &Options, moment: Moment) -> Result<()> {
    if options.wait.contains(&moment) {
        println!("{moment:?} {}", process::id());
        io::stdout().flush()?;
        io::stdin()
            .read_line(&mut String::new())
            .context("wait for a line")?;
    }
    Ok(())
}
