//! A stand-in for `libcudart.so.12`: CUDA's runtime API, made of calls to the driver library, for
//! tests of probes. Knows the driver library by its exported functions only, which it finds as the
//! real one does: by `dlopen` and `cuGetProcAddress`.
//!
//! Everything happens in the driver, on the thread that calls.

mod code;
mod copy;
mod device;
mod driver;
mod event;
mod function;
mod graph;
mod launch;
mod memory;
mod registration;
mod set;
mod shape;
mod stream;
mod symbol;

use cuda_sim_control::Library;

/// The library, and the one list of its tables of calls.
pub(crate) static LIBRARY: Library = Library::new(
    "libcudart.so.12",
    |call| call.starts_with("cuda") || call.starts_with("__cuda"),
    &[
        code::CALLS,
        copy::CALLS,
        device::CALLS,
        event::CALLS,
        function::CALLS,
        graph::CALLS,
        launch::CALLS,
        memory::CALLS,
        registration::CALLS,
        set::CALLS,
        stream::CALLS,
        symbol::CALLS,
    ],
)
.telling(code::remember);
