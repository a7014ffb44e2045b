//! What the kernel itself and iproute2 say of a node's connections.

use std::{fs, time::Duration};

use super::Namespace;
use crate::poll::poll_until;

/// Segments that the node's TCP sent again, by the kernel's own count. nstat says the same, once
/// nothing is sent again between the two looks.
pub(crate) fn retransmitted(node: &Namespace) -> u64 {
    poll_until("the kernel and nstat agree", || {
        let count = in_snmp(node);
        (in_nstat(node) == count).then_some(count)
    })
}

fn in_snmp(node: &Namespace) -> u64 {
    let text = node.within(|| fs::read_to_string("/proc/thread-self/net/snmp").unwrap());
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("Tcp: "));
    let (names, values) = (lines.next().unwrap(), lines.next().unwrap());
    let mut pairs = names.split(' ').zip(values.split(' '));
    let (_, value) = pairs.find(|(name, _)| *name == "RetransSegs").unwrap();
    value.parse().unwrap()
}

fn in_nstat(node: &Namespace) -> u64 {
    // Without a history, which would be a file.
    let text = node.output("nstat", &["-asz", "TcpRetransSegs"]);
    let mut fields = text.lines().last().unwrap().split_whitespace();
    assert_eq!(fields.next(), Some("TcpRetransSegs"), "{text}");
    fields.next().unwrap().parse().unwrap()
}

/// The smoothed round-trip time of each of the node's open connections, by ss, ascending.
pub(crate) fn smoothed_rtts(node: &Namespace) -> Vec<Duration> {
    let text = node.output("ss", &["-tinH", "state", "established"]);
    let fields = text.split_whitespace();
    let rtts = fields.filter_map(|field| field.strip_prefix("rtt:")?.split('/').next());
    let mut rtts: Vec<_> = rtts
        .map(|ms| Duration::from_secs_f64(ms.parse::<f64>().unwrap() / 1e3))
        .collect();
    rtts.sort();
    rtts
}
