//! A connection between two nodes, each with an agent and a collector of its own, which know nothing of
//! each other.

use std::time::Duration;

use monitoring::otlp::Protocol;

use super::{
    connection::{Work, are_one_trace, known_end, rule},
    program::Role,
    traced::Traced,
    tree::lasted,
};
use crate::{
    rig::Wire,
    rotel::{Ports, shown::Shown},
};

/// How long a packet is on the wire.
const DELAY: Duration = Duration::from_millis(20);

/// In a namespace of their own, nobody else listens at them.
const PORTS: [u16; 2] = [4318, 4317];

fn node(protocol: Protocol, role: Role) -> Traced {
    let [http, grpc] = PORTS;
    Traced::start_at(Ports::new(http, grpc), protocol, &rule(role))
}

#[test]
fn two_nodes_tell_of_one_trace() {
    let wire = Wire::slow(DELAY);
    let [address, _] = Wire::server_addresses();
    let address = address.to_string();
    let (client, server) = wire.server.within(|| {
        let traced = node(Protocol::Grpc, Role::Server);
        let server = known_end(Role::Server, &traced.agent, &address);
        let (work, client) = wire.client.within(|| client(server, &address));
        let spans = traced.spans();
        let server = work.check_server(&spans);
        // No span of the other node came here.
        assert!(spans.of_service("fetcher").is_empty());
        (client, server.clone())
    });
    are_one_trace(&client, &server);
    // Until its last word has been answered.
    assert!(lasted(&server) > DELAY && lasted(&client) > 2 * DELAY);
}

/// The client's node: what its agent told of it.
fn client(server: super::program::End, address: &str) -> (Work, Shown) {
    let traced = node(Protocol::HttpProtobuf, Role::Client);
    let client = known_end(Role::Client, &traced.agent, address);
    let work = Work::between(client, server);
    let spans = traced.spans();
    spans.check_all();
    assert!(spans.of_service("keeper").is_empty());
    let client = work.check_client(&spans, Duration::ZERO).clone();
    (work, client)
}
