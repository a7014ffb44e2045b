//! Opens the listening socket, and says in the operator's words why it cannot.

use std::{io, net::SocketAddr};

use anyhow::Context as _;
use monitoring::server::listen::{self, Setting};
use tokio::net::TcpListener;

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
    listen::listen(addr)
        .with_context(|| format!("listen at {addr}"))
        .map_err(|error| {
            let kind = error.downcast_ref::<io::Error>().map(io::Error::kind);
            match kind.and_then(|kind| cure(kind, addr)) {
                Some(cure) => error.context(cure),
                None => error,
            }
        })
}

fn cure(kind: io::ErrorKind, addr: SocketAddr) -> Option<String> {
    let (setting, cure) = listen::cure(kind, addr)?;
    Some(match setting {
        Setting::Port => format!("monitoring.metrics_port = {}: {cure}", addr.port()),
        Setting::Address => format!("monitoring.bind_address = \"{}\": {cure}", addr.ip()),
    })
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
