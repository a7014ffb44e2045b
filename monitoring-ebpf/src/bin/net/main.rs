//! Family `net`: sockets, TCP connections, peers.
//!
//! `messages` counts what processes send and receive; where the kernel lacks the hooks for that,
//! `packets` counts bytes instead. `connections` follows TCP's states in both cases. What goes to
//! userspace one by one are `spans`, of connections that were chosen.

#![no_std]
#![no_main]
#![allow(
    clippy::needless_pass_by_value,
    reason = "the attribute macros hand the context over"
)]

mod connections;
mod existing;
mod messages;
mod packets;
mod socket;
mod spans;
mod totals;

monitoring_ebpf::object!();
