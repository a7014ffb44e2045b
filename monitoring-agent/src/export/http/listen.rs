//! Opens the listening socket, and says in the operator's words why it cannot.

use std::{io, net::SocketAddr};

use anyhow::Context as _;
use tokio::net::{TcpListener, TcpSocket};

/// Connections that the kernel holds for the agent to accept.
const BACKLOG: u32 = 1024;

/// What the kernel buffers of an answer (it doubles the number). Without a bound, clients that do
/// not read could hold megabytes of kernel memory each. A compressed scrape fits.
const SEND_BUFFER_BYTES: u32 = 64 * 1024;

/// Listens at `addr`.
///
/// # Errors
///
/// When it cannot; the message names the configuration's key, its value, and the cure.
#[allow(
    clippy::unused_async,
    reason = "a listener can only be made on a runtime"
)]
pub async fn bind(addr: SocketAddr) -> anyhow::Result<TcpListener> {
    listen(addr)
        .with_context(|| format!("listen at {addr}"))
        .map_err(|error| {
            let kind = error.downcast_ref::<io::Error>().map(io::Error::kind);
            match kind.and_then(|kind| cure(kind, addr)) {
                Some(cure) => error.context(cure),
                None => error,
            }
        })
}

fn listen(addr: SocketAddr) -> io::Result<TcpListener> {
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

fn cure(kind: io::ErrorKind, addr: SocketAddr) -> Option<String> {
    let (address, port) = (addr.ip(), addr.port());
    match kind {
        io::ErrorKind::AddrInUse => Some(format!(
            "monitoring.metrics_port = {port}: another process listens on this port of {address}. \
             `ss -ltnp 'sport = :{port}'` shows which; stop it, or choose another port"
        )),
        io::ErrorKind::PermissionDenied => Some(format!(
            "monitoring.metrics_port = {port}: this user may not listen on this port. Choose one \
             above 1023, or give the agent CAP_NET_BIND_SERVICE"
        )),
        io::ErrorKind::AddrNotAvailable => Some(format!(
            "monitoring.bind_address = \"{address}\": no interface of this machine has this \
             address. `ip address` lists them; 0.0.0.0 or :: means all"
        )),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn check_error(addr: SocketAddr, wants: &[&str]) {
        let message = format!("{:#}", bind(addr).await.unwrap_err());
        for want in wants {
            assert!(message.contains(want), "{message:?} lacks {want:?}");
        }
    }

    #[tokio::test]
    async fn errors_name_key_value_and_cure() {
        let taken = bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let addr = taken.local_addr().unwrap();
        let port = addr.port();
        check_error(
            addr,
            &[
                &format!("monitoring.metrics_port = {port}"),
                "127.0.0.1",
                "ss -ltnp",
                "os error",
            ],
        )
        .await;
        // An address of the range that is reserved for documentation.
        check_error(
            "192.0.2.1:0".parse().unwrap(),
            &["monitoring.bind_address = \"192.0.2.1\"", "0.0.0.0"],
        )
        .await;
    }

    #[test]
    fn every_cause_has_a_cure() {
        let addr: SocketAddr = "[::1]:80".parse().unwrap();
        let denied = cure(io::ErrorKind::PermissionDenied, addr).unwrap();
        assert!(denied.contains("monitoring.metrics_port = 80"), "{denied}");
        assert!(denied.contains("CAP_NET_BIND_SERVICE"), "{denied}");
        assert_eq!(cure(io::ErrorKind::OutOfMemory, addr), None);
    }
}
