//! Profiles of the node: where CPU time is spent, what threads wait for, and where memory grows.
//!
//! ```text
//! session ─► recorder ─► placer ─► window ─► assemble ─► profile ─► history, exporters
//! (kernel)                 ▲                    ▲
//!                       mappings             symbols
//! ```
//!
//! Knows no exporter. What of it runs all the time is the source `profile`; what runs when someone
//! asks is the `service`.

pub mod assemble;
mod capture;
pub mod command;
pub mod history;
mod interner;
pub mod mappings;
pub mod placer;
pub mod profiler;
pub mod recorder;
pub mod service;
pub mod session;
pub mod symbols;

use std::fmt;

/// What a profile is of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Type {
    /// Time on CPUs.
    #[default]
    Cpu,
    /// Time off CPUs, by reason.
    OffCpu,
    /// Growth of memory.
    Memory,
}

impl Type {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Cpu, Self::OffCpu, Self::Memory];

    /// The word for it in file names, addresses and arguments.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::OffCpu => "offcpu",
            Self::Memory => "memory",
        }
    }

    /// The type of this name.
    ///
    /// # Example
    ///
    /// ```
    /// use monitoring_agent::profile::Type;
    ///
    /// assert_eq!(Type::named("offcpu"), Some(Type::OffCpu));
    /// ```
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
