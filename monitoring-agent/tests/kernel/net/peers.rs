//! Peers: loopback networks stand in for other nodes.

use std::{
    io::Write as _,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket},
};

use monitoring_agent::{
    config::{Config, PeerConfig, PeerNetwork},
    source::Batch,
};

use super::{
    SOURCE, histogram,
    wire::{receive_all, tcp_pair},
};
use crate::node::{Node, counter, losses, sample};

pub(super) const NEAR: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 1, 2, 3));
const NEARER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 1, 9, 9));
const SIX: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);

/// Three peers, one of them in another's network.
pub(super) fn configure(config: &mut Config) {
    let peer = |name: &str, address, prefix_length| PeerConfig {
        name: name.to_owned(),
        addresses: vec![PeerNetwork {
            address,
            prefix_length,
        }],
        node_type: "gpu".to_owned(),
    };
    config.peers = vec![
        peer("near", IpAddr::V4(Ipv4Addr::new(127, 1, 0, 0)), 16),
        peer("nearer", NEARER, 24),
        peer("six", SIX, 128),
    ];
}

pub(super) fn peer_bytes(batch: &Batch, peer: &str) -> [u64; 2] {
    ["transmit", "receive"].map(|direction| {
        let labels = [("peer", peer), ("direction", direction)];
        counter(batch, "cluster_peer_bytes_total", &labels)
    })
}

/// Sends to a server at `address` and back, as seen from both ends.
pub(super) fn exchange(address: IpAddr, there: usize, back: usize) {
    let (mut client, mut server) = tcp_pair(address);
    client.write_all(&vec![1; there]).unwrap();
    receive_all(&server, there);
    server.write_all(&vec![2; back]).unwrap();
    receive_all(&client, back);
}

pub(super) fn bytes_and_round_trips_of_each(node: &mut Node) {
    for (address, there, back) in [(NEAR, 30_000, 100), (NEARER, 20_000, 10), (SIX, 1_000, 500)] {
        exchange(address, there, back);
    }
    // No peer's network.
    exchange(IpAddr::V4(Ipv4Addr::LOCALHOST), 5_000, 5_000);
    let batch = node.collect(SOURCE);
    assert_eq!(losses(&batch), []);
    // The server's other side is 127.0.0.1, or ::1, where it is the same peer again.
    assert_eq!(peer_bytes(&batch, "near"), [30_000, 100]);
    assert_eq!(peer_bytes(&batch, "nearer"), [20_000, 10]);
    assert_eq!(peer_bytes(&batch, "six"), [1_500, 1_500]);
    for (peer, ends) in [("near", 1), ("nearer", 1), ("six", 2)] {
        let (count, sum) = histogram(&batch, "cluster_peer_rtt_seconds", &[("peer", peer)]);
        assert!(count >= ends, "{peer}: {count} samples");
        assert!(sum > 0.0 && sum < 60.0, "{peer}: {sum} s");
        let labels = [("peer", peer), ("type", "gpu")];
        assert!(sample(&batch, "cluster_peer_info", &labels).is_some());
    }
}

#[test]
fn bytes_and_round_trips() {
    let mut node = Node::with(&["process", SOURCE], configure);
    bytes_and_round_trips_of_each(&mut node);
}

/// The peer behind a default route has no IPv4 traffic.
pub(super) fn all_of_ipv6(config: &mut Config) {
    configure(config);
    let everything = PeerNetwork {
        address: IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        prefix_length: 0,
    };
    config.peers[2].addresses = vec![everything];
}

pub(super) fn ipv4_is_not_in_ipv6(node: &mut Node) {
    exchange(IpAddr::V4(Ipv4Addr::LOCALHOST), 5_000, 5_000);
    exchange(NEAR, 300, 20);
    exchange(SIX, 1_000, 500);
    let batch = node.collect(SOURCE);
    assert_eq!(losses(&batch), []);
    assert_eq!(peer_bytes(&batch, "near"), [300, 20]);
    assert_eq!(peer_bytes(&batch, "six"), [1_500, 1_500]);
}

#[test]
fn a_network_of_all_ipv6_addresses() {
    let mut node = Node::with(&["process", SOURCE], all_of_ipv6);
    ipv4_is_not_in_ipv6(&mut node);
}

#[test]
fn datagrams_of_connected_sockets() {
    let mut node = Node::with(&["process", SOURCE], configure);
    let near = UdpSocket::bind((NEAR, 0)).unwrap();
    let nearer = UdpSocket::bind((NEARER, 0)).unwrap();
    let here = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let mut buffer = [0; 100];
    for (length, peer) in [(40, &near), (30, &nearer), (20, &near)] {
        here.connect(peer.local_addr().unwrap()).unwrap();
        here.send(&vec![9; length]).unwrap();
        let (_, from) = peer.recv_from(&mut buffer).unwrap();
        peer.send_to(&[8; 7], from).unwrap();
        here.recv(&mut buffer).unwrap();
    }
    let batch = node.collect(SOURCE);
    assert_eq!(losses(&batch), []);
    assert_eq!(peer_bytes(&batch, "near"), [60, 14]);
    assert_eq!(peer_bytes(&batch, "nearer"), [30, 7]);
}
