//! The first segments of connections, as they are on the wire: by a raw socket, which gets a copy of
//! every TCP segment that comes to this machine.

use std::{
    io::Read as _,
    os::fd::{FromRawFd as _, OwnedFd},
};

/// TCP's flags `SYN` and `ACK`.
const SYN: u8 = 0x02;
const ACK: u8 = 0x10;

/// Where TCP's header has them, and its shortest length.
const SEQUENCE_AT: usize = 4;
const FLAGS_AT: usize = 13;
const HEADER_SIZE: usize = 20;

/// Raw sockets for IPv4, which give IP's header too, and for IPv6, which do not.
pub(super) struct Segments {
    sockets: [(std::fs::File, bool); 2],
}

impl Segments {
    /// What comes from now on.
    pub(super) fn new() -> Self {
        let sockets = [(libc::AF_INET, true), (libc::AF_INET6, false)];
        let sockets = sockets.map(|(family, has_ip)| {
            let kind = libc::SOCK_RAW | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
            // SAFETY: takes numbers only.
            let socket = unsafe { libc::socket(family, kind, libc::IPPROTO_TCP) };
            assert!(socket >= 0, "{}", std::io::Error::last_os_error());
            // SAFETY: the descriptor is new.
            (unsafe { OwnedFd::from_raw_fd(socket) }.into(), has_ip)
        });
        Self { sockets }
    }

    /// The initial sequence numbers of the connection between these ports: the client's and the
    /// server's.
    pub(super) fn initial_sequences(&self, client: u16, server: u16) -> (u32, u32) {
        let mut found = [None; 2];
        let mut packet = vec![0; 1 << 16];
        for (socket, has_ip) in &self.sockets {
            let mut socket = socket;
            while let Ok(length) = socket.read(&mut packet) {
                let ip = if *has_ip {
                    usize::from(packet[0] & 0xf) * 4
                } else {
                    0
                };
                let tcp = &packet[ip..length];
                assert!(tcp.len() >= HEADER_SIZE);
                let port = |at| u16::from_be_bytes([tcp[at], tcp[at + 1]]);
                let sequence = tcp[SEQUENCE_AT..].first_chunk().unwrap();
                let sequence = u32::from_be_bytes(*sequence);
                match (port(0), port(2), tcp[FLAGS_AT] & (SYN | ACK)) {
                    (from, to, SYN) if (from, to) == (client, server) => found[0] = Some(sequence),
                    (from, to, flags) if (from, to) == (server, client) && flags == SYN | ACK => {
                        found[1] = Some(sequence);
                    }
                    _ => {}
                }
            }
        }
        let [client, server] = found.map(|sequence| sequence.expect("the first segments"));
        (client, server)
    }
}
