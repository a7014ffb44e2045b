//! The one visible list of sources.

pub mod host;
