//! Source `cuda` (in progress).
pub mod attach_points;
mod functions;
pub use functions::all_names;
