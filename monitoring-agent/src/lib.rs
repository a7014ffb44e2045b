//! `monitoring-agent`: one privileged agent per GPU node.
//!
//! Data flows one way: sources collect, [`aggregate`] keeps the totals and publishes snapshots,
//! exporters render them. The binary is a thin shell around this library, so that the tests load
//! the same code that runs.

#![deny(missing_docs)]

pub mod btf;
pub mod config;
pub mod export;
pub mod families;
pub mod offsets;
pub mod snapshot;
pub mod source;
pub mod sources;
