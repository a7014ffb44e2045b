//! How many peers there can be: what the configuration allows is what the kernel's maps hold.

/// Most peers. Each is a value of the label `peer`, and has a histogram for every CPU.
pub const MAX_PEERS: usize = 256;

/// Most networks of all peers together: room for four of each, such as one of IPv4 and one of IPv6
/// on two links.
pub const MAX_PEER_NETWORKS: usize = 1024;
