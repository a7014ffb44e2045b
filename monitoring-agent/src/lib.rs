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
pub mod cpus;
mod disk_operations;
pub mod ebpf_log;
pub mod endpoint;
pub mod executed;
pub mod exemplars;
pub mod export;
pub mod exporting;
pub mod families;
pub mod gpu_states;
mod host_resource;
pub mod identity;
pub mod kernel_state;
pub mod labels;
pub mod loader;
mod mount_table;
mod nvidia_driver;
pub mod offsets;
mod panics;
pub mod per_cpu;
pub mod pins;
pub mod pipeline;
pub mod printable;
pub mod privileges;
pub mod process_maps;
pub mod profile;
mod profiling;
pub mod ring;
pub mod snapshot;
pub mod source;
pub mod sources;
pub mod spans;
mod system_calls;
mod task_switches;
pub mod telemetry;
pub mod thread_contexts;
pub mod tracing_globals;
