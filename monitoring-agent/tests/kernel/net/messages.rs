//! Sends and receives: bytes and messages, by protocol, direction and agent.

use std::{
    io::Write as _,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket},
    os::fd::{AsRawFd as _, RawFd},
};

use super::{
    SOURCE, bytes, kernel_tells_of_messages, loopback_bytes, messages,
    second::{self, SECOND},
    tells_of_messages,
    wire::{
        WAYS_TO_RECEIVE, WAYS_TO_SEND, check, receive_all, send_by_splice, send_file, tcp_pair,
        unix_pair,
    },
};
use crate::node::{ME, Node, losses};

const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);

/// Sends and receives in every way between two connected sockets, and compares each with what the
/// calls themselves returned.
fn every_way(node: &mut Node, protocol: &str, from: RawFd, to: RawFd) {
    let length = 1_000;
    let mut buffer = vec![7; length];
    for (send, way_to_send) in WAYS_TO_SEND {
        for (receive, way_to_receive) in WAYS_TO_RECEIVE {
            let before = node.collect(SOURCE);
            let sent = way_to_send(from, &mut buffer);
            assert_eq!(sent.1, length, "{protocol}: {send}");
            let (mut received, mut calls) = (0, 0);
            while received < length {
                let (more, bytes) = way_to_receive(to, &mut buffer);
                calls += more;
                received += bytes;
            }
            let after = node.collect(SOURCE);
            for (direction, calls) in [("transmit", sent.0), ("receive", calls)] {
                let told = format!("{protocol}: {send}, then {receive}: {direction}");
                let delta = |count: fn(&_, &str, &str, &str) -> u64| {
                    count(&after, ME, protocol, direction) - count(&before, ME, protocol, direction)
                };
                assert_eq!(delta(bytes), length as u64, "{told}");
                let on_loopback = if protocol == "unix" { 0 } else { length };
                assert_eq!(delta(loopback_bytes), on_loopback as u64, "{told}");
                let (old, new) = (
                    messages(&before, ME, direction),
                    messages(&after, ME, direction),
                );
                assert_eq!(new.0 - old.0, calls as u64, "{told}");
                assert_eq!(new.1 - old.1, length as u64, "{told}");
            }
        }
    }
    assert_eq!(losses(&node.collect(SOURCE)), []);
}

/// A node, if its kernel has hooks for messages, and then it tells of them; `fallback` tests what
/// the others count instead.
fn node_with_messages() -> Option<Node> {
    let mut node = Node::start(&["process", SOURCE]);
    let tells = tells_of_messages(&node.collect(SOURCE));
    assert_eq!(tells, kernel_tells_of_messages());
    tells.then_some(node)
}

#[test]
fn streams_in_every_way() {
    let Some(mut node) = node_with_messages() else {
        return;
    };
    for (protocol, address) in [("tcp", V4), ("tcp6", V6)] {
        let (client, server) = tcp_pair(address);
        every_way(&mut node, protocol, client.as_raw_fd(), server.as_raw_fd());
        every_way(&mut node, protocol, server.as_raw_fd(), client.as_raw_fd());
    }
    let (left, right) = unix_pair(libc::SOCK_STREAM);
    every_way(&mut node, "unix", left.as_raw_fd(), right.as_raw_fd());
}

#[test]
fn datagrams_in_every_way() {
    let Some(mut node) = node_with_messages() else {
        return;
    };
    for (protocol, address) in [("udp", V4), ("udp6", V6)] {
        let left = UdpSocket::bind((address, 0)).unwrap();
        let right = UdpSocket::bind((address, 0)).unwrap();
        left.connect(right.local_addr().unwrap()).unwrap();
        every_way(&mut node, protocol, left.as_raw_fd(), right.as_raw_fd());
    }
    for kind in [libc::SOCK_DGRAM, libc::SOCK_SEQPACKET] {
        let (left, right) = unix_pair(kind);
        every_way(&mut node, "unix", left.as_raw_fd(), right.as_raw_fd());
    }
}

#[test]
fn files_sent_by_the_kernel_count_once() {
    let Some(mut node) = node_with_messages() else {
        return;
    };
    let length = 40_000;
    for send in [send_file, send_by_splice] {
        let (client, server) = tcp_pair(V4);
        let before = node.collect(SOURCE);
        send(client.as_raw_fd(), length);
        let calls = receive_all(&server, length);
        let after = node.collect(SOURCE);
        for direction in ["transmit", "receive"] {
            let delta = bytes(&after, ME, "tcp", direction) - bytes(&before, ME, "tcp", direction);
            assert_eq!(delta, length as u64, "{direction}");
        }
        let received = messages(&after, ME, "receive").0 - messages(&before, ME, "receive").0;
        assert_eq!(received, calls);
        let sent = messages(&after, ME, "transmit").0 - messages(&before, ME, "transmit").0;
        assert!(
            (1..=length as u64 / 4_000).contains(&sent),
            "{sent} messages"
        );
        assert_eq!(losses(&after), []);
    }
}

#[test]
fn what_moves_no_byte_is_no_message() {
    let Some(mut node) = node_with_messages() else {
        return;
    };
    let (client, server) = tcp_pair(V4);
    let (left, right) = unix_pair(libc::SOCK_DGRAM);
    let before = node.collect(SOURCE);
    let mut buffer = [0; 10];
    // SAFETY: the buffer outlives the calls and has the length that is given.
    unsafe {
        let data = buffer.as_mut_ptr().cast();
        // Nothing is there; then nothing is sent; then the other end is gone.
        libc::recv(server.as_raw_fd(), data, 10, libc::MSG_DONTWAIT);
        check(libc::send(left.as_raw_fd(), data, 0, 0));
        check(libc::recv(right.as_raw_fd(), data, 10, 0));
        drop(server);
        check(libc::recv(client.as_raw_fd(), data, 10, 0));
    }
    let after = node.collect(SOURCE);
    for direction in ["transmit", "receive"] {
        assert_eq!(
            messages(&after, ME, direction),
            messages(&before, ME, direction)
        );
    }
}

#[test]
fn two_agents_are_told_apart() {
    let mut node = Node::with(&["process", SOURCE], second::configure);
    let before = node.collect(SOURCE);
    let (client, server) = tcp_pair(V4);
    // The connection is this process's, the sending and receiving the other's.
    second::run(&node, || {
        let buffer = [3_u8; 5_000];
        // SAFETY: the buffer outlives the call and has the length that is given.
        unsafe { libc::write(client.as_raw_fd(), buffer.as_ptr().cast(), buffer.len()) };
    });
    let calls = receive_all(&server, 5_000);
    (&server).write_all(&[4; 300]).unwrap();
    second::run(&node, || {
        let mut buffer = [0; 300];
        // SAFETY: as above.
        unsafe { libc::recv(client.as_raw_fd(), buffer.as_mut_ptr().cast(), 300, 0) };
    });
    let after = node.collect(SOURCE);
    assert_eq!(losses(&after), []);
    let delta = |agent, direction| {
        bytes(&after, agent, "tcp", direction) - bytes(&before, agent, "tcp", direction)
    };
    if !tells_of_messages(&after) {
        assert!(!kernel_tells_of_messages());
        // By packet, everything is the connection's owner's.
        assert_eq!(delta(SECOND, "transmit") + delta(SECOND, "receive"), 0);
        assert_eq!(delta(ME, "transmit"), 5_300);
        assert_eq!(delta(ME, "receive"), 5_300);
        return;
    }
    assert_eq!(delta(SECOND, "transmit"), 5_000);
    assert_eq!(delta(ME, "receive"), 5_000);
    assert_eq!(delta(ME, "transmit"), 300);
    assert_eq!(delta(SECOND, "receive"), 300);
    assert_eq!(messages(&after, SECOND, "transmit"), (1, 5_000));
    assert_eq!(messages(&after, SECOND, "receive"), (1, 300));
    let received = messages(&after, ME, "receive").0 - messages(&before, ME, "receive").0;
    assert_eq!(received, calls);
}

#[test]
fn what_is_on_the_wire_names_the_protocol() {
    let mut node = Node::start(&["process", SOURCE]);
    // A listener for both families that an IPv4 client connects to.
    let listener = std::net::TcpListener::bind((Ipv6Addr::UNSPECIFIED, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut client = std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    let (server, _) = listener.accept().unwrap();
    let before = node.collect(SOURCE);
    client.write_all(&[1; 77]).unwrap();
    receive_all(&server, 77);
    let after = node.collect(SOURCE);
    for direction in ["transmit", "receive"] {
        let delta = |protocol| {
            bytes(&after, ME, protocol, direction) - bytes(&before, ME, protocol, direction)
        };
        assert_eq!((delta("tcp"), delta("tcp6")), (77, 0), "{direction}");
    }
}
