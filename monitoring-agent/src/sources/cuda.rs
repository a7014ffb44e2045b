//! Source `cuda` (in progress).
pub mod attach_points;
pub mod discovery;
mod functions;
pub use functions::all_names;
