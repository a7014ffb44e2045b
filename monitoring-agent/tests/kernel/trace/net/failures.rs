//! Handshakes that fail, and connections that break.

use std::{
    io::{self, Read as _},
    net::{Ipv4Addr, TcpListener, TcpStream},
    os::fd::{AsRawFd as _, OwnedFd},
    time::{Duration, Instant},
};

use monitoring_common::{
    net::outcome,
    trace::{
        detail::{TcpDetail, role},
        flags::FOR_FAILURE,
        kind::{TCP_CONNECT, TCP_CONNECTION},
    },
};

use super::{FAMILIES, HELD, Span, V4, V6, addresses, all, both, everything, is_of, pair};
use crate::{
    net::connections::{
        connect, full_listener, in_own_network, retransmits_in_this_network, set_option, socket,
    },
    trace::{
        assert_lasted, has_failed,
        reader::{NEVER_SLOW, Traced},
    },
};

/// Closes a connection without a word, so that the other side's next one is an error.
fn break_off(server: &TcpStream) {
    let at_once = libc::linger {
        l_onoff: 1,
        l_linger: 0,
    };
    // SAFETY: the value lives across the call, and is as long as is said.
    let result = unsafe {
        libc::setsockopt(
            server.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_LINGER,
            (&raw const at_once).cast(),
            size_of_val(&at_once).try_into().unwrap(),
        )
    };
    assert_eq!(result, 0, "{}", io::Error::last_os_error());
}

/// Only failures are candidates.
fn failures_only() -> Traced {
    Traced::start(&FAMILIES, |config| {
        config.sources.trace.slow_connect = NEVER_SLOW;
        config.sources.trace.connection = NEVER_SLOW;
        config.trace_sample_rate = 0.0;
    })
}

#[test]
fn a_refusal_is_always_told_of() {
    let mut traced = failures_only();
    for ip in [V4, V6] {
        let listener = TcpListener::bind((ip, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        // One that succeeds, which is no candidate.
        pair(&listener);
        drop(listener);
        let error = TcpStream::connect(address).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        let port = address.port();
        let spans = traced.wait_for::<TcpDetail>(TCP_CONNECT, 1, is_of(port));
        let Span { header, detail } = spans[0];
        assert!(has_failed(&header) && header.flags & FOR_FAILURE != 0);
        assert_eq!(Some(header.code), error.raw_os_error());
        assert_eq!(usize::from(detail.outcome), outcome::REFUSED);
        assert_eq!(detail.role, role::CLIENT);
        let [local, remote] = addresses(&detail);
        assert_eq!((local.ip(), remote), (ip, address));
        assert_eq!((detail.local_sequence, detail.remote_sequence), (0, 0));
    }
    traced.assert_counted::<TcpDetail>(TCP_CONNECT, 2, 0);
}

#[test]
fn silence_is_told_of_with_how_long_it_lasted() {
    let mut traced = failures_only();
    // Nobody else sends anything again there.
    let (address, measured, sent_again) = in_own_network(|| {
        let (_listener, address, _first) = full_listener();
        let waiting = socket(address);
        set_option(&waiting, libc::IPPROTO_TCP, libc::TCP_SYNCNT, 1);
        let begun = Instant::now();
        let error = connect(&waiting, address).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        (address, begun.elapsed(), retransmits_in_this_network())
    });
    let spans = traced.wait_for::<TcpDetail>(TCP_CONNECT, 1, is_of(address.port()));
    let Span { header, detail } = spans[0];
    assert_lasted("a silence", &header, measured);
    assert!(has_failed(&header));
    assert_eq!(header.code, libc::ETIMEDOUT);
    assert_eq!(usize::from(detail.outcome), outcome::TIMED_OUT);
    assert!(detail.retransmits > 0);
    assert_eq!(u64::from(detail.retransmits), sent_again);
}

/// Nobody's failure: the program did not wait for the answer. Told of where it lasted long.
#[test]
fn what_is_given_up_is_no_failure() {
    let mut traced = everything();
    let (_listener, address, _first) = full_listener();
    let leaving = TcpStream::from(socket(address));
    leaving.set_nonblocking(true).unwrap();
    let leaving = OwnedFd::from(leaving);
    let error = connect(&leaving, address).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::EINPROGRESS));
    let begun = Instant::now();
    std::thread::sleep(HELD);
    drop(leaving);
    let measured = begun.elapsed();
    let wanted = |span: &Span| {
        let is_it = usize::from(span.detail.outcome) == outcome::ABANDONED;
        is_it && is_of(address.port())(span)
    };
    let spans = traced.wait_for::<TcpDetail>(TCP_CONNECT, 1, wanted);
    assert_lasted("an attempt", &spans[0].header, measured);
    assert!(!has_failed(&spans[0].header));
}

#[test]
fn a_broken_connection_says_so() {
    let mut traced = Traced::start(&FAMILIES, |config| {
        all(config);
        config.trace_sample_rate = 0.0;
    });
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let (client, server) = pair(&listener);
    let begun = Instant::now();
    std::thread::sleep(HELD);
    break_off(&server);
    drop(server);
    let measured = begun.elapsed();
    let error = (&client).read(&mut [0; 1]).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    drop(client);
    // The end that broke it off has not failed, and nothing is in the sample.
    let spans = traced.wait_for::<TcpDetail>(TCP_CONNECTION, 1, is_of(port));
    let Span { header, detail } = spans[0];
    assert_eq!(detail.role, role::CLIENT);
    assert!(has_failed(&header) && header.flags & FOR_FAILURE != 0);
    assert_eq!(header.code, libc::ECONNRESET);
    assert_lasted("a connection", &header, measured);
    traced.assert_counted::<TcpDetail>(TCP_CONNECTION, 1, 1);
}

/// The defaults: short handshakes are no spans, connections are.
#[test]
fn a_short_handshake_is_no_span() {
    let mut traced = Traced::start(&FAMILIES, |config| {
        all(config);
        config.sources.trace.slow_connect = Some(Duration::from_secs(30));
    });
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(pair(&listener));
    let spans = traced.wait_for::<TcpDetail>(TCP_CONNECTION, 2, is_of(port));
    both(&spans);
    traced.assert_counted::<TcpDetail>(TCP_CONNECT, 0, 0);
}
