//! The peers: which addresses are whose, and what was exchanged with each.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::Context as _;
use aya::maps::{LpmTrie, Map, lpm_trie::Key};
use monitoring_common::net::{Address, DIRECTIONS, LEVELS, MAX_PEERS, NO_PEER, Peer};
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
        for (bits, address, value) in entries_of(peers) {
            if let Err(error) = networks.insert(&Key::new(bits, address), value, 0) {
                left_out += 1;
                let network = Ipv6Addr::from(address);
                warn!("peers: the kernel has no room for network {network}/{bits}: {error}");
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

/// What the kernel programs look addresses up in: networks, and whose they are in the words of
/// [`SocketState::peer`](monitoring_common::net::SocketState::peer).
///
/// An IPv6 network that is wide enough to hold all mapped IPv4 addresses does not mean them. They
/// get an entry of their own that says so, unless a peer has them: its entry comes later.
fn entries_of(peers: &[PeerConfig]) -> Vec<(u32, Address, u32)> {
    let networks = peers.iter().zip(1..).flat_map(|(peer, number)| {
        let networks = peer.addresses.iter();
        networks.map(move |network| (network, number))
    });
    let ipv4 = prefix(ALL_IPV4);
    let mut entries = Vec::new();
    if networks.clone().any(|(network, _)| holds_ipv4(*network)) {
        entries.push((ipv4.0, ipv4.1, u32::from(NO_PEER)));
    }
    entries.extend(networks.map(|(network, number)| {
        let (bits, address) = prefix(*network);
        (bits, address, number)
    }));
    entries
}

const ALL_IPV4: PeerNetwork = PeerNetwork {
    address: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
    prefix_length: 0,
};

/// Whether an IPv6 network has all mapped IPv4 addresses in it.
fn holds_ipv4(network: PeerNetwork) -> bool {
    let IpAddr::V6(address) = network.address else {
        return false;
    };
    let (ipv4_bits, ipv4) = prefix(ALL_IPV4);
    let bits = u32::from(network.prefix_length);
    let mask = u128::MAX.checked_shl(128 - bits).unwrap_or(0);
    bits <= ipv4_bits && u128::from_be_bytes(ipv4) & mask == address.to_bits() & mask
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

    fn peer(networks: &[(&str, u8)]) -> PeerConfig {
        let addresses = networks.iter().map(|(address, prefix_length)| PeerNetwork {
            address: address.parse().unwrap(),
            prefix_length: *prefix_length,
        });
        PeerConfig {
            name: "peer".to_owned(),
            addresses: addresses.collect(),
            node_type: String::new(),
        }
    }

    #[test]
    fn ipv6_networks_hold_no_ipv4() {
        let check = |address: &str, bits, want: bool| {
            let entries = entries_of(&[peer(&[("10.0.0.0", 8)]), peer(&[(address, bits)])]);
            let values: Vec<u32> = entries.iter().map(|(.., value)| *value).collect();
            let none = u32::from(NO_PEER);
            let all = if want { vec![none, 1, 2] } else { vec![1, 2] };
            assert_eq!(values, all, "{address}/{bits}");
        };
        check("::", 0, true);
        check("::", 1, true);
        check("::", 80, true);
        check("::ff00:0:0", 88, true);
        check("::", 96, false);
        check("::", 81, false);
        check("::1", 128, false);
        check("8000::", 1, false);
        check("2001:db8::", 32, false);
        check("0.0.0.0", 0, false);
    }

    #[test]
    fn a_peer_may_have_all_of_ipv4() {
        let entries = entries_of(&[peer(&[("0.0.0.0", 0)]), peer(&[("::", 0)])]);
        let [none, first, second] = entries[..] else {
            panic!("{entries:?}");
        };
        // The second of two entries for one network replaces the first.
        assert_eq!((none.0, none.1), (first.0, first.1));
        assert_eq!((first.2, second.0, second.2), (1, 0, 2));
    }
}
