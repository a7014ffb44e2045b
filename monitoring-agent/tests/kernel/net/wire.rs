//! Ways to send and to receive: each of the system calls that move bytes through a socket.

use std::{
    io,
    net::{IpAddr, TcpListener, TcpStream},
    os::fd::{AsRawFd, FromRawFd as _, OwnedFd, RawFd},
    ptr,
};

/// A connection to a listener on `address`: the connecting and the accepting end.
pub(super) fn tcp_pair(address: IpAddr) -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind((address, 0)).unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (server, _) = listener.accept().unwrap();
    (client, server)
}

/// A pair of Unix sockets.
pub(super) fn unix_pair(kind: libc::c_int) -> (OwnedFd, OwnedFd) {
    let mut ends = [0; 2];
    // SAFETY: the kernel fills in two descriptors.
    check(unsafe { libc::socketpair(libc::AF_UNIX, kind, 0, ends.as_mut_ptr()) });
    // SAFETY: they are open and nobody else's.
    ends.map(|end| unsafe { OwnedFd::from_raw_fd(end) }).into()
}

/// What a system call returned, as a count.
pub(super) fn check(result: impl TryInto<i64>) -> usize {
    let result = result.try_into().unwrap_or(-1);
    usize::try_from(result).unwrap_or_else(|_| panic!("{}", io::Error::last_os_error()))
}

fn parts(buffer: &mut [u8]) -> [libc::iovec; 2] {
    let (first, second) = buffer.split_at_mut(buffer.len() / 2);
    [first, second].map(|part| libc::iovec {
        iov_base: part.as_mut_ptr().cast(),
        iov_len: part.len(),
    })
}

fn header(parts: &mut [libc::iovec]) -> libc::msghdr {
    // SAFETY: a header of zeros has no address and no control data.
    let mut header = unsafe { std::mem::zeroed::<libc::msghdr>() };
    header.msg_iov = parts.as_mut_ptr();
    header.msg_iovlen = parts.len() as _;
    header
}

/// A way to move bytes; returns how many messages it were and how many bytes.
pub(super) type Way = fn(RawFd, &mut [u8]) -> (usize, usize);

/// Every way to send whose number of messages is known, for connected sockets of all kinds.
pub(super) const WAYS_TO_SEND: &[(&str, Way)] = &[
    // SAFETY: the buffers outlive the call and have the length that is given.
    ("write", |socket, buffer| unsafe {
        (
            1,
            check(libc::write(socket, buffer.as_ptr().cast(), buffer.len())),
        )
    }),
    // SAFETY: the buffers outlive the call and have the length that is given.
    ("writev", |socket, buffer| unsafe {
        (1, check(libc::writev(socket, parts(buffer).as_ptr(), 2)))
    }),
    // SAFETY: the buffers outlive the call and have the length that is given.
    ("send", |socket, buffer| unsafe {
        (
            1,
            check(libc::send(socket, buffer.as_ptr().cast(), buffer.len(), 0)),
        )
    }),
    // SAFETY: the buffers outlive the call and have the length that is given.
    ("sendto", |socket, buffer| unsafe {
        let (data, length) = (buffer.as_ptr().cast(), buffer.len());
        (
            1,
            check(libc::sendto(socket, data, length, 0, ptr::null(), 0)),
        )
    }),
    // SAFETY: the buffers outlive the call and have the length that is given.
    ("sendmsg", |socket, buffer| unsafe {
        let mut parts = parts(buffer);
        (1, check(libc::sendmsg(socket, &header(&mut parts), 0)))
    }),
    // SAFETY: the buffers outlive the call and have the length that is given.
    ("sendmmsg", |socket, buffer| unsafe {
        let mut parts = parts(buffer);
        let mut headers = parts.each_mut().map(|part| libc::mmsghdr {
            msg_hdr: header(std::slice::from_mut(part)),
            msg_len: 0,
        });
        let sent = check(libc::sendmmsg(socket, headers.as_mut_ptr(), 2, 0));
        (
            sent,
            headers.iter().map(|header| header.msg_len as usize).sum(),
        )
    }),
];

/// Every way to receive.
pub(super) const WAYS_TO_RECEIVE: &[(&str, Way)] = &[
    // SAFETY: the buffers outlive the call and have the length that is given.
    ("read", |socket, buffer| unsafe {
        (
            1,
            check(libc::read(socket, buffer.as_mut_ptr().cast(), buffer.len())),
        )
    }),
    // SAFETY: the buffers outlive the call and have the length that is given.
    ("readv", |socket, buffer| unsafe {
        (1, check(libc::readv(socket, parts(buffer).as_ptr(), 2)))
    }),
    // SAFETY: the buffers outlive the call and have the length that is given.
    ("recv", |socket, buffer| unsafe {
        (
            1,
            check(libc::recv(
                socket,
                buffer.as_mut_ptr().cast(),
                buffer.len(),
                0,
            )),
        )
    }),
    // SAFETY: the buffers outlive the call and have the length that is given.
    ("recvmsg", |socket, buffer| unsafe {
        let mut parts = parts(buffer);
        (1, check(libc::recvmsg(socket, &mut header(&mut parts), 0)))
    }),
    // SAFETY: the buffers outlive the call and have the length that is given.
    ("recvmmsg", |socket, buffer| unsafe {
        let mut parts = parts(buffer);
        let mut headers = [libc::mmsghdr {
            msg_hdr: header(&mut parts),
            msg_len: 0,
        }];
        let none = ptr::null_mut();
        let got = check(libc::recvmmsg(socket, headers.as_mut_ptr(), 1, 0, none));
        (got, headers[0].msg_len as usize)
    }),
    // SAFETY: the buffers outlive the call and have the length that is given.
    ("peek, then recv", |socket, buffer| unsafe {
        let (data, length) = (buffer.as_mut_ptr().cast(), buffer.len());
        check(libc::recv(socket, data, length, libc::MSG_PEEK));
        (1, check(libc::recv(socket, data, length, 0)))
    }),
];

/// Sends by `sendfile`; the kernel decides how many messages that is.
pub(super) fn send_file(socket: RawFd, length: usize) {
    let file = memory_file(length);
    let mut sent = 0;
    while sent < length {
        // SAFETY: no offset is given, so that the file's own advances.
        let more =
            unsafe { libc::sendfile(socket, file.as_raw_fd(), ptr::null_mut(), length - sent) };
        sent += check(more);
    }
}

/// Sends by `splice` from a pipe, into which the bytes were spliced from a file.
pub(super) fn send_by_splice(socket: RawFd, length: usize) {
    let file = memory_file(length);
    let (from, into) = io::pipe().unwrap();
    let none = ptr::null_mut;
    let mut sent = 0;
    while sent < length {
        // SAFETY: no offsets are given.
        let piped = check(unsafe {
            libc::splice(
                file.as_raw_fd(),
                none(),
                into.as_raw_fd(),
                none(),
                length - sent,
                0,
            )
        });
        let mut left = piped;
        while left > 0 {
            // SAFETY: as above.
            left -=
                check(unsafe { libc::splice(from.as_raw_fd(), none(), socket, none(), left, 0) });
        }
        sent += piped;
    }
}

fn memory_file(length: usize) -> OwnedFd {
    // SAFETY: the name is a string, and the descriptor is new.
    let file = unsafe {
        let file = libc::memfd_create(c"bytes".as_ptr(), 0);
        check(file);
        OwnedFd::from_raw_fd(file)
    };
    // SAFETY: changes only the file's length.
    check(unsafe { libc::ftruncate(file.as_raw_fd(), length.try_into().unwrap()) });
    file
}

/// Receives exactly so many bytes of a stream by `recv`; returns how many messages that was.
pub(super) fn receive_all(socket: &impl AsRawFd, length: usize) -> u64 {
    let mut buffer = vec![0_u8; 64 * 1024];
    let (mut received, mut messages) = (0, 0);
    while received < length {
        let wanted = buffer.len().min(length - received);
        // SAFETY: the buffer outlives the call and is at least as long.
        let more = unsafe { libc::recv(socket.as_raw_fd(), buffer.as_mut_ptr().cast(), wanted, 0) };
        let more = check(more);
        assert!(more > 0, "the stream ended");
        received += more;
        messages += 1;
    }
    messages
}
