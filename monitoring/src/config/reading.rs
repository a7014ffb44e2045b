//! How configurations are read: the document, single values, and what is said of mistakes.
//!
//! Shared with the node's agent, whose configuration has other keys. Knows no key.

pub mod document;
pub mod endpoint;
pub mod file;
pub mod problem;
pub mod settings;
pub mod values;
