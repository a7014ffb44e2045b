//! Spans of TCP handshakes and connections, compared with the segments themselves, with what sockets
//! say of their addresses, and with the test's clock.

mod ends;
mod failures;
mod holders;
mod segments;
mod translated;

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream},
    time::Duration,
};

use monitoring_agent::config::Config;
use monitoring_common::trace::{
    Record,
    detail::{TcpDetail, role},
};

use super::reader::{ALL, Traced};

const FAMILIES: [&str; 3] = ["process", "syscalls", "net"];

const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);

/// How long connections are held: long beside what it takes to open and to close one.
const HELD: Duration = Duration::from_millis(400);

type Span = Record<TcpDetail>;

/// A node that traces every handshake and every connection.
fn everything() -> Traced {
    Traced::start(&FAMILIES, all)
}

fn all(config: &mut Config) {
    config.sources.trace.slow_connect = ALL;
    config.sources.trace.connection = ALL;
}

/// A connection to a listener: the connecting and the accepting end.
fn pair(listener: &TcpListener) -> (TcpStream, TcpStream) {
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (server, _) = listener.accept().unwrap();
    (client, server)
}

fn is_of(port: u16) -> impl Fn(&Span) -> bool {
    move |span| span.detail.local_port == port || span.detail.remote_port == port
}

/// An end's span, among those of both.
fn end(spans: &[Span], role: u8) -> &Span {
    let mut spans = spans.iter().filter(|span| span.detail.role == role);
    let (Some(span), None) = (spans.next(), spans.next()) else {
        panic!("one span of role {role}");
    };
    span
}

/// The client's and the server's end.
fn both(spans: &[Span]) -> [&Span; 2] {
    [role::CLIENT, role::SERVER].map(|role| end(spans, role))
}

/// Its addresses, the local one first.
fn addresses(detail: &TcpDetail) -> [SocketAddr; 2] {
    let address = |bytes: [u8; 16], port| {
        let ip = match i32::from(detail.family) {
            libc::AF_INET => {
                let (v4, rest) = bytes.split_first_chunk::<4>().unwrap();
                assert_eq!(rest, [0; 12]);
                IpAddr::from(*v4)
            }
            libc::AF_INET6 => IpAddr::from(bytes),
            family => panic!("family {family}"),
        };
        SocketAddr::new(ip, port)
    };
    [
        address(detail.local_address, detail.local_port),
        address(detail.remote_address, detail.remote_port),
    ]
}

/// Asserts that both ends know the same pair of initial sequence numbers, and returns it: the client's
/// and the server's.
fn agreed([client, server]: [&Span; 2]) -> (u32, u32) {
    let sequences = |span: &Span| (span.detail.local_sequence, span.detail.remote_sequence);
    let (client, (servers, clients)) = (sequences(client), sequences(server));
    assert_eq!(client, (clients, servers));
    client
}
