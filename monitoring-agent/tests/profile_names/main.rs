//! Addresses of real processes, and what the functions there are called: of processes that have
//! ended, in containers, of deleted files, and of code that a compiler wrote at run time.
//!
//! Needs root, a C compiler, and the tools that `cargo xtask setup` installs.

mod node;
mod processes;
mod program;

#[path = "../poll/mod.rs"]
mod poll;
