//! Observability for the applications that run on a `StratoSwarm` node.
//!
//! The node's own numbers need no library: `monitoring-agent` takes them from the kernel. This
//! crate is for applications that want to say more than the kernel can see.

#![deny(missing_docs)]

#[cfg(feature = "gpu")]
pub mod gpu;
