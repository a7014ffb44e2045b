//! Source `cuda` (in progress).
pub mod attach_points;
pub mod discovery;
mod functions;
pub mod kernels;
pub use functions::all_names;
