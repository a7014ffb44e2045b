//! Full maps: what does not fit is counted as lost, and nothing else is wrong.

use std::{
    io::Write as _,
    net::{Ipv4Addr, UdpSocket},
    os::fd::AsRawFd as _,
};

use super::{
    MESSAGE_HOOKS, SOURCE, bytes, connections, kernel_tells_of_messages,
    peers::{NEAR, configure, exchange, peer_bytes},
    tells_of_messages,
    wire::{receive_all, tcp_pair, unix_pair},
};
use crate::node::{ME, Node, losses};

/// An agent's element is past the end of the array of traffic.
const NO_ROOM: [(&str, u32); 1] = [("TRAFFIC", 1)];

#[test]
fn an_agent_without_a_place() {
    let mut node = Node::with_limits(&["process", SOURCE], &NO_ROOM);
    if !tells_of_messages(&node.collect(SOURCE)) {
        // The test below is the one for such a kernel.
        assert!(!kernel_tells_of_messages());
        return;
    }
    let (left, right) = unix_pair(libc::SOCK_STREAM);
    for _ in 0..50 {
        // SAFETY: one byte is there to be sent.
        unsafe { libc::send(left.as_raw_fd(), [1_u8].as_ptr().cast(), 1, 0) };
    }
    assert_eq!(receive_all(&right, 50), 1);
    let batch = node.collect(SOURCE);
    assert_eq!(losses(&batch), [("totals_full", 51)]);
    assert_eq!(bytes(&batch, ME, "unix", "transmit"), 0);
}

#[test]
fn an_agent_without_a_place_by_packet() {
    let names = ["process", SOURCE];
    let mut node = Node::made(&names, &NO_ROOM, MESSAGE_HOOKS, |_| {});
    assert!(!tells_of_messages(&node.collect(SOURCE)));
    let receiver = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let sender = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let to = receiver.local_addr().unwrap();
    for _ in 0..50 {
        sender.send_to(&[1; 20], to).unwrap();
        receiver.recv(&mut [0; 20]).unwrap();
    }
    let batch = node.collect(SOURCE);
    // Each packet is sent, and received.
    assert_eq!(losses(&batch), [("totals_full", 100)]);
    for direction in ["transmit", "receive"] {
        assert_eq!(bytes(&batch, ME, "udp", direction), 0, "{direction}");
    }
}

#[test]
fn connections_of_an_agent_without_a_place() {
    let mut node = Node::with_limits(&["process", SOURCE], &[("TCP", 1)]);
    let (mut client, server) = tcp_pair([127, 0, 0, 1].into());
    client.write_all(&[1; 10]).unwrap();
    receive_all(&server, 10);
    let batch = node.collect(SOURCE);
    let lost = losses(&batch);
    // Each end's establishment, the duration of the one, and a sample of each round-trip time.
    assert!(matches!(lost[..], [("totals_full", 3..)]), "{lost:?}");
    assert_eq!(connections(&batch, ME, "connect", "success"), 0);
    assert_eq!(bytes(&batch, ME, "tcp", "transmit"), 10);
}

#[test]
fn a_network_too_many() {
    let mut node = Node::limited(&["process", SOURCE], &[("PEER_OF", 1)], configure);
    exchange(NEAR, 1_000, 10);
    let batch = node.collect(SOURCE);
    assert_eq!(losses(&batch), [("peers_full", 2)]);
    assert_eq!(peer_bytes(&batch, "near"), [1_000, 10]);
    assert_eq!(peer_bytes(&batch, "six"), [0, 0]);
}
