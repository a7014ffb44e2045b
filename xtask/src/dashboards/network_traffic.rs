//! What goes over the network, between which nodes, and how well. Knows no JSON.

use super::{
    board::{Board, Mark, Row},
    panel::Panel,
    variables::Devices,
};

pub(super) fn board() -> Board {
    Board {
        name: "network_traffic",
        title: "StratoSwarm / Network Traffic",
        description: "Traffic between nodes, by interface and by agent: how much, how fast, and what goes wrong.",
        devices: Devices::Interfaces,
        agents: Some("net_socket_bytes_total"),
        marks: vec![Mark::crashes()],
        rows: vec![
            well(),
            peers(),
            interfaces(),
            agents(),
            connections(),
            times(),
        ],
    }
}

fn well() -> Row {
    let panels = vec![
        Panel::stat(
            "Received",
            "Bps",
            "Bytes that all interfaces but loopback received.",
            "sum(rate(node_network_receive_bytes_total{device!=\"lo\"}[$__rate_interval]))",
        ),
        Panel::stat(
            "Sent",
            "Bps",
            "Bytes that all interfaces but loopback sent.",
            "sum(rate(node_network_transmit_bytes_total{device!=\"lo\"}[$__rate_interval]))",
        ),
        Panel::stat(
            "Round trip",
            "s",
            "Median of the smoothed round-trip times of all TCP connections.",
            "histogram_quantile(0.5, sum by (le) (rate(tcp_rtt_seconds_bucket[$__rate_interval])))",
        ),
        Panel::stat(
            "Sent once more",
            "percentunit",
            "TCP segments that were sent once more, of all packets sent. Of all agents and interfaces, \
             whatever is chosen.",
            "sum(rate(tcp_retransmits_total[$__rate_interval])) \
             / sum(rate(node_network_transmit_packets_total[$__rate_interval]))",
        )
        .from(&[(0.001, "yellow"), (0.01, "red")]),
        Panel::stat(
            "Failed connects",
            "ops",
            "Attempts to connect that failed.",
            "sum(rate(tcp_connections_total{outcome!=\"success\"}[$__rate_interval])) or vector(0)",
        )
        .from(&[(0.1, "yellow"), (1.0, "red")]),
        Panel::stat(
            "Errors and drops",
            "pps",
            "Packets that interfaces received or sent with an error, or dropped.",
            "sum(rate(node_network_receive_errs_total[$__rate_interval])) \
             + sum(rate(node_network_transmit_errs_total[$__rate_interval])) \
             + sum(rate(node_network_receive_drop_total[$__rate_interval])) \
             + sum(rate(node_network_transmit_drop_total[$__rate_interval]))",
        )
        .from(&[(0.1, "yellow"), (10.0, "red")]),
    ];
    let title = "Is it well?";
    Row { title, panels }
}

fn peers() -> Row {
    let panels = vec![
        Panel::series(
            "Bytes exchanged with peers",
            "Bps",
            "Bytes over TCP and connected UDP sockets, by the peers of the configuration.",
        )
        .query(
            "{{instance}} with {{peer}}, {{direction}}",
            "sum by (instance, peer, direction) (rate(cluster_peer_bytes_total[$__rate_interval]))",
        ),
        Panel::quantiles(
            "Round trips to peers",
            "Smoothed round-trip times to each peer: the median, and what one in a hundred exceeds.",
            "cluster_peer_rtt_seconds_bucket",
            "instance, peer",
            [
                "half, {{instance}} to {{peer}}",
                "99 %, {{instance}} to {{peer}}",
            ],
        ),
        Panel::heatmap(
            "Round trips to all peers",
            "How many samples a second of smoothed round-trip times were how long.",
            "cluster_peer_rtt_seconds_bucket",
        ),
        Panel::table(
            "Peers",
            "none",
            "The other nodes that each node is configured to know, with their type.",
        )
        .query("Known", "max by (instance, peer, type) (cluster_peer_info)")
        .wide(12),
    ];
    let title = "Between nodes";
    Row { title, panels }
}

fn interfaces() -> Row {
    let panels = vec![
        Panel::series("Traffic by interface", "Bps", "Bytes that each interface received and sent.")
            .query(
                "in, {{device}}, {{instance}}",
                "rate(node_network_receive_bytes_total[$__rate_interval])",
            )
            .query(
                "out, {{device}}, {{instance}}",
                "rate(node_network_transmit_bytes_total[$__rate_interval])",
            ),
        Panel::series(
            "Use of the link",
            "percentunit",
            "Bytes of the busier direction, of what the link can carry, where the interface tells its speed.",
        )
        .query(
            "in, {{device}}, {{instance}}",
            "rate(node_network_receive_bytes_total[$__rate_interval]) / (node_network_speed_bytes > 0)",
        )
        .query(
            "out, {{device}}, {{instance}}",
            "rate(node_network_transmit_bytes_total[$__rate_interval]) / (node_network_speed_bytes > 0)",
        )
        .from(&[(0.9, "red")]),
        Panel::series("Packets", "pps", "Packets that each interface received and sent.")
            .query(
                "in, {{device}}, {{instance}}",
                "rate(node_network_receive_packets_total[$__rate_interval])",
            )
            .query(
                "out, {{device}}, {{instance}}",
                "rate(node_network_transmit_packets_total[$__rate_interval])",
            ),
        Panel::series(
            "Errors and drops by interface",
            "pps",
            "Packets with an error, and packets that were dropped.",
        )
        .query(
            "errors in, {{device}}, {{instance}}",
            "sum by (device, instance) (rate(node_network_receive_errs_total[$__rate_interval]))",
        )
        .query(
            "errors out, {{device}}, {{instance}}",
            "sum by (device, instance) (rate(node_network_transmit_errs_total[$__rate_interval]))",
        )
        .query(
            "dropped in, {{device}}, {{instance}}",
            "sum by (device, instance) (rate(node_network_receive_drop_total[$__rate_interval]))",
        )
        .query(
            "dropped out, {{device}}, {{instance}}",
            "sum by (device, instance) (rate(node_network_transmit_drop_total[$__rate_interval]))",
        ),
    ];
    let title = "Interfaces";
    Row { title, panels }
}

fn agents() -> Row {
    let panels = vec![
        Panel::series(
            "Bytes by agent",
            "Bps",
            "Bytes that each agent sent and received through sockets, those within the node included.",
        )
        .query(
            "{{agent}}, {{direction}}",
            "sum by (agent, direction) (rate(net_socket_bytes_total[$__rate_interval]))",
        ),
        Panel::series(
            "Bytes by protocol",
            "Bps",
            "Bytes through sockets, by protocol.",
        )
        .query(
            "{{protocol}}, {{direction}}",
            "sum by (protocol, direction) (rate(net_socket_bytes_total[$__rate_interval]))",
        ),
        Panel::series(
            "Bytes that stay on the node",
            "Bps",
            "The part of them that went to the node itself, by way of IP.",
        )
        .query(
            "{{agent}}, {{direction}}",
            "sum by (agent, direction) (rate(net_loopback_bytes_total[$__rate_interval]))",
        ),
        Panel::series(
            "Bytes by message",
            "bytes",
            "Mean size of what is sent or received at once. Small messages cost much.",
        )
        .query(
            "{{agent}}, {{direction}}",
            "sum by (agent, direction) (rate(agent_message_bytes_total[$__rate_interval])) \
             / sum by (agent, direction) (rate(agent_messages_total[$__rate_interval]))",
        ),
    ];
    let title = "By agent";
    Row { title, panels }
}

fn connections() -> Row {
    let panels = vec![
        Panel::series(
            "New connections",
            "ops",
            "TCP connections that were established, by who began them.",
        )
        .query(
            "{{agent}}, {{role}}",
            "sum by (agent, role) \
             (rate(tcp_connections_total{outcome=\"success\"}[$__rate_interval]))",
        ),
        Panel::series(
            "Connections that failed",
            "ops",
            "Attempts to connect that failed, and how.",
        )
        .query(
            "{{agent}}: {{outcome}}",
            "sum by (agent, outcome) \
             (rate(tcp_connections_total{outcome!=\"success\"}[$__rate_interval]))",
        ),
        Panel::series(
            "Segments sent once more",
            "pps",
            "TCP segments that got lost or came too late.",
        )
        .query(
            "{{agent}}",
            "sum by (agent) (rate(tcp_retransmits_total[$__rate_interval]))",
        ),
        Panel::quantiles(
            "Life of connections",
            "From the establishment to the end: the median, and what one in a hundred exceeds.",
            "tcp_connection_duration_seconds_bucket",
            "agent",
            ["half, {{agent}}", "99 %, {{agent}}"],
        ),
    ];
    let title = "Connections";
    Row { title, panels }
}

fn times() -> Row {
    let panels = vec![
        Panel::quantiles(
            "Time to connect",
            "From the first segment to the establishment: the median, and what one in a hundred exceeds.",
            "tcp_connect_duration_seconds_bucket",
            "agent",
            ["half, {{agent}}", "99 %, {{agent}}"],
        ),
        Panel::heatmap(
            "Time to connect, all agents",
            "How many connections a second took how long to be established.",
            "tcp_connect_duration_seconds_bucket",
        ),
        Panel::quantiles(
            "Round trips",
            "Smoothed round-trip times, sampled at most every 100 ms of each connection.",
            "tcp_rtt_seconds_bucket",
            "agent",
            ["half, {{agent}}", "99 %, {{agent}}"],
        ),
        Panel::heatmap(
            "Round trips, all agents",
            "How many samples a second of smoothed round-trip times were how long.",
            "tcp_rtt_seconds_bucket",
        ),
    ];
    let title = "Times";
    Row { title, panels }
}
