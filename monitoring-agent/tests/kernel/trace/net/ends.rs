//! Connections that succeed: both of their ends.

use std::{
    collections::HashSet,
    io::{Read as _, Write as _},
    net::{Ipv4Addr, Ipv6Addr, Shutdown, TcpListener},
    thread,
    time::Instant,
};

use monitoring_common::{
    net::outcome,
    trace::{
        detail::{TcpDetail, role},
        kind::{TCP_CONNECT, TCP_CONNECTION},
    },
};

use super::{
    FAMILIES, HELD, Span, V4, V6, addresses, agreed, all, both, everything, is_of, pair,
    segments::Segments,
};
use crate::{
    node::losses,
    trace::{assert_lasted, comm, gettid, has_failed, now_ns, reader::Traced},
};

/// What the client and the server send.
const SENT: [usize; 2] = [100_000, 7];

#[test]
fn both_ends_tell_what_happened() {
    let mut traced = everything();
    let any = std::net::IpAddr::from(Ipv6Addr::UNSPECIFIED);
    for (listens, connects) in [(V4, V4), (V6, V6), (any, V4)] {
        let segments = Segments::new();
        let listener = TcpListener::bind((listens, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let before_ns = now_ns();
        let connecting = Instant::now();
        let mut client = std::net::TcpStream::connect((connects, port)).unwrap();
        let connected = connecting.elapsed();
        let held = Instant::now();
        let (mut server, _) = listener.accept().unwrap();
        let ends = [client.local_addr().unwrap(), client.peer_addr().unwrap()];
        let numbers = segments.initial_sequences(ends[0].port(), port);
        client.write_all(&vec![1; SENT[0]]).unwrap();
        server.read_exact(&mut vec![0; SENT[0]]).unwrap();
        server.write_all(&vec![2; SENT[1]]).unwrap();
        client.read_exact(&mut vec![0; SENT[1]]).unwrap();
        thread::sleep(HELD);
        // The one that closes first lasts until the other one has answered.
        client.shutdown(Shutdown::Write).unwrap();
        drop((server, client));
        let lasted = held.elapsed();

        let spans = traced.wait_for::<TcpDetail>(TCP_CONNECTION, 2, is_of(port));
        let both = both(&spans);
        assert_eq!(agreed(both), numbers, "by the segments themselves");
        for (span, others) in both.into_iter().zip([0, 1]) {
            let Span { header, detail } = span;
            assert_lasted("a connection", header, lasted);
            assert!(header.start_ns >= before_ns && !has_failed(header));
            assert_eq!((header.pid, header.tid), (std::process::id(), gettid()));
            assert_eq!((header.comm, header.code), (comm(), 0));
            let [local, remote] = addresses(detail);
            assert_eq!([local, remote], [ends[others], ends[1 - others]]);
            assert_eq!(detail.sent_bytes, SENT[others] as u64);
            assert_eq!(detail.received_bytes, SENT[1 - others] as u64);
            assert_eq!(detail.retransmits, 0);
            assert!(detail.rtt_us > 0);
        }
        let handshakes = traced.wait_for::<TcpDetail>(TCP_CONNECT, 1, is_of(port));
        let Span { header, detail } = handshakes[0];
        assert_eq!(usize::from(detail.outcome), outcome::SUCCESS);
        assert_eq!(detail.role, role::CLIENT);
        assert_eq!((detail.local_sequence, detail.remote_sequence), numbers);
        assert_eq!((header.pid, header.tid), (std::process::id(), gettid()));
        // The handshake is in the call, and the connection begins with its end.
        assert!((before_ns..=header.start_ns).contains(&header.call_start_ns));
        let within = header.end_ns - header.call_start_ns;
        assert!(within <= u64::try_from(connected.as_nanos()).unwrap());
        assert_eq!(header.end_ns, both[0].header.start_ns);
    }
    assert_eq!(losses(&traced.node.collect("net")), []);
    traced.assert_counted::<TcpDetail>(TCP_CONNECTION, 6, 0);
    traced.assert_counted::<TcpDetail>(TCP_CONNECT, 3, 0);
}

/// Whichever side closes, and however: the numbers that both ends know must not depend on it.
#[test]
fn the_numbers_do_not_depend_on_who_closes() {
    let mut traced = everything();
    for way in 0..4 {
        let listener = TcpListener::bind((V4, 0)).unwrap();
        let segments = Segments::new();
        let port = listener.local_addr().unwrap().port();
        let (client, server) = pair(&listener);
        let numbers = segments.initial_sequences(client.local_addr().unwrap().port(), port);
        (&client).write_all(&[1; 10]).unwrap();
        (&server).read_exact(&mut [0; 10]).unwrap();
        match way {
            0 => drop((client, server)),
            1 => drop((server, client)),
            2 => {
                server.shutdown(Shutdown::Both).unwrap();
                client.shutdown(Shutdown::Both).unwrap();
                drop((client, server));
            }
            // What is not read breaks the connection off.
            _ => {
                (&client).write_all(&[1; 10]).unwrap();
                server.set_read_timeout(Some(HELD)).unwrap();
                assert_eq!(server.peek(&mut [0; 1]).unwrap(), 1);
                drop((server, client));
            }
        }
        let spans = traced.wait_for::<TcpDetail>(TCP_CONNECTION, 2, is_of(port));
        let both = both(&spans);
        assert_eq!(agreed(both), numbers, "way {way}");
        let sent = if way == 3 { 20 } else { 10 };
        assert_eq!(both[0].detail.sent_bytes, sent, "way {way}");
        assert_eq!(both[1].detail.received_bytes, sent, "way {way}");
    }
}

#[test]
fn both_ends_are_chosen_or_none() {
    const CONNECTIONS: usize = 400;
    let mut traced = Traced::start(&FAMILIES, |config| {
        all(config);
        config.sources.trace.slow_connect = None;
        config.trace_sample_rate = 0.25;
    });
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    for _ in 0..CONNECTIONS {
        pair(&listener);
    }
    // The last one that is chosen may be any: when all are closed, all have been told of.
    crate::poll::poll_until("all connections have ended", || {
        let batch = traced.node.collect("net");
        let labels = [("agent", crate::node::ME)];
        let name = "tcp_connection_duration_seconds";
        let ended = crate::node::sample(&batch, name, &labels)?.get_histogram();
        (ended.get_sample_count() == 2 * CONNECTIONS as u64).then_some(())
    });
    let spans = traced.spans::<TcpDetail>(TCP_CONNECTION, |_| true);
    let numbers = |wanted: u8| -> HashSet<_> {
        let spans = spans.iter().filter(|span| span.detail.role == wanted);
        let numbers = spans.map(|Span { detail, .. }| {
            let [local, remote] = [detail.local_sequence, detail.remote_sequence];
            if wanted == role::CLIENT {
                (local, remote)
            } else {
                (remote, local)
            }
        });
        numbers.collect()
    };
    let clients = numbers(role::CLIENT);
    assert_eq!(clients, numbers(role::SERVER));
    assert_eq!(2 * clients.len(), spans.len());
    // 100, with a standard deviation of 9.
    assert!((50..150).contains(&clients.len()), "{}", clients.len());
    let sampled_out = 2 * (CONNECTIONS - clients.len()) as u64;
    traced.assert_counted::<TcpDetail>(TCP_CONNECTION, spans.len(), sampled_out);
}
