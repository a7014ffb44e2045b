//! The command line.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};

/// Calls CUDA a known number of times.
#[derive(Debug, Parser)]
pub(crate) struct Options {
    /// Through which interface
    #[arg(long, value_enum, default_value = "runtime")]
    pub(crate) api: Api,
    /// The library to open [default: the interface's, by name]
    #[arg(long)]
    library: Option<PathBuf>,
    #[arg(long, default_value_t = 1)]
    pub(crate) threads: usize,
    /// Launches of kernels, over all threads
    #[arg(long, default_value_t = 0)]
    pub(crate) launches: usize,
    /// Mangled names of the kernels, by commas [default: all that the program has]
    #[arg(long, value_delimiter = ',')]
    pub(crate) kernels: Vec<String>,
    /// Streams of each thread; 0 is the null stream
    #[arg(long, default_value_t = 0)]
    pub(crate) streams: usize,
    /// Allocations that are freed at once, over all threads
    #[arg(long, default_value_t = 0)]
    pub(crate) malloc_pairs: usize,
    /// Copies, every other one to the host, over all threads
    #[arg(long, default_value_t = 0)]
    pub(crate) copies: usize,
    /// Size of each allocation and copy
    #[arg(long, default_value_t = 4096)]
    pub(crate) bytes: usize,
    /// Launches of a graph that each thread captures, over all threads
    #[arg(long, default_value_t = 0)]
    pub(crate) graph: usize,
    /// Launches and frees that fail, over all threads
    #[arg(long, default_value_t = 0)]
    pub(crate) errors: usize,
    /// Launch by handles, as programs of CUDA 13 do, and not by the addresses of host stubs; of the
    /// driver, by kernels of a library and their functions, and not by functions of a module
    #[arg(long)]
    pub(crate) handles: bool,
    /// Ask for the handle before each launch, and launch that, as the host stubs of CUDA 13 do
    #[arg(long)]
    pub(crate) stubs: bool,
    /// Free and copy also what could not be allocated, as where there is no driver
    #[arg(long)]
    pub(crate) regardless: bool,
    /// Ask until streams are done, and do not wait for them
    #[arg(long, value_enum)]
    pub(crate) query: Option<Query>,
    /// When to wait for a line, each after a line that says so
    #[arg(long, value_enum, value_delimiter = ',')]
    pub(crate) wait: Vec<Moment>,
}

/// An interface of CUDA.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Api {
    Runtime,
    Driver,
}

/// What is asked whether it is done.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Query {
    /// The stream
    Stream,
    /// An event behind all that is in the stream
    Event,
}

/// Where a program is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Moment {
    /// Before it opens the library
    Start,
    /// Before it works
    Loaded,
    /// After it has said what it did
    End,
}

impl Options {
    /// The library to open.
    pub(crate) fn library(&self) -> PathBuf {
        let name = match self.api {
            Api::Runtime => "libcudart.so.12",
            Api::Driver => "libcuda.so.1",
        };
        self.library.clone().unwrap_or_else(|| name.into())
    }
}
