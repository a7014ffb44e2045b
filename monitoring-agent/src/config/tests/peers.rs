//! `[[peers]]`: what is read, and what each mistake is told.

use std::{collections::HashSet, net::IpAddr};

use proptest::prelude::*;

use super::*;

const NETWORK: &str = "for example \"10.0.0.2\", \"10.0.0.0/24\" or \"fd00:2::/64\"";

/// Whole files: text, key and value as the message has them, line, why, cure.
#[rustfmt::skip] // A case stays together.
const BROKEN: &[(&str, &str, usize, &str, &str)] = &[
    ("[peers]\nname = 'a'",
        "peers: ", 1, "a table where a list of tables belongs", "[[peers]] in double brackets"),
    ("peers = ['a']",
        "peers[0] = 'a'", 1, "a string where a table belongs", "[[peers]]"),
    ("[[peer]]\nname = 'a'",
        "peer", 1, "unknown section", "did you mean peers?"),
    ("[[peers]]\naddresses = '10.0.0.1'",
        "peers[0].name: ", 1, "missing", "give each peer a name"),
    ("[[peers]]\nname = 'b'",
        "peers[0].addresses: ", 1, "missing", "give each peer an address"),
    ("[[peers]]\nname = ''\naddresses = '10.0.0.1'",
        "peers[0].name = ''", 2, "empty", "use a text of 1 to 64 characters"),
    ("[[peers]]\nname = \"a\\nb\"\naddresses = '10.0.0.1'",
        "peers[0].name = \"a\\nb\"", 2, "control character", "use a text of 1 to 64"),
    ("[[peers]]\nname = \"a\\u0000\"\naddresses = '10.0.0.1'",
        "peers[0].name = \"a\\u0000\"", 2, "control character", "use a text of 1 to 64"),
    ("[[peers]]\nname = 'a'\naddresses = '10.0.0.1'\n[[peers]]\nname = 'a'\naddresses = '10.0.0.2'",
        "peers[1].name = 'a'", 5, "the name of peers[0] already", "all addresses into one entry"),
    ("[[peers]]\nname = 'a'\ntype = ''\naddresses = '10.0.0.1'",
        "peers[0].type = ''", 3, "empty", "for example \"gpu\""),
    ("[[peers]]\nname = 'a'\ntype = \"\\u001b[31m\"\naddresses = '10.0.0.1'",
        "peers[0].type = ", 3, "control character", "for example \"gpu\""),
    ("[[peers]]\nname = 'a'\nnode_type = 'gpu'\naddresses = '10.0.0.1'",
        "peers[0].node_type = 'gpu'", 3, "unknown key", "known here: name, addresses, type"),
    ("[[peers]]\nname = 'a'\naddress = '10.0.0.1'\naddresses = '10.0.0.1'",
        "peers[0].address = '10.0.0.1'", 3, "unknown key", "did you mean addresses?"),
    ("[[peers]]\nname = 'a'\naddresses = []",
        "peers[0].addresses = []", 3, "an empty list", NETWORK),
    ("[[peers]]\nname = 'a'\naddresses = 7",
        "peers[0].addresses = 7", 3, "a whole number where an address belongs", NETWORK),
    ("[[peers]]\nname = 'a'\naddresses = ['10.0.0.1',\n 'gpu-02']",
        "peers[0].addresses[1] = 'gpu-02'", 4, "not an IP address", NETWORK),
    ("[[peers]]\nname = 'a'\naddresses = ''",
        "peers[0].addresses = ''", 3, "not an IP address", NETWORK),
    ("[[peers]]\nname = 'a'\naddresses = '10.0.0'",
        "peers[0].addresses = '10.0.0'", 3, "not an IP address", NETWORK),
    ("[[peers]]\nname = 'a'\naddresses = 'fe80::1%eth0'",
        "peers[0].addresses = 'fe80::1%eth0'", 3, "not an IP address", NETWORK),
    ("[[peers]]\nname = 'a'\naddresses = '10.0.0.0/'",
        "peers[0].addresses = '10.0.0.0/'", 3, "no number of bits", NETWORK),
    ("[[peers]]\nname = 'a'\naddresses = '10.0.0.0/+8'",
        "peers[0].addresses = '10.0.0.0/+8'", 3, "no number of bits", NETWORK),
    ("[[peers]]\nname = 'a'\naddresses = '10.0.0.0/255.0.0.0'",
        "peers[0].addresses = '10.0.0.0/255.0.0.0'", 3, "no number of bits", NETWORK),
    ("[[peers]]\nname = 'a'\naddresses = '10.0.0.0/33'",
        "peers[0].addresses = '10.0.0.0/33'", 3, "longer than the 32 bits", NETWORK),
    ("[[peers]]\nname = 'a'\naddresses = '10.0.0.0/264'",
        "peers[0].addresses = '10.0.0.0/264'", 3, "longer than the 32 bits", NETWORK),
    ("[[peers]]\nname = 'a'\naddresses = 'fd00::/129'",
        "peers[0].addresses = 'fd00::/129'", 3, "longer than the 128 bits", NETWORK),
    ("[[peers]]\nname = 'a'\naddresses = '10.0.0.7/24'",
        "peers[0].addresses = '10.0.0.7/24'", 3, "bits beyond /24 are set", "use \"10.0.0.0/24\" for the network, or \"10.0.0.7\""),
    ("[[peers]]\nname = 'a'\naddresses = 'fd00::1/0'",
        "peers[0].addresses = 'fd00::1/0'", 3, "bits beyond /0 are set", "use \"::/0\" for the network"),
    ("[[peers]]\nname = 'a'\naddresses = '::ffff:10.0.0.1'",
        "peers[0].addresses = '::ffff:10.0.0.1'", 3, "IPv4 address in IPv6", "for example \"10.0.0.1\""),
    ("[[peers]]\nname = 'a'\naddresses = ['10.0.0.1', '10.0.0.1/32']",
        "peers[0].addresses[1] = '10.0.0.1/32'", 3, "a network of peers[0] already", "to one peer, once"),
    ("[[peers]]\nname = 'a'\naddresses = 'fd00::/64'\n[[peers]]\nname = 'b'\naddresses = 'fd00:0::/64'",
        "peers[1].addresses = 'fd00:0::/64'", 6, "a network of peers[0] already", "to one peer, once"),
];

fn network(text: &str) -> PeerNetwork {
    let (address, prefix) = text.split_once('/').unwrap();
    PeerNetwork {
        address: address.parse().unwrap(),
        prefix_length: prefix.parse().unwrap(),
    }
}

#[test]
fn peers_take_one_address_or_a_list() {
    let file = "[[peers]]\nname = 'a \"é\"'\ntype = 'gpu'\naddresses = '10.0.0.2'\n\
                [[peers]]\nname = 'b'\naddresses = ['10.0.0.0/24', 'fd00:2::/64', '::1', '0.0.0.0/0', '::/0']";
    let peer = |name: &str, node_type: &str, networks: &[&str]| PeerConfig {
        name: name.to_owned(),
        node_type: node_type.to_owned(),
        addresses: networks.iter().map(|text| network(text)).collect(),
    };
    let want = [
        peer("a \"é\"", "gpu", &["10.0.0.2/32"]),
        peer(
            "b",
            "",
            &["10.0.0.0/24", "fd00:2::/64", "::1/128", "0.0.0.0/0", "::/0"],
        ),
    ];
    assert_eq!(load_file(file).unwrap().config.peers, want);
    assert!(load_file("peers = []").unwrap().config.peers.is_empty());
}

#[test]
fn each_mistake_has_its_own_message() {
    let mut messages = HashSet::new();
    for (text, start, line, why, cure) in BROKEN {
        let message = load_file(text).unwrap_err().to_string();
        for want in [&format!("m.toml:{line}: {start}"), *why, *cure] {
            assert!(message.contains(want), "{message:?} lacks {want:?}");
        }
        assert!(!message.contains('\n'), "more than one: {message}");
        let (_, portable) = message.split_once("m.toml").unwrap();
        assert!(messages.insert(portable.to_owned()), "twice: {message}");
    }
}

#[test]
fn an_entry_that_is_wrong_does_not_shift_the_others() {
    let file = "peers = [1, { name = 'b', addresses = '10.0.0.1' }, { name = 'b', addresses = '10.0.0.1' }]";
    let error = load_file(file).unwrap_err().to_string();
    assert!(error.contains("the name of peers[1] already"), "{error}");
    assert!(error.contains("a network of peers[1] already"), "{error}");
}

#[test]
fn peers_and_networks_are_limited() {
    let peers = |peers: usize, networks: usize| {
        let peer = |at: usize| {
            let addresses: Vec<_> = (0..networks)
                .map(|network| format!("fd00:{at:x}:{network:x}::/48"))
                .collect();
            format!("[[peers]]\nname = 'p{at}'\naddresses = {addresses:?}\n")
        };
        load_file(&(0..peers).map(peer).collect::<String>())
    };
    assert_eq!(peers(256, 4).unwrap().config.peers.len(), 256);
    for (error, want) in [
        (peers(257, 1), ":1: peers: 257 peers, and at most 256"),
        (peers(205, 5), ":1: peers: 1025 networks, and at most 1024"),
    ] {
        let error = error.unwrap_err().to_string();
        assert!(error.contains(want), "{error}");
    }
    let named = |length: usize| {
        let name = "é".repeat(length);
        load_file(&format!("[[peers]]\nname = '{name}'\naddresses = '::1'"))
    };
    assert_eq!(named(64).unwrap().config.peers[0].name.chars().count(), 64);
    let error = named(65).unwrap_err().to_string();
    assert!(error.contains("too long"), "{error}");
}

proptest! {
    #[test]
    fn any_network_is_read_back_or_corrected(address: IpAddr, length in 0..=128_u8) {
        let longest = if address.is_ipv4() { 32 } else { 128 };
        let length = length.min(longest);
        let peers = |network: &str| {
            load_file(&format!("[[peers]]\nname = 'a'\naddresses = '{network}'"))
                .map(|loaded| loaded.config.peers[0].addresses[0])
        };
        prop_assume!(address.to_canonical() == address);
        prop_assert_eq!(peers(&address.to_string()).unwrap(), PeerNetwork { address, prefix_length: longest });
        match peers(&format!("{address}/{length}")) {
            Ok(read) => prop_assert_eq!(read, PeerNetwork { address, prefix_length: length }),
            Err(error) => {
                // The cure names the network that holds the address.
                let cure = error.0[0].cure.split('"').nth(1).unwrap();
                let read = peers(cure).unwrap();
                prop_assert_eq!(read.prefix_length, length);
                let bits = |address: IpAddr| match address {
                    IpAddr::V4(v4) => u128::from(v4.to_bits()) << 96,
                    IpAddr::V6(v6) => v6.to_bits(),
                };
                let differ = bits(read.address) ^ bits(address);
                prop_assert!(differ.leading_zeros() >= u32::from(length), "{} {}", address, cure);
            }
        }
    }
}
