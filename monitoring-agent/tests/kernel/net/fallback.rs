//! As on a kernel that does not tell of messages: bytes by packet.

use std::{
    io::Write as _,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket},
    os::fd::AsRawFd as _,
};

use super::{
    MESSAGE_HOOKS, SOURCE, bytes, loopback_bytes, peers,
    second::{self, SECOND},
    tells_of_messages,
    wire::{receive_all, send_file, tcp_pair},
};
use crate::node::{ME, Node, losses};

fn node() -> Node {
    let mut node = Node::lacking(MESSAGE_HOOKS, &["process", SOURCE], second::configure);
    let batch = node.collect(SOURCE);
    assert!(!tells_of_messages(&batch));
    assert!(batch.programs.iter().all(|program| program.attached));
    node
}

#[test]
fn streams_by_packet() {
    let mut node = node();
    let lengths = [1_usize, 1_447, 1_448, 1_449, 100_000, 1_000_000];
    let all = lengths.iter().sum::<usize>() as u64;
    for (protocol, address) in [
        ("tcp", IpAddr::V4(Ipv4Addr::LOCALHOST)),
        ("tcp6", IpAddr::V6(Ipv6Addr::LOCALHOST)),
    ] {
        let (mut client, server) = tcp_pair(address);
        for length in lengths {
            std::thread::scope(|scope| {
                scope.spawn(|| client.write_all(&vec![5; length]).unwrap());
                receive_all(&server, length);
            });
        }
        send_file(client.as_raw_fd(), 9_000);
        receive_all(&server, 9_000);
        let batch = node.collect(SOURCE);
        assert_eq!(losses(&batch), []);
        for direction in ["transmit", "receive"] {
            for count in [bytes, loopback_bytes] {
                let counted = count(&batch, ME, protocol, direction);
                assert_eq!(counted, all + 9_000, "{protocol} {direction}");
            }
        }
    }
}

#[test]
fn datagrams_by_packet_belong_to_who_made_the_socket() {
    let mut node = node();
    for (protocol, address) in [
        ("udp", IpAddr::V4(Ipv4Addr::LOCALHOST)),
        ("udp6", IpAddr::V6(Ipv6Addr::LOCALHOST)),
    ] {
        let receiver = UdpSocket::bind((address, 0)).unwrap();
        let sender = UdpSocket::bind((address, 0)).unwrap();
        let to = receiver.local_addr().unwrap();
        let mut buffer = vec![0; 70_000];
        for length in [1, 1_472, 1_473, 60_000] {
            sender.send_to(&vec![6; length], to).unwrap();
            assert_eq!(receiver.recv(&mut buffer).unwrap(), length);
        }
        let all = 1 + 1_472 + 1_473 + 60_000;
        let batch = node.collect(SOURCE);
        assert_eq!(losses(&batch), []);
        for direction in ["transmit", "receive"] {
            assert_eq!(bytes(&batch, ME, protocol, direction), all, "{direction}");
            let loopback = loopback_bytes(&batch, ME, protocol, direction);
            assert_eq!(loopback, all, "{direction}");
        }
        second::run(&node, || {
            let Ok(socket) = UdpSocket::bind((address, 0)) else {
                return;
            };
            let _ = socket.send_to(&[1; 500], to);
        });
        assert_eq!(receiver.recv(&mut buffer).unwrap(), 500);
        let batch = node.collect(SOURCE);
        assert_eq!(bytes(&batch, SECOND, protocol, "transmit"), 500);
        assert_eq!(bytes(&batch, ME, protocol, "receive"), all + 500);
    }
}

#[test]
fn sockets_from_before_the_agent_have_their_owners() {
    let receiver = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let sender = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let (mut client, server) = tcp_pair(Ipv4Addr::LOCALHOST.into());
    let mut node = node();
    let to = receiver.local_addr().unwrap();
    sender.send_to(&[1; 123], to).unwrap();
    receiver.recv(&mut [0; 123]).unwrap();
    client.write_all(&[2; 456]).unwrap();
    receive_all(&server, 456);
    let batch = node.collect(SOURCE);
    assert_eq!(losses(&batch), []);
    for direction in ["transmit", "receive"] {
        assert_eq!(bytes(&batch, ME, "udp", direction), 123, "{direction}");
        assert_eq!(bytes(&batch, ME, "tcp", direction), 456, "{direction}");
    }
}

#[test]
fn peers_by_packet() {
    let mut node = Node::lacking(MESSAGE_HOOKS, &["process", SOURCE], peers::configure);
    peers::bytes_and_round_trips_of_each(&mut node);
}

#[test]
fn a_network_of_all_ipv6_addresses_by_packet() {
    let mut node = Node::lacking(MESSAGE_HOOKS, &["process", SOURCE], peers::all_of_ipv6);
    peers::ipv4_is_not_in_ipv6(&mut node);
}
