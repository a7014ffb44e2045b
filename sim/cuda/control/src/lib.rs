//! What the stand-ins for CUDA's libraries have in common: how a function is exported, counted,
//! delayed and made to fail. Knows no call of CUDA by name.
//!
//! Each library is built for probes to be attached to its functions. An exported function begins
//! with the prologue that compilers give to functions with a frame pointer, and goes on in a body of
//! its own; no two share an address.

#![deny(missing_docs)]

pub mod abi;
mod arguments;
mod call;
mod clock;
mod export;
mod library;
mod rules;

pub use arguments::{In, Out, Text};
pub use call::{Call, Code, Outcome};
pub use clock::{now_ns, wait_until};
pub use library::{Calls, Counts, Library, kernel_duration_ns, setting};
pub use rules::{ErrorRule, Malformed, Rules};

/// Which stream the null handle stands for: functions ending in `_ptsz` or `_ptds` differ from those
/// without in this alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NullStream {
    /// The stream that other blocking streams of the context wait for.
    Legacy,
    /// A stream of the calling thread's own.
    PerThread,
}
