//! Family `net`: sockets, TCP connections, peers.
//!
//! `messages` counts what processes send and receive; where the kernel lacks the hooks for that,
//! `packets` counts bytes instead. `connections` follows TCP's states in both cases. Nothing per
//! event goes to userspace.

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
mod totals;

monitoring_ebpf::object!();
