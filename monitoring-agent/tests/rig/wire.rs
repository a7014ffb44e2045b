//! Two nodes and the wire between them.

use std::{fs, net::IpAddr, time::Duration};

use super::{Namespace, relay::Relay};

/// The wire's device on both nodes.
pub(super) const DEVICE: &str = "wire";

const CLIENT: [&str; 2] = ["10.77.0.1", "fd77::1"];
const SERVER: [&str; 2] = ["10.77.0.2", "fd77::2"];
const PREFIXES: [&str; 2] = ["/24", "/64"];

/// A client's and a server's node, with addresses of IPv4 and IPv6 on one wire.
pub(crate) struct Wire {
    /// Ends before the namespaces of its devices.
    _relay: Option<Relay>,
    pub(crate) client: Namespace,
    pub(crate) server: Namespace,
}

impl Wire {
    /// Nodes joined by a pair of virtual Ethernet devices, as fast as the machine is.
    pub(crate) fn fast() -> Self {
        let (client, server) = nodes();
        let peer = server.path();
        let pair = ["type", "veth", "peer", "name", DEVICE, "netns", &peer];
        client.ip(&[&["link", "add", DEVICE], &pair[..]].concat());
        Self::up(client, server, None)
    }

    /// Nodes joined by a relay that holds each packet back for this time, in both directions.
    pub(crate) fn slow(delay: Duration) -> Self {
        let (client, server) = nodes();
        let relay = Relay::start([&client, &server], delay);
        Self::up(client, server, Some(relay))
    }

    fn up(client: Namespace, server: Namespace, relay: Option<Relay>) -> Self {
        for (node, addresses) in [(&client, CLIENT), (&server, SERVER)] {
            for (address, prefix) in addresses.iter().zip(PREFIXES) {
                let address = format!("{address}{prefix}");
                let mut add = vec!["address", "add", &address, "dev", DEVICE];
                if address.contains(':') {
                    // Nobody else is there who could have the address.
                    add.push("nodad");
                }
                node.ip(&add);
            }
            node.ip(&["link", "set", DEVICE, "up"]);
        }
        Self {
            _relay: relay,
            client,
            server,
        }
    }

    /// From now on, TCP sends segments one by one rather than up to 64 KB at once.
    pub(crate) fn without_offload(self) -> Self {
        for node in [&self.client, &self.server] {
            node.ip(&["link", "set", DEVICE, "gso_max_segs", "1"]);
        }
        self
    }

    /// The client's addresses, IPv4 before IPv6.
    pub(crate) fn client_addresses() -> [IpAddr; 2] {
        CLIENT.map(|address| address.parse().unwrap())
    }

    /// The server's addresses, IPv4 before IPv6.
    pub(crate) fn server_addresses() -> [IpAddr; 2] {
        SERVER.map(|address| address.parse().unwrap())
    }
}

fn nodes() -> (Namespace, Namespace) {
    let node = || {
        let node = Namespace::new();
        node.within(|| {
            // Ports for many connections, of which each leaves one in TIME_WAIT.
            fs::write("/proc/sys/net/ipv4/ip_local_port_range", "10000 65000").unwrap();
        });
        node
    };
    (node(), node())
}
