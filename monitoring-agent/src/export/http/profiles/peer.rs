//! The other side of a connection: where it is, and whether it has gone.

use std::{
    future::pending,
    io,
    net::SocketAddr,
    os::fd::{AsRawFd as _, BorrowedFd, RawFd},
};

use tokio::{io::Interest, net::TcpStream};

/// The client of a connection. Only valid while the connection's stream lives; it is made for the
/// requests of that connection alone, and these end before it.
#[derive(Clone, Copy, Debug)]
pub(in crate::export::http) struct Peer {
    pub(super) address: Option<SocketAddr>,
    socket: RawFd,
}

impl Peer {
    pub(in crate::export::http) fn of(stream: &TcpStream) -> Self {
        Self {
            // Of a connection that is broken already there is none.
            address: stream.peer_addr().ok(),
            socket: stream.as_raw_fd(),
        }
    }

    /// Ready when the client has closed its side: it waits for nothing more. One that only says
    /// that it will send nothing more cannot be told from it, and counts as gone.
    ///
    /// The HTTP library does not read while an answer is made, so it does not notice.
    pub(super) async fn gone(self) {
        // SAFETY: requests are answered by the connection that owns the stream, so the descriptor
        // is open here; from then on this has one of its own.
        let socket = unsafe { BorrowedFd::borrow_raw(self.socket) }.try_clone_to_owned();
        let watched = socket.and_then(|socket| TcpStream::from_std(socket.into()));
        let Ok(watched) = watched else {
            // No descriptor is left: then nobody notices, and the capture takes its time.
            return pending().await;
        };
        while let Ok(ready) = watched.ready(Interest::READABLE).await {
            if ready.is_read_closed() {
                return;
            }
            // The next request came early. It is not read here, and what follows it is news again.
            let not_read = || Err::<(), _>(io::ErrorKind::WouldBlock.into());
            let _ = watched.try_io(Interest::READABLE, not_read);
        }
    }
}
