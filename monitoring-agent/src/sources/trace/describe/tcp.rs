//! Spans of TCP connections and of their handshakes. A connection's two ends are one trace of their
//! own, whichever agents see them; each leads by a link to what happened around it on its side.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use monitoring_common::{
    net::{OUTCOMES, outcome},
    trace::{Header, TcpDetail, detail::role, flags},
};
use opentelemetry_proto::tonic::{common::v1::KeyValue, trace::v1::span::SpanKind};

use super::{Described, Link, Place, error_name};
use crate::{
    sources::trace::connection::{client_span, server_span, trace_id},
    spans::attributes::{float, integer, text},
};

/// A handshake, as the connecting side has it.
pub(super) fn connect(header: &Header, detail: &TcpDetail) -> Described {
    let number = usize::from(detail.outcome);
    let outcome = OUTCOMES.get(number).copied().unwrap_or("other");
    let mut attributes = ends(detail);
    attributes.push(text("stratoswarm.tcp.connect.outcome", outcome));
    let is_failed = header.flags & flags::FAILED != 0;
    let error = is_failed.then(|| error_name(header.code).unwrap_or(outcome.into()));
    let trace_id = trace_id(detail.local_sequence, detail.remote_sequence);
    // What came about by it.
    let connection = (number == outcome::SUCCESS).then(|| Link::To {
        trace_id,
        span_id: client_span(trace_id),
    });
    Described {
        attributes,
        error,
        links: connection.into_iter().collect(),
        ..Described::new("connect", SpanKind::Client)
    }
}

/// A connection, from when it is established to its end.
pub(super) fn connection(header: &Header, detail: &TcpDetail) -> Described {
    let mut attributes = ends(detail);
    attributes.extend([
        integer("stratoswarm.tcp.sent_bytes", detail.sent_bytes),
        integer("stratoswarm.tcp.received_bytes", detail.received_bytes),
        integer("stratoswarm.tcp.retransmits", detail.retransmits),
    ]);
    if detail.rtt_us != 0 {
        let seconds = f64::from(detail.rtt_us) / 1e6;
        attributes.push(float("stratoswarm.tcp.rtt", seconds));
    }
    let (kind, place) = place(detail);
    let links = match place {
        Place::Within => Vec::new(),
        Place::At { .. } => vec![Link::Surroundings],
    };
    Described {
        attributes,
        error: error_name(header.code),
        place,
        links,
        ..Described::new("tcp connection", kind)
    }
}

/// Which end of its trace this is.
fn place(detail: &TcpDetail) -> (SpanKind, Place) {
    let (local, remote) = (detail.local_sequence, detail.remote_sequence);
    match detail.role {
        role::CLIENT => {
            let trace_id = trace_id(local, remote);
            let place = Place::At {
                trace_id,
                span_id: client_span(trace_id),
                parent: None,
                is_remote: false,
            };
            (SpanKind::Client, place)
        }
        role::SERVER => {
            let trace_id = trace_id(remote, local);
            let place = Place::At {
                trace_id,
                span_id: server_span(trace_id),
                parent: Some(client_span(trace_id)),
                is_remote: true,
            };
            (SpanKind::Server, place)
        }
        _ => (SpanKind::Internal, Place::Within),
    }
}

/// Who is connected with whom.
fn ends(detail: &TcpDetail) -> Vec<KeyValue> {
    let is_v4 = i32::from(detail.family) == libc::AF_INET;
    let address = |bytes: [u8; 16]| {
        let [first, second, third, fourth, ..] = bytes;
        let address = if is_v4 {
            IpAddr::from(Ipv4Addr::new(first, second, third, fourth))
        } else {
            IpAddr::from(Ipv6Addr::from(bytes))
        };
        address.to_string()
    };
    vec![
        text("network.transport", "tcp"),
        text("network.type", if is_v4 { "ipv4" } else { "ipv6" }),
        text("network.local.address", address(detail.local_address)),
        integer("network.local.port", detail.local_port),
        text("network.peer.address", address(detail.remote_address)),
        integer("network.peer.port", detail.remote_port),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sources::trace::testing::header;

    const CLIENT: TcpDetail = TcpDetail {
        sent_bytes: 100,
        received_bytes: 200,
        local_address: [10, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        remote_address: [10, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        local_port: 40_000,
        remote_port: 443,
        family: 2,
        role: role::CLIENT,
        outcome: 0,
        local_sequence: 7,
        remote_sequence: 9,
        retransmits: 0,
        rtt_us: 1_500,
    };

    #[test]
    fn both_ends_of_a_connection_are_one_trace() {
        let server = TcpDetail {
            role: role::SERVER,
            local_sequence: CLIENT.remote_sequence,
            remote_sequence: CLIENT.local_sequence,
            ..CLIENT
        };
        let header = header(7, "curl");
        let [client, server] = [CLIENT, server].map(|detail| connection(&header, &detail));
        let Place::At {
            trace_id,
            span_id,
            parent: None,
            is_remote: false,
        } = client.place
        else {
            panic!("{client:?}");
        };
        let Place::At {
            trace_id: same_trace,
            parent: Some(parent),
            is_remote: true,
            ..
        } = server.place
        else {
            panic!("{server:?}");
        };
        assert_eq!((trace_id, span_id), (same_trace, parent));
        assert_eq!(
            (client.kind, server.kind),
            (SpanKind::Client, SpanKind::Server)
        );
        assert_eq!(client.links, [Link::Surroundings]);

        // The handshake leads to it.
        let handshake = connect(&header, &CLIENT);
        assert_eq!(handshake.place, Place::Within);
        assert_eq!(handshake.links, [Link::To { trace_id, span_id }]);
    }

    #[test]
    fn a_connection_of_which_nobody_saw_the_beginning_is_where_it_happened() {
        let unknown = TcpDetail {
            role: role::UNKNOWN,
            ..CLIENT
        };
        let described = connection(&header(7, "curl"), &unknown);
        assert_eq!(
            (described.place, described.links),
            (Place::Within, Vec::new())
        );
    }

    #[test]
    fn failed_handshakes_say_how() {
        let check = |flags, code, outcome: usize, want: Option<&str>| {
            let header = Header {
                flags,
                code,
                ..header(7, "curl")
            };
            let detail = TcpDetail {
                outcome: outcome.try_into().unwrap(),
                ..CLIENT
            };
            let described = connect(&header, &detail);
            assert_eq!(described.error.as_deref(), want);
            assert_eq!(described.links.len(), usize::from(outcome == 0));
        };
        check(0, 0, outcome::SUCCESS, None);
        check(0, 0, outcome::ABANDONED, None);
        check(
            flags::FAILED,
            libc::ECONNREFUSED,
            outcome::REFUSED,
            Some("ECONNREFUSED"),
        );
        check(flags::FAILED, 0, outcome::TIMED_OUT, Some("timed_out"));
    }
}
