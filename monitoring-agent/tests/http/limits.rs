//! Clients that take time, or too many connections; and the end of the server.

use std::{
    fs::File,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    process::{Command, Stdio},
    sync::atomic::Ordering::Relaxed,
    time::{Duration, Instant},
};

use monitoring_agent::export::http::HttpOptions;

use crate::server::{Client, PATIENCE, Server, large_snapshot, patient, snapshot_of, until};

const GET: &str = "GET /metrics HTTP/1.1\r\n\r\n";

/// Sets the bound on this process's file descriptors.
fn limit_descriptors(count: u64) {
    let limit = libc::rlimit {
        rlim_cur: count,
        rlim_max: count.max(4096),
    };
    // SAFETY: the pointer is to a whole `rlimit` that lives until the call returns.
    let result = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) };
    assert_eq!(
        result, 0,
        "these tests need 4096 file descriptors: raise `ulimit -Hn`"
    );
}

/// A scrape is answered; the client itself fails where it has to wait for longer than [`PATIENCE`].
fn check_scrape(server: &Server) {
    assert_eq!(server.get("/metrics").status, 200);
}

#[test]
fn idle_connections_do_not_keep_a_scraper_out() {
    limit_descriptors(4096);
    let server = Server::start(patient());
    let idle: Vec<Client> = (0..500).map(|_| server.connect()).collect();
    check_scrape(&server);
    assert_eq!(server.stats.evicted_connections.load(Relaxed), 0);
    // These and those before are more than are allowed: some of the old ones have to go.
    let more: Vec<Client> = (0..100).map(|_| server.connect()).collect();
    check_scrape(&server);
    let evicted = server.stats.evicted_connections.load(Relaxed);
    // The last scrape is one, and the first may not have been noticed to have gone.
    assert!((89..=90).contains(&evicted), "{evicted}");
    for client in idle.into_iter().take(89) {
        assert_eq!(client.rest(), b"");
    }
    drop(more);
}

#[test]
fn the_longest_idle_goes_first() {
    let server = Server::start(HttpOptions {
        max_connections: 3,
        ..patient()
    });
    let mut clients = [server.connect(), server.connect(), server.connect()];
    for client in clients.iter_mut().rev() {
        client.send(GET);
        assert_eq!(client.reply().status, 200);
    }
    // The third was served first, so it is the one that does nothing for longest.
    check_scrape(&server);
    let [mut first, mut second, third] = clients;
    assert_eq!(third.rest(), b"");
    for client in [&mut second, &mut first] {
        client.send(GET);
        assert_eq!(client.reply().status, 200);
    }
    assert_eq!(server.stats.evicted_connections.load(Relaxed), 1);
}

#[test]
fn a_client_that_does_not_read_is_evicted_last() {
    let options = HttpOptions {
        max_connections: 2,
        ..patient()
    };
    let server = Server::serving(options, large_snapshot());
    let mut reader = server.connect();
    reader.send("GET /metrics HTTP/1.1\r\nconnection: close\r\n\r\n");
    assert_eq!(reader.head().status, 200);
    let idle = server.connect();
    let mut newcomer = server.connect();
    newcomer.send("GET /healthz HTTP/1.1\r\n\r\n");
    assert_eq!(newcomer.reply().status, 200);
    assert_eq!(idle.rest(), b"");
    assert!(
        reader.rest_until(16_000_000),
        "the answer under way was cut off"
    );
}

#[test]
fn a_slow_head_is_cut_off() {
    let header_timeout = Duration::from_secs(1);
    let server = Server::start(HttpOptions {
        header_timeout,
        ..HttpOptions::default()
    });
    let began = Instant::now();
    let mut loris = server.connect().stream;
    loris.write_all(b"GET /metrics HTTP/1.1\r\n").unwrap();
    loris
        .set_read_timeout(Some(Duration::from_millis(10)))
        .unwrap();
    // One byte whenever a read has waited in vain, for as long as the server takes them.
    while loris
        .read(&mut [0])
        .is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
    {
        assert!(began.elapsed() < PATIENCE, "the connection is still open");
        _ = loris.write_all(b"x");
    }
    assert!(began.elapsed() >= header_timeout, "{:?}", began.elapsed());
    until("the timeout is counted", || {
        server.stats.timeouts.load(Relaxed) == 1
    });

    // One that says nothing at all.
    assert_eq!(server.connect().rest(), b"");
    until("the timeout is counted", || {
        server.stats.timeouts.load(Relaxed) == 2
    });
    check_scrape(&server);
}

#[test]
fn an_idle_connection_is_closed_and_not_held_against_the_client() {
    let idle_timeout = Duration::from_millis(200);
    let server = Server::start(HttpOptions {
        idle_timeout,
        ..patient()
    });
    let mut client = server.connect();
    // The server's clock starts when it has answered, which is later.
    let asked = Instant::now();
    client.send(GET);
    assert_eq!(client.reply().status, 200);
    assert_eq!(client.rest(), b"");
    assert!(asked.elapsed() >= idle_timeout, "{:?}", asked.elapsed());
    assert_eq!(server.stats.timeouts.load(Relaxed), 0);
}

#[test]
fn a_client_that_does_not_read_is_cut_off() {
    let write_timeout = Duration::from_millis(200);
    let options = HttpOptions {
        write_timeout,
        ..patient()
    };
    let server = Server::serving(options, large_snapshot());
    let mut client = server.connect();
    client.send(GET);
    until("the timeout is counted", || {
        server.stats.timeouts.load(Relaxed) == 1
    });
    assert!(!client.rest_until(16_000_000), "the answer is whole");
}

/// As `printf … | nc` does.
#[test]
fn a_client_that_is_done_with_sending_gets_the_whole_answer() {
    let server = Server::serving(patient(), large_snapshot());
    assert!(server.connect().exchange(GET.as_bytes()).len() > 16_000_000);
}

#[test]
fn the_scrapers_deadline_bounds_the_writing() {
    let server = Server::serving(patient(), large_snapshot());
    // The first scrape renders, which takes its time in a debug build.
    server.get("/metrics");
    let mut client = server.connect();
    client.send("GET /metrics HTTP/1.1\r\nX-Prometheus-Scrape-Timeout-Seconds: 1.5\r\n\r\n");
    until("the timeout is counted", || {
        server.stats.timeouts.load(Relaxed) == 1
    });
    assert!(!client.rest_until(16_000_000), "the answer is whole");
}

#[test]
fn shutdown_closes_idle_connections_at_once() {
    // A running answer gets half a second. On a busy machine this may take as long by chance, but
    // not each time.
    until("idle connections are not waited for", || {
        let server = Server::start(patient());
        let fresh = server.connect();
        let mut kept = server.connect();
        kept.send(GET);
        assert_eq!(kept.reply().status, 200);
        let addr = server.addr;
        let took = server.stop();
        assert_eq!(fresh.rest(), b"");
        assert_eq!(kept.rest(), b"");
        assert!(TcpStream::connect(addr).is_err(), "the port is still open");
        took < Duration::from_millis(400)
    });
}

#[test]
fn shutdown_waits_for_no_client() {
    let server = Server::serving(patient(), large_snapshot());
    let mut stuck = server.connect();
    stuck.send(GET);
    assert_eq!(stuck.head().status, 200);
    let mut half = server.connect();
    half.send("GET /met");
    let took = server.stop();
    assert!(
        took >= Duration::from_millis(450),
        "a running answer got no time: {took:?}"
    );
    assert!(took < PATIENCE, "a client was waited for: {took:?}");
}

#[test]
fn shutdown_lets_a_running_answer_finish() {
    // Half a second may be too short on a busy machine, but not each time.
    until("the answer is whole", || {
        let mut server = Server::serving(patient(), snapshot_of(2_000));
        let mut client = server.connect();
        client.send(GET);
        assert_eq!(client.head().status, 200);
        server.ask_to_stop();
        client.rest_until(2_000_000)
    });
}

#[test]
fn slow_readers_hold_few_old_answers() {
    let server = Server::serving(patient(), snapshot_of(2_000));
    let ask = || {
        let mut client = server.connect();
        client.send("GET /metrics HTTP/1.1\r\nconnection: close\r\n\r\n");
        assert_eq!(client.head().status, 200);
        client
    };
    // Two of the first snapshot, and one of each that follows; none reads on.
    let oldest = [ask(), ask()];
    let mut others = Vec::new();
    for _ in 0..7 {
        server.publish(snapshot_of(2_000));
        others.push(ask());
    }
    assert_eq!(server.stats.evicted_connections.load(Relaxed), 0);
    server.publish(snapshot_of(2_000));
    others.push(ask());
    assert_eq!(server.stats.evicted_connections.load(Relaxed), 2);
    for client in oldest {
        assert!(!client.rest_until(2_000_000), "the answer is whole");
    }
    for client in others {
        assert!(client.rest_until(2_000_000), "the answer was cut off");
    }
}

/// More clients than file descriptors. The bound is the process's, so the server runs in one of
/// its own: this binary again, with only the test below.
#[test]
fn descriptors_that_run_out() {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "limits::server_with_few_descriptors",
            "--ignored",
            "--nocapture",
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap())
        .lines()
        .map(Result::unwrap);
    let mut value = |key: &str| {
        let line = lines
            .find(|line| line.contains(key))
            .expect("the child says so");
        line.split(key).nth(1).unwrap().to_owned()
    };
    let addr = value("listening at ").parse().unwrap();
    let idle: Vec<Client> = (0..200).map(|_| Client::connect(addr)).collect();
    let mut scraper = Client::connect(addr);
    scraper.send(GET);
    assert_eq!(scraper.reply().status, 200);
    drop(child.stdin.take());
    let errors: u64 = value("accept errors: ").parse().unwrap();
    // Without pauses it would be very many.
    assert!((1..1_000).contains(&errors), "{errors}");
    assert!(child.wait().unwrap().success());
    drop(idle);
}

#[test]
#[ignore = "is started by `descriptors_that_run_out`"]
fn server_with_few_descriptors() {
    let server = Server::start(HttpOptions::default());
    limit_descriptors(40);
    pauses_between_failed_accepts(&server);
    println!("listening at {}", server.addr);
    _ = std::io::stdin().read(&mut [0]);
    println!(
        "accept errors: {}",
        server.stats.accept_errors.load(Relaxed)
    );
}

/// Nothing is to be evicted here: the descriptors are all in use elsewhere in the process.
fn pauses_between_failed_accepts(server: &Server) {
    let mut files: Vec<File> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
    files.pop();
    // Before the server can know of the client: its pauses all lie after this.
    let began = Instant::now();
    let mut client = server.connect();
    client.send(GET);
    let errors = || server.stats.accept_errors.load(Relaxed);
    until("an accept fails", || errors() >= 1);
    until("accepts fail again and again", || errors() >= 6);
    // 5, 10, 20, 40 and 80 ms lie between six attempts.
    assert!(
        began.elapsed() >= Duration::from_millis(155),
        "{:?}",
        began.elapsed()
    );
    drop(files);
    assert_eq!(client.reply().status, 200);
}
