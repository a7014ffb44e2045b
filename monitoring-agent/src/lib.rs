//! `monitoring-agent`: one privileged agent per GPU node.
//!
//! Data flows one way: sources collect, [`aggregate`] keeps the totals and publishes snapshots,
//! exporters render them. The binary is a thin shell around this library, so that the tests load
//! the same code that runs.

#![deny(missing_docs)]

pub mod aggregate;
pub mod btf;
pub mod check;
pub mod cli;
mod clock;
pub mod collector;
pub mod config;
pub mod ebpf_log;
pub mod endpoint;
pub mod export;
pub mod families;
pub mod identity;
pub mod kernel_state;
pub mod labels;
pub mod loader;
mod mount_table;
pub mod offsets;
pub mod per_cpu;
pub mod pins;
pub mod pipeline;
pub mod printable;
pub mod ring;
pub mod snapshot;
pub mod source;
pub mod sources;
mod system_calls;
pub mod telemetry;
