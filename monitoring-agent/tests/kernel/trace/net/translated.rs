//! Connections between two nodes, with a router between them that translates the addresses of both.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    process::Command,
};

use monitoring_common::trace::{detail::TcpDetail, kind::TCP_CONNECTION};

use super::{addresses, agreed, both, everything};
use crate::namespace::Namespace;

/// Where the client connects to: an address and a port of the router.
const SEEN: &str = "10.78.1.1:80";

/// Where the server listens, which the client has no way to.
const SERVER: &str = "10.78.2.2:7777";

/// The router's rules: what is for its port 80 is for the server, and comes from the router.
const RULES: &str = "
    table ip translate {
        chain in { type nat hook prerouting priority dstnat; tcp dport 80 dnat to 10.78.2.2:7777; }
        chain out { type nat hook postrouting priority srcnat; oifname \"server\" masquerade; }
    }";

/// A client's and a server's node, each joined to a router.
struct Nodes {
    client: Namespace,
    server: Namespace,
    router: Namespace,
}

impl Nodes {
    fn new() -> Self {
        let [client, server, router] = [(); 3].map(|()| Namespace::new());
        for (node, name, own, routers) in [
            (&client, "client", "10.78.1.2/24", "10.78.1.1/24"),
            (&server, "server", "10.78.2.2/24", "10.78.2.1/24"),
        ] {
            let peer = node.path();
            let pair = ["type", "veth", "peer", "name", "wire", "netns", &peer];
            router.ip(&[&["link", "add", name], &pair[..]].concat());
            for (node, device, address) in [(&router, name, routers), (node, "wire", own)] {
                node.ip(&["address", "add", address, "dev", device]);
                node.ip(&["link", "set", device, "up"]);
            }
        }
        router.within(|| std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap());
        router.output("nft", &[RULES]);
        Self {
            client,
            server,
            router,
        }
    }
}

/// The program is the kernel's own translation, which guests have no tools to set up.
fn is_guest() -> bool {
    std::env::var_os("MONITORING_TEST_GUEST").is_some()
}

#[test]
fn both_ends_know_the_same_numbers_through_translated_addresses() {
    if is_guest() {
        return;
    }
    let found = Command::new("nft").arg("--version").output();
    assert!(
        found.is_ok(),
        "nft; `cargo xtask setup` installs what the tests need"
    );
    let nodes = Nodes::new();
    let mut traced = everything();
    let listener = nodes.server.within(|| TcpListener::bind(SERVER).unwrap());
    let [seen, listens] = [SEEN, SERVER].map(|address| address.parse::<SocketAddr>().unwrap());
    for number in 0..20 {
        let mut client = nodes.client.within(|| TcpStream::connect(seen).unwrap());
        let (mut server, from) = listener.accept().unwrap();
        client.write_all(&[number; 10]).unwrap();
        server.read_exact(&mut [0; 10]).unwrap();
        let own = client.local_addr().unwrap();
        drop((client, server));
        let of_this = |span: &super::Span| {
            let [local, remote] = addresses(&span.detail);
            [local, remote] == [own, seen] || [local, remote] == [listens, from]
        };
        let spans = traced.wait_for::<TcpDetail>(TCP_CONNECTION, 2, of_this);
        let [client, server] = both(&spans);
        // No address of one end is one of the other.
        assert!(from.ip() != own.ip() && listens != seen);
        let (one, other) = agreed([client, server]);
        assert!(one != other);
    }
    let rules = nodes.router.output("nft", &["list", "ruleset"]);
    assert!(rules.contains("masquerade"), "{rules}");
    traced.assert_counted::<TcpDetail>(TCP_CONNECTION, 40, 0);
}
