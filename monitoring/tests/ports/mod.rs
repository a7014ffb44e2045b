//! Ports for servers that tests start. Knows nothing of what listens at them.

use std::{net::SocketAddr, sync::Mutex};

use tokio::net::TcpSocket;

/// Sockets that keep ports from everybody who asks for any free one, for as long as this process
/// lives.
static KEPT: Mutex<Vec<TcpSocket>> = Mutex::new(Vec::new());

/// An address of this machine at which nobody listens, and whose port the kernel gives to nobody
/// else. Whoever lets an address be taken again, as most servers do, can listen there still: a
/// socket that is bound in the same way and does not listen is not in the way.
pub(crate) fn kept() -> SocketAddr {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = socket.local_addr().unwrap();
    KEPT.lock().unwrap().push(socket);
    address
}
