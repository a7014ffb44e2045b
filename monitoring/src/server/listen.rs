//! Opens the listening socket, and says in words why it cannot be had.
//!
//! Knows no configuration's keys.

use std::{io, net::SocketAddr};

use tokio::net::{TcpListener, TcpSocket};

/// Connections that the kernel holds for the server to accept.
const BACKLOG: u32 = 1024;

/// What the kernel buffers of an answer (it doubles the number). Without a bound, clients that do
/// not read could hold megabytes of kernel memory each. A compressed scrape fits.
const SEND_BUFFER_BYTES: u32 = 64 * 1024;

/// Listens at `addr`. Has to be called on a runtime.
///
/// # Errors
///
/// When it cannot; [`cure`] says what helps.
pub fn listen(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = if addr.is_ipv4() {
        TcpSocket::new_v4()
    } else {
        TcpSocket::new_v6()
    }?;
    // A restarted agent takes its port back although old connections still linger in TIME_WAIT.
    socket.set_reuseaddr(true)?;
    socket.set_send_buffer_size(SEND_BUFFER_BYTES)?;
    socket.bind(addr)?;
    socket.listen(BACKLOG)
}

/// What is to be set differently where listening is impossible.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setting {
    /// The port.
    Port,
    /// The address.
    Address,
}

/// What is wrong with `addr`, and what helps. `None` where it is not known.
pub fn cure(kind: io::ErrorKind, addr: SocketAddr) -> Option<(Setting, String)> {
    let (address, port) = (addr.ip(), addr.port());
    Some(match kind {
        io::ErrorKind::AddrInUse => (
            Setting::Port,
            format!(
                "another process listens on this port of {address}. `ss -ltnp 'sport = :{port}'` \
                 shows which; stop it, or choose another port"
            ),
        ),
        io::ErrorKind::PermissionDenied => (
            Setting::Port,
            "this user may not listen on this port. Choose one above 1023, or give the program \
             CAP_NET_BIND_SERVICE"
                .to_owned(),
        ),
        io::ErrorKind::AddrNotAvailable => (
            Setting::Address,
            "no interface of this machine has this address. `ip address` lists them; 0.0.0.0 or \
             :: means all"
                .to_owned(),
        ),
        _ => return None,
    })
}
