//! The profiler as its users have it: captures over HTTP and by the command line, of programs whose
//! work is known.
//!
//! The programs are C, in `programs`, built here with frame pointers. Other people's tools look at
//! the same runs, and at the files that the agent makes.

mod access;
mod capture;
mod churn;
mod command;
mod formats;
mod history;
mod memory;
mod names;
mod offcpu;
mod perf;
mod split;
mod workload;

pub(crate) use self::capture::agent_with;
