//! Spans of system calls.

use monitoring_common::{
    syscalls::INVALID,
    trace::{Header, SystemCallDetail},
};
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;

use super::{Described, Names, Series, error_name};
use crate::{
    spans::attributes::{integer, text},
    system_calls,
};

/// A call, by its name.
pub(super) fn describe(header: &Header, detail: &SystemCallDetail, names: &Names) -> Described {
    let number = u16::try_from(detail.syscall).unwrap_or(INVALID);
    let name = system_calls::name(number);
    let labels = vec![
        ("agent", names.agent(header.agent).to_owned()),
        ("syscall", name.clone().into_owned()),
    ];
    Described {
        attributes: vec![
            text("stratoswarm.syscall.name", name.clone()),
            integer("stratoswarm.syscall.result", detail.result),
        ],
        error: error_name(header.code),
        exemplar: Some(Series {
            metric: "syscall_duration_seconds",
            labels,
        }),
        ..Described::new(name, SpanKind::Internal)
    }
}
