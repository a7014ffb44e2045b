//! Family `cuda`: calls into CUDA's runtime and driver libraries.
//!
//! One pair of programs stands at every function. What a function is comes with its probe, as the
//! 64-bit cookie of the attach point: see [`Hook`].

mod calls;
mod cost;
mod functions;
mod hook;
mod process;
mod work;

pub use calls::{CallKey, Calls, Entered, ErrorKey, MAX_CALL_PAIRS, MAX_ERRORS};
pub use cost::Cost;
pub use functions::{
    LaunchKey, MAX_LAUNCHED, MAX_REGISTERED, NAME_BYTES, Named, NamedText, RING_BYTES,
};
pub use hook::{Hook, MAX_CALLS, NO_ARGUMENT, direction, kind, layout, space};
pub use process::{Address, MAX_CONTEXTS, MAX_USERS, ProcessId, Thread, ended, pid_of, process_at};
pub use work::{
    Allocation, Held, HolderKey, MAX_ALLOCATIONS, MAX_EVENTS, MAX_FREED, MAX_HOLDERS, MAX_WAITING,
    MAX_WINDOWS, RecordedEvent, Sums, TURNS, Waiting, Window,
};

/// Slots of the per-CPU array `LOST`.
pub mod lost {
    /// The kernel had no memory for a thread's state: the call is not counted.
    pub const THREAD_STATE: u32 = 0;
    /// More pairs of call and agent than `MAX_CALL_PAIRS`: the call is not counted.
    pub const CALLS_FULL: u32 = 1;
    /// More errors than `MAX_ERRORS`: the error is not counted.
    pub const ERRORS_FULL: u32 = 2;
    /// More functions than `MAX_LAUNCHED`: the launch is counted without its function.
    pub const LAUNCHED_FULL: u32 = 3;
    /// More allocations than `MAX_ALLOCATIONS` or `MAX_HOLDERS`: memory is not followed.
    pub const ALLOCATIONS_FULL: u32 = 4;
    /// More processes, streams, events or contexts than there is room for, or a name that was not
    /// sent.
    pub const DETAILS_FULL: u32 = 5;
    /// A call that was entered and never returned, as after `longjmp`: counted, without a duration.
    pub const NO_RETURN: u32 = 6;
    /// An argument that could not be read: its bytes, or its handle, are not counted.
    pub const UNREADABLE: u32 = 7;
    /// A copy whose bytes cannot be told from its arguments: of arrays, of too many parts, or of
    /// operands that may be either.
    pub const UNSIZED: u32 = 8;
    /// The reasons' label values, by slot.
    pub const REASONS: [&str; 9] = [
        "thread_state",
        "calls_full",
        "errors_full",
        "launched_full",
        "allocations_full",
        "details_full",
        "no_return",
        "unreadable",
        "unsized_copy",
    ];
}
