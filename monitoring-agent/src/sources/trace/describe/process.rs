//! Spans of processes.

use monitoring_common::trace::{Header, ProcessDetail, flags};
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;

use super::Described;
use crate::spans::attributes::{flag, integer};

/// A process, from its start to its end.
pub(super) fn describe(header: &Header, detail: &ProcessDetail) -> Described {
    let signal = detail.status & 0x7f;
    let code = detail.status >> 8 & 0xff;
    let mut attributes = vec![integer("process.parent_pid", detail.parent_pid)];
    attributes.push(if signal == 0 {
        integer("process.exit.code", code)
    } else {
        integer("stratoswarm.process.signal", signal)
    });
    if detail.out_of_memory != 0 {
        attributes.push(flag("stratoswarm.process.out_of_memory", true));
    }
    let error = || match (detail.out_of_memory, signal) {
        (0, 0) => format!("exit {code}").into(),
        (0, signal) => format!("signal {signal}").into(),
        _ => "out_of_memory".into(),
    };
    Described {
        attributes,
        error: (header.flags & flags::FAILED != 0).then(error),
        ..Described::new("process", SpanKind::Internal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sources::trace::testing::header;

    #[test]
    fn ends_that_are_failures_say_which() {
        let check = |status: u32, out_of_memory, want: Option<&str>| {
            let header = Header {
                flags: if status == 0 { 0 } else { flags::FAILED },
                ..header(7, "make")
            };
            let detail = ProcessDetail {
                parent_start_ns: 0,
                parent_pid: 1,
                status,
                out_of_memory,
                reserved: 0,
            };
            assert_eq!(describe(&header, &detail).error.as_deref(), want);
        };
        check(0, 0, None);
        check(2 << 8, 0, Some("exit 2"));
        check(0x8b, 0, Some("signal 11"));
        check(9, 1, Some("out_of_memory"));
    }
}
