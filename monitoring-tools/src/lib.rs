//! The command-line tools. Each is a module here, and a thin program in `src/bin` around it.

#![deny(missing_docs)]

pub mod analyzer;
pub mod export;
pub mod monitor;
pub mod output;
pub mod scrape;
