//! Family `net`: sockets and TCP connections.

#![no_std]
#![no_main]
#![allow(
    clippy::needless_pass_by_value,
    reason = "the attribute macros hand the context over"
)]

use aya_ebpf::{macros::raw_tracepoint, programs::RawTracePointContext};
use monitoring_common::net::lost::FULL;
use monitoring_ebpf::{lost::lost, object};

object!();

/// `TP_PROTO(const struct sock *sk, const int oldstate, const int newstate)`.
#[raw_tracepoint(tracepoint = "inet_sock_set_state")]
fn inet_sock_set_state(ctx: RawTracePointContext) -> i32 {
    let first: u64 = ctx.arg(0);
    if first == 0 {
        lost(FULL);
    }
    0
}
