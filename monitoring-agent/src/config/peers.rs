//! Reads `[[peers]]`.
//!
//! Knows names, addresses and networks; which connection belongs to which peer is the kernel's to
//! find.

use std::{collections::HashMap, net::IpAddr};

use monitoring_common::net::{MAX_NETWORKS, MAX_PEERS};
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    PeerConfig, PeerNetwork,
    document::Document,
    problem::Fault,
    settings::NODE_TYPE_LENGTH,
    values::{self, Value},
};

/// Longest peer name in characters. It is a label value of each of the peer's series.
const NAME_LENGTH: usize = 64;

const KEYS: [&str; 3] = ["name", "addresses", "type"];

const NETWORK: &str =
    "use an address or a network, for example \"10.0.0.2\", \"10.0.0.0/24\" or \"fd00:2::/64\"";

/// What has been read so far.
#[derive(Default)]
struct Known {
    peers: Vec<PeerConfig>,
    /// Position of the entry that each network belongs to.
    networks: HashMap<PeerNetwork, usize>,
}

/// Reads the value of the key `peers`.
pub(super) fn read(value: &Spanned<DeValue<'_>>, document: &mut Document<'_>) -> Vec<PeerConfig> {
    let tables = "begin each peer with a line [[peers]] in double brackets";
    let DeValue::Array(entries) = value.get_ref() else {
        let fault = Value::Toml(value.get_ref()).wrong_type("a list of tables", tables);
        document.report(value, "peers", fault);
        return Vec::new();
    };
    let networks = entries.iter().map(|entry| given(entry.get_ref()));
    for (count, what, most, cure) in [
        (entries.len(), "peers", MAX_PEERS, "peers"),
        (
            networks.sum(),
            "networks",
            MAX_NETWORKS,
            "networks with shorter prefixes",
        ),
    ] {
        if count > most {
            let fault = format!("{count} {what}, and at most {most} can be told apart");
            let cure = format!("use fewer {cure}");
            document.report_missing(value, "peers", Fault::new(fault, cure));
            return Vec::new();
        }
    }
    let mut known = Known::default();
    for (at, entry) in entries.iter().enumerate() {
        let path = format!("peers[{at}]");
        let peer = if let DeValue::Table(table) = entry.get_ref() {
            read_peer(entry, table, &path, &mut known, document)
        } else {
            let fault = Value::Toml(entry.get_ref()).wrong_type("a table", tables);
            document.report(entry, &path, fault);
            empty()
        };
        // An entry that is no peer keeps its place, by which messages name the others.
        known.peers.push(peer);
    }
    known.peers
}

/// How many addresses an entry gives.
fn given(entry: &DeValue<'_>) -> usize {
    let DeValue::Table(table) = entry else {
        return 0;
    };
    match table.get("addresses").map(Spanned::get_ref) {
        Some(DeValue::Array(addresses)) => addresses.len(),
        Some(_) => 1,
        None => 0,
    }
}

fn read_peer(
    entry: &Spanned<DeValue<'_>>,
    table: &DeTable<'_>,
    path: &str,
    known: &mut Known,
    document: &mut Document<'_>,
) -> PeerConfig {
    document.report_unknown(table, path, &KEYS);
    let mut peer = empty();
    let mut missing = |key: &str, cure: &str| {
        let fault = Fault::new("missing", cure);
        document.report_missing(entry, &format!("{path}.{key}"), fault);
    };
    if !table.contains_key("name") {
        missing(
            "name",
            "give each peer a name, for example name = \"gpu-02\"",
        );
    }
    if !table.contains_key("addresses") {
        missing(
            "addresses",
            "give each peer an address, for example addresses = \"10.0.0.2\"",
        );
    }
    if let Some(value) = table.get("name") {
        match name(value.get_ref(), &known.peers) {
            Ok(name) => peer.name = name,
            Err(fault) => document.report(value, &format!("{path}.name"), fault),
        }
    }
    if let Some(value) = table.get("type") {
        match values::label(Value::Toml(value.get_ref()), NODE_TYPE_LENGTH, "gpu") {
            Ok(node_type) => peer.node_type = node_type,
            Err(fault) => document.report(value, &format!("{path}.type"), fault),
        }
    }
    if let Some(value) = table.get("addresses") {
        peer.addresses = read_networks(value, &format!("{path}.addresses"), known, document);
    }
    peer
}

fn name(value: &DeValue<'_>, earlier: &[PeerConfig]) -> Result<String, Fault> {
    let name = values::label(Value::Toml(value), NAME_LENGTH, "gpu-02")?;
    if let Some(at) = earlier.iter().position(|peer| peer.name == name) {
        let fault = format!("the name of peers[{at}] already");
        let cure = "use another name, or put all addresses into one entry";
        return Err(Fault::new(fault, cure));
    }
    Ok(name)
}

/// Reads a list of networks, or a single one.
fn read_networks(
    value: &Spanned<DeValue<'_>>,
    path: &str,
    known: &mut Known,
    document: &mut Document<'_>,
) -> Vec<PeerNetwork> {
    let DeValue::Array(networks) = value.get_ref() else {
        return read_network(value, path, known, document)
            .into_iter()
            .collect();
    };
    if networks.is_empty() {
        let fault = Fault::new("an empty list, so nothing would be this peer's", NETWORK);
        document.report(value, path, fault);
    }
    let read = |(at, network)| read_network(network, &format!("{path}[{at}]"), known, document);
    networks.iter().enumerate().filter_map(read).collect()
}

fn read_network(
    value: &Spanned<DeValue<'_>>,
    path: &str,
    known: &mut Known,
    document: &mut Document<'_>,
) -> Option<PeerNetwork> {
    let at = known.peers.len();
    let network = network(value.get_ref()).and_then(|network| {
        if let Some(owner) = known.networks.insert(network, at) {
            let fault = format!("a network of peers[{owner}] already");
            return Err(Fault::new(fault, "give each network to one peer, once"));
        }
        Ok(network)
    });
    match network {
        Ok(network) => Some(network),
        Err(fault) => {
            document.report(value, path, fault);
            None
        }
    }
}

fn network(value: &DeValue<'_>) -> Result<PeerNetwork, Fault> {
    let text = Value::Toml(value).text("an address", NETWORK)?;
    let (address, prefix) = match text.split_once('/') {
        Some((address, prefix)) => (address, Some(prefix)),
        None => (text, None),
    };
    let Ok(address) = address.parse::<IpAddr>() else {
        return Err(Fault::new("not an IP address", NETWORK));
    };
    let longest = if address.is_ipv4() { 32 } else { 128 };
    let prefix_length = match prefix {
        None => longest,
        Some(prefix) => prefix_length(prefix, longest)?,
    };
    // The kernel tells such traffic as what it is, IPv4.
    if let IpAddr::V6(address) = address
        && let Some(address) = address.to_ipv4_mapped()
        && prefix_length > 0
    {
        let cure = format!("write it as IPv4, for example \"{address}\"");
        return Err(Fault::new("an IPv4 address in IPv6 notation", cure));
    }
    let first = first_address(address, prefix_length);
    if first != address {
        let fault = format!("bits beyond /{prefix_length} are set");
        let cure = format!(
            "use \"{first}/{prefix_length}\" for the network, or \"{address}\" for the one address"
        );
        return Err(Fault::new(fault, cure));
    }
    Ok(PeerNetwork {
        address,
        prefix_length,
    })
}

fn prefix_length(text: &str, longest: u8) -> Result<u8, Fault> {
    // A sign would be read, too.
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Fault::new("no number of bits behind the slash", NETWORK));
    }
    let length = text.parse().ok().filter(|length| *length <= longest);
    length.ok_or_else(|| {
        let fault = format!("a prefix longer than the {longest} bits of the address");
        Fault::new(fault, NETWORK)
    })
}

/// The address without the bits beyond the prefix.
fn first_address(address: IpAddr, prefix_length: u8) -> IpAddr {
    let length = u32::from(prefix_length);
    match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32 - length).unwrap_or(0);
            IpAddr::V4((v4.to_bits() & mask).into())
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128 - length).unwrap_or(0);
            IpAddr::V6((v6.to_bits() & mask).into())
        }
    }
}

fn empty() -> PeerConfig {
    PeerConfig {
        name: String::new(),
        addresses: Vec::new(),
        node_type: String::new(),
    }
}
