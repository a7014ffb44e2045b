//! TCP connections: how they begin, how long they last, what had to be sent again.

use std::{
    fs,
    io::{self, Write as _},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
    thread,
    time::Instant,
};

use monitoring_agent::source::Batch;

use super::{
    SOURCE, bytes, connections, histogram, retransmits,
    second::{self, SECOND},
    wire::{check, receive_all, tcp_pair},
};
use crate::{
    node::{ME, Node, losses},
    poll::poll_until,
};

const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);

fn durations(batch: &Batch, agent: &str) -> (u64, f64) {
    histogram(
        batch,
        "tcp_connection_duration_seconds",
        &[("agent", agent)],
    )
}

fn connect_durations(batch: &Batch, agent: &str) -> (u64, f64) {
    histogram(batch, "tcp_connect_duration_seconds", &[("agent", agent)])
}

/// Waits until so many connections have ended. The kernel ends them on its own time.
fn ended(node: &mut Node, agent: &str, count: u64) -> Batch {
    poll_until("the connections have ended", || {
        let batch = node.collect(SOURCE);
        assert!(durations(&batch, agent).0 <= count, "each ends once");
        (durations(&batch, agent).0 == count).then_some(batch)
    })
}

pub(crate) fn socket(address: SocketAddr) -> OwnedFd {
    let family = if address.is_ipv4() {
        libc::AF_INET
    } else {
        libc::AF_INET6
    };
    // SAFETY: the descriptor is new.
    unsafe {
        let socket = libc::socket(family, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0);
        check(socket);
        OwnedFd::from_raw_fd(socket)
    }
}

pub(crate) fn set_option(socket: &OwnedFd, level: i32, option: i32, value: i32) {
    // SAFETY: the value is an `int`, as these options want it.
    check(unsafe {
        let size = libc::socklen_t::try_from(size_of::<i32>()).unwrap();
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            option,
            (&raw const value).cast(),
            size,
        )
    });
}

fn raw(address: SocketAddr) -> libc::sockaddr_in {
    let SocketAddr::V4(address) = address else {
        panic!("these tests need IPv4 only here");
    };
    libc::sockaddr_in {
        sin_family: libc::AF_INET.try_into().unwrap(),
        sin_port: address.port().to_be(),
        sin_addr: libc::in_addr {
            s_addr: u32::from_ne_bytes(address.ip().octets()),
        },
        sin_zero: [0; 8],
    }
}

const LENGTH: libc::socklen_t = 16;

pub(crate) fn connect(socket: &OwnedFd, to: SocketAddr) -> io::Result<()> {
    let address = raw(to);
    // SAFETY: the address is as long as it is said to be.
    match unsafe { libc::connect(socket.as_raw_fd(), (&raw const address).cast(), LENGTH) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

fn bind(socket: &OwnedFd, to: SocketAddr) {
    let address = raw(to);
    // SAFETY: as above.
    check(unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), LENGTH) });
}

/// The kernel's own count, `TcpRetransSegs`, of the calling thread's network namespace.
pub(crate) fn retransmits_in_this_network() -> u64 {
    let table = fs::read_to_string("/proc/thread-self/net/snmp").unwrap();
    let mut lines = table.lines().filter_map(|line| line.strip_prefix("Tcp:"));
    let [names, values] = [lines.next().unwrap(), lines.next().unwrap()];
    let mut columns = names.split_whitespace().zip(values.split_whitespace());
    let (_, count) = columns.find(|(name, _)| *name == "RetransSegs").unwrap();
    count.parse().unwrap()
}

/// Runs `work` on a thread with a network namespace of its own, in which nobody else sends.
pub(crate) fn in_own_network<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    let in_thread = || {
        // SAFETY: changes only what this thread sees of the network.
        check(unsafe { libc::unshare(libc::CLONE_NEWNET) });
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
        // SAFETY: a request of zeros is one without a name and flags.
        let mut request = unsafe { std::mem::zeroed::<libc::ifreq>() };
        for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
            *to = from.cast_signed();
        }
        request.ifr_ifru.ifru_flags = libc::IFF_UP.try_into().unwrap();
        // SAFETY: the request outlives the call.
        check(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) });
        work()
    };
    thread::scope(|scope| scope.spawn(in_thread).join().unwrap())
}

/// A listener that answers one connection and then no more.
pub(crate) fn full_listener() -> (OwnedFd, SocketAddr, TcpStream) {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let listener = socket(any);
    bind(&listener, any);
    // SAFETY: changes the socket's state only.
    check(unsafe { libc::listen(listener.as_raw_fd(), 0) });
    let listener = TcpListener::from(listener);
    let address = listener.local_addr().unwrap();
    let first = TcpStream::connect(address).unwrap();
    (listener.into(), address, first)
}

#[test]
fn both_ends_of_each_connection_are_counted() {
    let mut node = Node::with(&["process", SOURCE], second::configure);
    let begun = Instant::now();
    for address in [V4, V6] {
        for _ in 0..50 {
            tcp_pair(address);
        }
    }
    let batch = ended(&mut node, ME, 200);
    let elapsed_seconds = begun.elapsed().as_secs_f64();
    assert_eq!(losses(&batch), []);
    assert_eq!(connections(&batch, ME, "connect", "success"), 100);
    assert_eq!(connections(&batch, ME, "accept", "success"), 100);
    let (count, sum) = connect_durations(&batch, ME);
    assert_eq!(count, 100);
    assert!(sum > 0.0 && sum < elapsed_seconds, "{sum} s");
    // One after the other, so that all lifetimes of one end together fit in.
    let (_, sum) = durations(&batch, ME);
    assert!(sum > 0.0 && sum < 2.0 * elapsed_seconds, "{sum} s");
    let (samples, sum) = histogram(&batch, "tcp_rtt_seconds", &[("agent", ME)]);
    assert!(samples >= 200, "at least one of each end: {samples}");
    assert!(sum > 0.0 && sum < 2.0 * elapsed_seconds, "{sum} s");
}

#[test]
fn connecting_and_listening_agents_are_told_apart() {
    let mut node = Node::with(&["process", SOURCE], second::configure);
    let listener = TcpListener::bind((V4, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    second::run(&node, || {
        for _ in 0..20 {
            let _ = connect(&socket(address), address);
            // SAFETY: the listener is this process's copy of an open descriptor.
            unsafe {
                libc::close(libc::accept(
                    listener.as_raw_fd(),
                    std::ptr::null_mut(),
                    std::ptr::null_mut(),
                ))
            };
        }
    });
    let batch = ended(&mut node, SECOND, 20);
    let batch = if durations(&batch, ME).0 == 20 {
        batch
    } else {
        ended(&mut node, ME, 20)
    };
    assert_eq!(losses(&batch), []);
    assert_eq!(connections(&batch, SECOND, "connect", "success"), 20);
    assert_eq!(connections(&batch, SECOND, "accept", "success"), 0);
    assert_eq!(connections(&batch, ME, "connect", "success"), 0);
    assert_eq!(connections(&batch, ME, "accept", "success"), 20);
    assert_eq!(connect_durations(&batch, SECOND).0, 20);
    assert_eq!(connect_durations(&batch, ME).0, 0);
}

#[test]
fn a_connection_lasts_until_its_end() {
    let mut node = Node::start(&["process", SOURCE]);
    let begun = Instant::now();
    let (client, server) = tcp_pair(V4);
    let held = Instant::now();
    poll_until("a quarter of a second", || {
        (held.elapsed().as_millis() > 250).then_some(())
    });
    assert_eq!(durations(&node.collect(SOURCE), ME).0, 0, "still there");
    let held_seconds = held.elapsed().as_secs_f64();
    drop((client, server));
    let batch = ended(&mut node, ME, 2);
    let (_, sum) = durations(&batch, ME);
    let most_seconds = 2.0 * begun.elapsed().as_secs_f64();
    assert!((2.0 * held_seconds..most_seconds).contains(&sum), "{sum} s");
}

#[test]
fn attempts_that_fail_are_counted_by_reason() {
    let mut node = Node::start(&["process", SOURCE]);
    let (_listener, full, _first) = full_listener();
    let closed = TcpListener::bind((V4, 0)).unwrap().local_addr().unwrap();
    for _ in 0..5 {
        let refused = connect(&socket(closed), closed).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    }
    // Left before there was an answer.
    for _ in 0..3 {
        let leaving = socket(full);
        let flags = libc::O_NONBLOCK;
        // SAFETY: changes the descriptor's flags only.
        check(unsafe { libc::fcntl(leaving.as_raw_fd(), libc::F_SETFL, flags) });
        let error = connect(&leaving, full).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EINPROGRESS));
    }
    let batch = node.collect(SOURCE);
    assert_eq!(losses(&batch), []);
    assert_eq!(connections(&batch, ME, "connect", "refused"), 5);
    assert_eq!(connections(&batch, ME, "connect", "abandoned"), 3);
    assert_eq!(connections(&batch, ME, "connect", "success"), 1);
    assert_eq!(connect_durations(&batch, ME).0, 1, "of successes only");
}

#[test]
fn a_silent_other_side_is_timed_out_and_asked_again() {
    let mut node = Node::start(&["process", SOURCE]);
    let kernels_own = in_own_network(|| {
        let (_listener, full, _first) = full_listener();
        let waiting = socket(full);
        set_option(&waiting, libc::IPPROTO_TCP, libc::TCP_SYNCNT, 1);
        let error = connect(&waiting, full).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        retransmits_in_this_network()
    });
    let batch = node.collect(SOURCE);
    assert_eq!(losses(&batch), []);
    assert_eq!(connections(&batch, ME, "connect", "timed_out"), 1);
    assert!(kernels_own > 0);
    assert_eq!(retransmits(&batch, ME), kernels_own);
}

#[test]
fn answers_to_first_segments_that_are_sent_again_count_once() {
    let mut node = Node::start(&["process", SOURCE]);
    let kernels_own = in_own_network(|| {
        let listener = OwnedFd::from(TcpListener::bind((V4, 0)).unwrap());
        // Without data the connection is no connection yet, and the answer is sent again.
        set_option(&listener, libc::IPPROTO_TCP, libc::TCP_DEFER_ACCEPT, 30);
        let listener = TcpListener::from(listener);
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        poll_until("the answer is sent again", || {
            (retransmits_in_this_network() > 0).then_some(())
        });
        client.write_all(&[1; 10]).unwrap();
        let (server, _) = listener.accept().unwrap();
        receive_all(&server, 10);
        drop((client, server));
        let during = ended(&mut node, ME, 2);
        let kernels_own = retransmits_in_this_network();
        assert_eq!(retransmits(&during, ME), kernels_own);
        kernels_own
    });
    let batch = node.collect(SOURCE);
    assert_eq!(losses(&batch), []);
    assert_eq!(connections(&batch, ME, "accept", "success"), 1);
    assert_eq!(retransmits(&batch, ME), kernels_own);
}

#[test]
fn an_address_in_use_is_an_error_of_this_machine() {
    let mut node = Node::start(&["process", SOURCE]);
    let listener = TcpListener::bind((V4, 0)).unwrap();
    let to = listener.local_addr().unwrap();
    let sockets = [socket(to), socket(to)];
    let mut from = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    for socket in &sockets {
        set_option(socket, libc::SOL_SOCKET, libc::SO_REUSEADDR, 1);
        bind(socket, from);
        let bound = TcpStream::from(socket.try_clone().unwrap());
        from = bound.local_addr().unwrap();
    }
    connect(&sockets[0], to).unwrap();
    let error = connect(&sockets[1], to).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::AddrNotAvailable);
    let batch = node.collect(SOURCE);
    assert_eq!(connections(&batch, ME, "connect", "success"), 1);
    assert_eq!(connections(&batch, ME, "connect", "local_error"), 1);
}

#[test]
fn sockets_from_before_the_agent() {
    let listener = TcpListener::bind((V4, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let (mut old_client, old_server) = tcp_pair(V4);
    let mut node = Node::start(&["process", SOURCE]);
    let client = TcpStream::connect(address).unwrap();
    let (server, _) = listener.accept().unwrap();
    old_client.write_all(&[1; 99]).unwrap();
    receive_all(&old_server, 99);
    drop((old_client, old_server));
    drop((client, server));
    let batch = ended(&mut node, ME, 2);
    assert_eq!(losses(&batch), []);
    assert_eq!(connections(&batch, ME, "connect", "success"), 1);
    assert_eq!(connections(&batch, ME, "accept", "success"), 1);
    assert_eq!(bytes(&batch, ME, "tcp", "transmit"), 99);
    assert_eq!(bytes(&batch, ME, "tcp", "receive"), 99);
}
