//! Family `block`: disk requests.

#![no_std]
#![no_main]
#![allow(
    clippy::needless_pass_by_value,
    reason = "the attribute macros hand the context over"
)]

use aya_ebpf::{macros::raw_tracepoint, programs::RawTracePointContext};
use monitoring_common::block::lost::FULL;
use monitoring_ebpf::{lost::lost, object};

object!();

/// `TP_PROTO(struct request *rq)`.
#[raw_tracepoint(tracepoint = "block_rq_issue")]
fn block_rq_issue(ctx: RawTracePointContext) -> i32 {
    let first: u64 = ctx.arg(0);
    if first == 0 {
        lost(FULL);
    }
    0
}
