//! A stand-in for `libcuda.so.1`: CUDA's driver API over the memory and the clock of the host, for
//! tests of probes. Knows nothing of the runtime library, nor of who watches.
//!
//! Calls have their effect at once; only their end is simulated. A stream is a point in time until
//! which it is busy; each kernel moves it on by the duration that was asked for, and whoever
//! synchronises waits until then.

mod allocations;
mod capture;
mod code;
mod context;
mod copy;
mod device;
mod driver;
mod entry_points;
mod event;
mod function;
mod graph;
mod handles;
mod host_calls;
mod host_memory;
mod launch;
mod memory;
mod module;
mod movement;
mod occupancy;
mod pool;
mod set;
mod stream;
mod unsupported;
mod virtual_memory;

use cuda_sim_control::{Library, abi};

/// The library, and the one list of its tables of calls.
pub(crate) static LIBRARY: Library = Library::new(
    "libcuda.so.1",
    // All that is not the runtime library's.
    |call| !call.starts_with("cuda") && !call.starts_with("__cuda"),
    &[
        context::CALLS,
        copy::CALLS,
        device::CALLS,
        driver::CALLS,
        entry_points::CALLS,
        event::CALLS,
        function::CALLS,
        graph::CALLS,
        host_calls::CALLS,
        host_memory::CALLS,
        launch::CALLS,
        memory::CALLS,
        module::CALLS,
        occupancy::CALLS,
        pool::CALLS,
        set::CALLS,
        stream::CALLS,
        unsupported::CALLS,
        virtual_memory::CALLS,
    ],
);
