//! Folded stacks: a line for each, root first, with its value behind it. What flame graph tools
//! and speedscope read, and what py-spy and others write.

mod read;

use std::io;

pub use read::read;

use crate::{Profile, stacks::Stacks};

/// How stacks are folded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Labels whose values are the first frames of each stack, outermost first. A sample without
    /// the label does not get the frame.
    pub roots: Vec<String>,
}

impl Default for Options {
    /// Below the process that the stack is of.
    fn default() -> Self {
        Self {
            roots: vec!["process".to_owned()],
        }
    }
}

/// Writes one value of all samples: `process;outer;inner 12`.
///
/// The sum of the lines' values is the profile's total: equal stacks are added up, whatever else
/// their labels are, and those whose sum is 0 are left out. Lines are sorted by their frames.
///
/// Function names may contain what separates frames and lines: `;` becomes `:`, and characters
/// that are none to be shown become spaces. Frames of the kernel end in `_[k]`; those without a
/// name are `[file]+0xoffset` or `[unknown]`.
///
/// # Errors
///
/// Those of `out`.
///
/// # Panics
///
/// If there is no such value.
pub fn write(
    profile: &Profile,
    value: usize,
    options: &Options,
    out: &mut impl io::Write,
) -> io::Result<()> {
    let stacks = Stacks::of([profile], value, &options.roots);
    for (stack, [sum]) in stacks.sorted() {
        writeln!(out, "{stack} {sum}")?;
    }
    out.flush()
}

/// Writes one value of two profiles side by side: `process;outer;inner 12 15`, first what it was
/// before. Flame graph tools draw differences from it.
///
/// # Errors
///
/// Those of `out`.
///
/// # Panics
///
/// If there is no such value.
pub fn write_difference(
    before: &Profile,
    after: &Profile,
    value: usize,
    options: &Options,
    out: &mut impl io::Write,
) -> io::Result<()> {
    let stacks = Stacks::of([before, after], value, &options.roots);
    for (stack, [before, after]) in stacks.sorted() {
        writeln!(out, "{stack} {before} {after}")?;
    }
    out.flush()
}
