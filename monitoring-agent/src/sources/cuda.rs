//! Source `cuda` (in progress).
pub mod attach_points;
mod functions;
pub mod kernels;
pub use functions::all_names;
