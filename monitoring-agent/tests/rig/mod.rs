//! A network of its own for tests: two nodes, the wire between them, and programs that talk over it.
//!
//! Everything lives in network namespaces that nobody else can see, and ends with the test, however
//! that ends: the namespaces are held by descriptors, the devices by their namespaces, and the
//! programs die with the thread that started them. Knows nothing of the agent.
//!
//! Needs root and iproute2.

mod bpf;
mod loss;
mod namespace;
mod program;
mod relay;
mod tests;
mod traffic;
mod view;
mod wire;

pub(crate) use loss::Loss;
pub(crate) use namespace::Namespace;
pub(crate) use program::Program;
pub(crate) use traffic::{Plan, Role};
pub(crate) use view::{retransmitted, smoothed_rtts};
pub(crate) use wire::Wire;
