//! Who a process belongs to: the label maps that all families share.
//!
//! The agent matches processes against `[[agents]]` and writes the answer into [`AGENT_OF`]. Each
//! task remembers its own answer together with the [`LABEL_EPOCH`] it was read under, so that the
//! look-up is paid once per task and epoch and not once per event.

/// Number of an agent (a watched process group). Index into the agent's list of names.
pub type AgentId = u16;

/// The agent of every process that no `[[agents]]` rule matches: the rest of the node.
pub const OTHER: AgentId = 0;

/// Most agents that can be told apart, [`OTHER`] included.
///
/// Agents multiply the series of every family, and a node that runs more than 63 kinds of watched
/// process is better served by broader rules.
pub const MAX_AGENTS: usize = 64;

/// Name of the map process id → [`AgentId`]. Holds watched processes only.
pub const AGENT_OF: &str = "AGENT_OF";

/// Most watched processes at a time. 16,384 entries are about 1.2 MB of kernel memory.
pub const MAX_PROCESSES: usize = 16_384;

/// Name of the one-element array that grows whenever [`AGENT_OF`] changes.
pub const LABEL_EPOCH: &str = "LABEL_EPOCH";
