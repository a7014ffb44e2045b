//! The peers: which addresses are whose, and what was exchanged with each.

use std::net::IpAddr;

use anyhow::Context as _;
use aya::maps::{LpmTrie, Map, lpm_trie::Key};
use monitoring_common::net::{Address, DIRECTIONS, LEVELS, MAX_PEERS, Peer};
use prometheus::proto::MetricFamily;
use tracing::warn;

use super::Totals;
use crate::{
    config::{PeerConfig, PeerNetwork},
    families::Family as Metrics,
    loader::Loaded,
};

const INFO_HELP: &str = "The peers of this node, as they are configured; always 1.";
const BYTES_HELP: &str = "Bytes that processes of this node sent to and received from a peer over \
                          TCP, and over UDP where the socket is connected.";
const RTT_HELP: &str = "Smoothed round-trip time of TCP connections with a peer, as the kernel \
                        measures it; sampled at most every 100 ms for each connection.";

/// The peers, by number.
pub(super) struct Peers {
    configured: Vec<PeerConfig>,
    totals: Totals<Peer>,
    left_out: u64,
}

/// Room for this number of peers.
pub(super) fn entries(peers: &[PeerConfig]) -> u32 {
    // A map has at least one element.
    u32::try_from(peers.len().clamp(1, MAX_PEERS)).unwrap_or(1) * LEVELS
}

impl Peers {
    /// Tells the kernel programs the peers' networks.
    pub(super) fn new(loaded: &mut Loaded, peers: &[PeerConfig]) -> anyhow::Result<Self> {
        let map = Map::LpmTrie(loaded.take_map("PEER_OF")?);
        let mut networks: LpmTrie<_, Address, u32> = map.try_into().context("map PEER_OF")?;
        let mut left_out = 0;
        for (peer, number) in peers.iter().zip(0..) {
            for network in &peer.addresses {
                let (bits, address) = prefix(*network);
                if let Err(error) = networks.insert(&Key::new(bits, address), number, 0) {
                    left_out += 1;
                    warn!(peer = peer.name, ?network, %error, "a peer's network is left out");
                }
            }
        }
        Ok(Self {
            configured: peers.to_vec(),
            totals: Totals::new(loaded, "PEERS", LEVELS)?,
            left_out,
        })
    }

    /// Networks that the kernel had no room for.
    pub(super) fn left_out(&self) -> u64 {
        self.left_out
    }

    /// The peers' metrics.
    pub(super) fn collect(&mut self) -> anyhow::Result<[MetricFamily; 3]> {
        let mut info = Metrics::gauge("cluster_peer_info", INFO_HELP);
        let mut bytes = Metrics::counter("cluster_peer_bytes_total", BYTES_HELP);
        let mut rtt = Metrics::histogram("cluster_peer_rtt_seconds", RTT_HELP);
        for (peer, number) in self.configured.iter().zip(0..) {
            let name = [("peer", peer.name.as_str())];
            info.push(&[name[0], ("type", &peer.node_type)], 1.0);
            let mut sum = Peer::EMPTY;
            self.totals.for_each(number, |cpu| sum.merge(cpu))?;
            for (direction, count) in DIRECTIONS.iter().zip(sum.bytes) {
                bytes.push(&[name[0], ("direction", direction)], count as f64);
            }
            if sum.rtt.count() > 0 {
                rtt.push_durations(&name, &sum.rtt);
            }
        }
        Ok([info.build(), bytes.build(), rtt.build()])
    }
}

/// A network as the kernel programs look it up: IPv4 mapped into IPv6.
fn prefix(network: PeerNetwork) -> (u32, Address) {
    let bits = u32::from(network.prefix_length);
    match network.address {
        IpAddr::V4(address) => (96 + bits, address.to_ipv6_mapped().octets()),
        IpAddr::V6(address) => (bits, address.octets()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_of_both_families() {
        let check = |address: &str, prefix_length, bits, octets| {
            let network = PeerNetwork {
                address: address.parse().unwrap(),
                prefix_length,
            };
            assert_eq!(prefix(network), (bits, octets));
        };
        let v4 = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 1, 2, 3];
        check("10.1.2.3", 32, 128, v4);
        check("10.1.2.3", 16, 112, v4);
        let v6 = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
        check("2001:db8::1", 64, 64, v6);
    }
}
