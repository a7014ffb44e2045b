//! Spans of threads that are off their CPU.

use monitoring_common::{
    sched::reason,
    trace::{Header, OffCpuDetail},
};
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;

use super::Described;
use crate::{
    spans::attributes::{float, text},
    system_calls,
};

/// A gap, by its reason.
pub(super) fn describe(header: &Header, detail: &OffCpuDetail) -> Described {
    let number = usize::try_from(detail.reason).unwrap_or(usize::MAX);
    let reason = reason::NAMES.get(number).copied().unwrap_or("unknown");
    let mut attributes = vec![text("stratoswarm.off_cpu.reason", reason)];
    if (header.start_ns..=header.end_ns).contains(&detail.queued_ns) {
        let seconds = (header.end_ns - detail.queued_ns) as f64 / 1e9;
        attributes.push(float("stratoswarm.off_cpu.runqueue.duration", seconds));
    }
    if let Ok(call) = u16::try_from(detail.syscall) {
        attributes.push(text("stratoswarm.syscall.name", system_calls::name(call)));
    }
    Described {
        attributes,
        ..Described::new(format!("off-cpu {reason}"), SpanKind::Internal)
    }
}
