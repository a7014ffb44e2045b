//! Whose spans they are: of who connects, and of who first uses a connection that was accepted.

use std::{
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    os::fd::AsRawFd as _,
    thread,
};

use monitoring_common::trace::{
    detail::{TcpDetail, role},
    kind::{TCP_CONNECT, TCP_CONNECTION},
};

use super::{FAMILIES, V4, all, both, end, everything, is_of, pair};
use crate::{
    node::{Node, losses},
    trace::{gettid, reader::Traced},
    work,
};

/// Whether the kernel tells of messages; before 6.3 it does not, and whoever listens is the one.
fn tells_of_messages(node: &mut Node) -> bool {
    let batch = node.collect("net");
    assert_eq!(losses(&batch), []);
    let mut programs = batch.programs.iter();
    programs.any(|program| program.name == "sock_recv_length" && program.attached)
}

#[test]
fn the_thread_that_connects_and_the_process_that_serves() {
    let mut traced = everything();
    let listener = TcpListener::bind((V4, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let connecting = thread::spawn(move || (TcpStream::connect(address).unwrap(), gettid()));
    let (mut client, client_thread) = connecting.join().unwrap();
    // Accepted by this process, served by another one.
    let (server, _) = listener.accept().unwrap();
    let child = work::Forked::start(|| {
        let mut bytes = [0_u8; 4];
        // SAFETY: reads into a buffer of its own.
        unsafe {
            libc::recv(
                server.as_raw_fd(),
                bytes.as_mut_ptr().cast(),
                4,
                libc::MSG_WAITALL,
            )
        };
    });
    client.write_all(b"word").unwrap();
    let child_pid = child.pid();
    assert_eq!(child.wait(), 0);
    drop((server, client));
    let spans = traced.wait_for::<TcpDetail>(TCP_CONNECTION, 2, is_of(address.port()));
    let [client, server] = both(&spans).map(|span| span.header);
    assert_eq!(
        (client.pid, client.tid),
        (std::process::id(), client_thread)
    );
    let me = (std::process::id(), gettid());
    let user = if tells_of_messages(&mut traced.node) {
        (child_pid, child_pid)
    } else {
        me
    };
    assert_eq!((server.pid, server.tid), user);
    let handshake = traced.wait_for::<TcpDetail>(TCP_CONNECT, 1, is_of(address.port()));
    assert_eq!(handshake[0].header.tid, client_thread);
}

#[test]
fn a_connection_that_nobody_used_is_of_who_listens() {
    let mut traced = everything();
    let listener = TcpListener::bind((V4, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(pair(&listener));
    let spans = traced.wait_for::<TcpDetail>(TCP_CONNECTION, 2, is_of(port));
    assert_eq!(end(&spans, role::SERVER).header.pid, std::process::id());
}

#[test]
fn what_was_there_before_the_agent() {
    let listener = TcpListener::bind((V4, 0)).unwrap();
    let (old_client, old_server) = pair(&listener);
    let old_port = old_client.local_addr().unwrap().port();
    let mut traced = everything();
    // A listener that was found: its new connections are told of.
    let (client, server) = pair(&listener);
    let port = client.local_addr().unwrap().port();
    for (from, to) in [(&old_client, &old_server), (&client, &server)] {
        let (mut from, mut to) = (from, to);
        from.write_all(&[1; 5]).unwrap();
        to.read_exact(&mut [0; 5]).unwrap();
    }
    drop((old_client, old_server, client, server));
    let spans = traced.wait_for::<TcpDetail>(TCP_CONNECTION, 2, is_of(port));
    for span in both(&spans) {
        assert_eq!(span.header.pid, std::process::id());
    }
    // Nobody knows when these began.
    assert_eq!(
        traced.spans::<TcpDetail>(TCP_CONNECTION, is_of(old_port)),
        []
    );
    traced.assert_counted::<TcpDetail>(TCP_CONNECTION, 2, 0);
}

#[test]
fn the_rest_of_the_node_is_not_told_of() {
    let mut traced = Traced::start(&FAMILIES, |config| {
        all(config);
        config.agents.clear();
    });
    let listener = TcpListener::bind((V4, 0)).unwrap();
    drop(pair(&listener));
    let closed = listener.local_addr().unwrap();
    drop(listener);
    TcpStream::connect(closed).unwrap_err();
    traced.assert_counted::<TcpDetail>(TCP_CONNECTION, 0, 0);
    traced.assert_counted::<TcpDetail>(TCP_CONNECT, 0, 0);
}
