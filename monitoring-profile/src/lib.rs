//! Profiles as data: stacks with values and labels, however they came to be.
//!
//! A [`Profile`] is built sample by sample or read from a file, merged, compared and filtered, and
//! then written: as [`pprof`], which most tools open, as [`folded`] stacks, as a flame graph in
//! [`svg`], or as a [`top`] list. All of these hold the same totals. This crate knows nothing of
//! kernels, processes and symbols: who calls it does.
//!
//! # Example
//!
//! ```
//! use monitoring_profile::{Label, Line, Profile, ValueType, folded, pprof};
//!
//! let mut profile = Profile::new(vec![ValueType::new("cpu", "nanoseconds")]);
//! let main = profile.function("main", "main", "main.c", 1);
//! let work = profile.function("work", "work", "main.c", 9);
//! let outer = profile.location(None, 0x1000, &[Line { function: main, line: 3 }]);
//! let inner = profile.location(None, 0x2000, &[Line { function: work, line: 10 }]);
//! profile.sample(&[inner, outer], &[10_000_000], &[Label::text("process", "demo")]);
//!
//! let mut lines = Vec::new();
//! folded::write(&profile, 0, &folded::Options::default(), &mut lines)?;
//! assert_eq!(lines, b"demo;main;work 10000000\n");
//!
//! let file = pprof::write(&profile);
//! let again = pprof::read(&file, pprof::Limits::default())?;
//! assert_eq!(again.total(0), 10_000_000);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![deny(missing_docs)]

pub mod folded;
mod frames;
pub mod pprof;
mod profile;
mod stacks;
pub mod svg;
pub mod top;

pub use profile::{
    Profile, ValueType,
    filter::{Filter, LabelFilter},
    labels::{Label, LabelRef, LabelValue, LabelValueRef},
    merge::MergeError,
    samples::SampleRef,
    tables::{FunctionId, FunctionRef, Line, Location, LocationId, Mapping, MappingId, MappingRef},
};
