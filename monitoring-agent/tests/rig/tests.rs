//! The rig itself: what it says of its wires is true.

use std::{fs, process, time::Duration};

use super::{Loss, Namespace, Plan, Program, Role, Wire, retransmitted, smoothed_rtts};
use crate::poll::poll_until;

const PATIENCE: Duration = Duration::from_mins(1);

fn plan(connections: usize, rounds: usize, message_size: usize) -> Plan {
    Plan {
        addresses: Wire::server_addresses().to_vec(),
        connections,
        lanes: 4,
        rounds,
        message_size,
    }
}

/// Runs both programs; `look` sees the last connections open.
fn exchange(wire: &Wire, plan: &Plan, look: impl FnOnce()) {
    let mut server = Program::start(&wire.server, Role::Server, plan);
    let mut client = Program::start(&wire.client, Role::Client, plan);
    server.begin();
    client.begin();
    client.wait_until_exchanged(PATIENCE);
    server.wait_until_exchanged(PATIENCE);
    look();
    client.end();
    server.end();
}

/// Bytes that the node received over its wire.
fn received(node: &Namespace) -> usize {
    let text = node.within(|| fs::read_to_string("/proc/thread-self/net/dev").unwrap());
    let line = text
        .lines()
        .find_map(|line| line.trim().strip_prefix("wire:"));
    let bytes = line.unwrap().split_whitespace().next().unwrap();
    bytes.parse().unwrap()
}

#[test]
fn bytes_cross_the_fast_wire() {
    let wire = Wire::fast();
    let plan = plan(40, 2, 200_000);
    exchange(&wire, &plan, || {
        assert_eq!(smoothed_rtts(&wire.client).len(), plan.lanes);
    });
    let all = plan.bytes_per_address() * plan.addresses.len();
    for node in [&wire.client, &wire.server] {
        let bytes = received(node);
        assert!((all..2 * all).contains(&bytes), "{bytes} of {all}");
    }
}

#[test]
fn the_slow_wire_has_its_delay() {
    let delay = Duration::from_millis(20);
    let wire = Wire::slow(delay);
    // A busy machine adds to round trips, and not always: one exchange without shows that they are
    // not the sum of several.
    poll_until("an exchange with single round trips", || {
        let mut single = true;
        exchange(&wire, &plan(4, 20, 1000), || {
            for node in [&wire.client, &wire.server] {
                let rtts = smoothed_rtts(node);
                assert_eq!(rtts.len(), 4);
                for rtt in rtts {
                    assert!(rtt >= 2 * delay, "{rtt:?}");
                    single &= rtt < 4 * delay;
                }
            }
        });
        single.then_some(())
    });
}

#[test]
fn every_so_manieth_packet_is_lost() {
    let wire = Wire::fast();
    let losses = [&wire.client, &wire.server].map(|node| Loss::every(50, node));
    exchange(&wire, &plan(20, 1, 1_000_000), || {});
    for (loss, node) in losses.iter().zip([&wire.client, &wire.server]) {
        let (packets, drops) = loss.packets_and_drops();
        assert!(drops > 0 && drops == packets / 50, "{drops} of {packets}");
        let again = retransmitted(node);
        assert!(again > 0, "{drops} lost, {again} sent again");
    }
}

#[test]
fn what_a_test_makes_ends_with_it() {
    let wire = Wire::fast();
    let plan = plan(4, 1, 1000);
    let program = Program::start(&wire.server, Role::Server, &plan);
    let inode = |path: &str| fs::read_link(path).unwrap();
    let namespace = inode(&wire.server.path());
    let users = || {
        let processes = fs::read_dir("/proc").unwrap().map_while(Result::ok);
        let of = |entry: fs::DirEntry| fs::read_link(entry.path().join("ns/net")).ok();
        processes
            .filter_map(of)
            .filter(|found| *found == namespace)
            .count()
    };
    assert_eq!(users(), 1);
    drop(program);
    assert_eq!(users(), 0);
    // Nothing but the descriptor holds it now: no mount, no name.
    let mounts = fs::read_to_string(format!("/proc/{}/mountinfo", process::id())).unwrap();
    let name = namespace.to_str().unwrap();
    assert!(!mounts.contains(name), "{mounts}");
}
