//! Connections that are busy while the source starts.

use std::{
    io::Write as _,
    net::Shutdown,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
};

use super::{
    SOURCE,
    peers::{NEAR, configure, peer_bytes},
    wire::tcp_pair,
};
use crate::{node::Node, poll::poll_until};

#[test]
fn a_connection_that_never_rests_is_the_peers() {
    let (mut client, server) = tcp_pair(NEAR);
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let receiver = scope.spawn(|| std::io::copy(&mut &server, &mut std::io::sink()).unwrap());
        let sender = scope.spawn(|| {
            while !stop.load(Relaxed) {
                client.write_all(&[1; 1_000]).unwrap();
            }
            client.shutdown(Shutdown::Write).unwrap();
        });
        // It sends while the programs are attached one after the other.
        let mut node = Node::with(&["process", SOURCE], configure);
        let batch = node.collect(SOURCE);
        let [before, _] = peer_bytes(&batch, "near");
        poll_until("bytes of the peer", || {
            let [sent, _] = peer_bytes(&node.collect(SOURCE), "near");
            (sent > before + 100_000).then_some(())
        });
        stop.store(true, Relaxed);
        sender.join().unwrap();
        assert!(receiver.join().unwrap() > 100_000);
    });
}
