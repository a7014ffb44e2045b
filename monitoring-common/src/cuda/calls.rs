//! Calls and their errors.

use super::MAX_CALLS;
use crate::histogram::Histogram;

/// Most pairs of call and agent. An entry takes 256 bytes on each CPU.
pub const MAX_CALL_PAIRS: usize = 2_048;

/// Most triples of call, agent and error.
pub const MAX_ERRORS: usize = 1_024;

/// What calls are counted under.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(C)]
pub struct CallKey {
    /// [`Hook::call`].
    pub call: u16,
    /// The caller's agent.
    pub agent: u16,
}

const _: () = assert!(size_of::<CallKey>() == 2 + 2);

/// One CPU's calls of one [`CallKey`].
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Calls {
    /// Calls that returned, by duration.
    pub timed: Histogram,
    /// Calls that did not return where they were expected to.
    pub untimed: u64,
}

const _: () = assert!(size_of::<Calls>() == size_of::<Histogram>() + 8);

impl Calls {
    /// No calls.
    pub const EMPTY: Self = Self {
        timed: Histogram::EMPTY,
        untimed: 0,
    };
}

/// One CPU's calls of one agent that were counted when they were entered, by [`Hook::call`].
///
/// [`Hook::call`]: super::Hook::call
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Entered {
    /// How many.
    pub calls: [u64; MAX_CALLS],
}

const _: () = assert!(size_of::<Entered>() == 8 * MAX_CALLS);

/// What failed calls are counted under.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct ErrorKey {
    /// The call.
    pub call: CallKey,
    /// `cudaError_t` or `CUresult`; never 0.
    pub code: u32,
}

const _: () = assert!(size_of::<ErrorKey>() == 4 + 4);

crate::plain_data!(CallKey, Calls, Entered, ErrorKey);
