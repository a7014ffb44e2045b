//! pprof's files: a protocol buffer, compressed by gzip. `go tool pprof`, speedscope and most
//! services for profiles read them.
//!
//! Columns of lines, and the mark of folded locations, are not kept.

mod content;
mod fields;
mod messages;
mod read;
mod write;

pub use read::{Limits, ReadError, read};
pub use write::write;
