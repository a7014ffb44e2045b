//! The endpoints of profiles.

mod capture;
mod go;
mod kept;
mod slow;

use std::{sync::Arc, time::Duration};

use monitoring_agent::{
    config::ProfileAccess,
    export::http::Profiles,
    profile::{Type, service::Request},
};
use monitoring_profile::pprof;

use self::capture::{Site, known};
use crate::server::{Client, Reply};

/// One request as browsers and curl make it.
fn get(site: &Site, path: &str) -> Reply {
    ask(site, "GET", path, "localhost:9090")
}

fn ask(site: &Site, method: &str, path: &str, host: &str) -> Reply {
    let mut client = site.server.connect();
    client.send(format!("{method} {path} HTTP/1.1\r\nhost: {host}\r\n\r\n"));
    if method == "HEAD" {
        client.head()
    } else {
        client.reply()
    }
}

#[test]
fn a_profile_has_three_forms_with_the_same_total() {
    let site = Site::start(false);
    let reply = get(&site, "/debug/pprof/profile?seconds=5");
    assert_eq!(reply.status, 200, "{reply:?}");
    assert_eq!(
        reply.header("content-type"),
        Some("application/octet-stream")
    );
    assert!(
        reply
            .header("content-disposition")
            .unwrap()
            .contains("profile-cpu.pb.gz")
    );
    assert_eq!(reply.header("cache-control"), Some("no-store"));
    let profile = pprof::read(&reply.body, pprof::Limits::default()).unwrap();
    assert_eq!((profile.total(0), profile.total(1)), (4, 40));

    for path in ["/folded", "/debug/pprof/folded"] {
        let reply = get(&site, &format!("{path}?seconds=5"));
        assert_eq!(
            reply.header("content-type"),
            Some("text/plain; charset=utf-8")
        );
        assert_eq!(reply.text(), "demo;main 10\ndemo;main;work 30\n");
    }
    let reply = get(&site, "/folded?value=samples");
    assert_eq!(reply.text(), "demo;main 1\ndemo;main;work 3\n");
    for path in ["/flamegraph", "/debug/pprof/flamegraph"] {
        let reply = get(&site, &format!("{path}?seconds=5&hz=49&agent=a"));
        assert_eq!(reply.header("content-type"), Some("image/svg+xml"));
        assert!(
            reply
                .header("content-security-policy")
                .unwrap()
                .contains("default-src 'none'")
        );
        let svg = reply.text();
        for part in ["<svg", "work", "40 count", "5 s at 49 Hz, agent a"] {
            assert!(svg.contains(part), "{part}");
        }
    }
}

#[test]
fn what_is_asked_for_is_captured() {
    let site = Site::start(false);
    let check = |query: &str, want: Request| {
        let reply = get(&site, &format!("/debug/pprof/profile{query}"));
        assert_eq!(reply.status, 200, "{query}: {reply:?}");
        assert_eq!(site.last_request(), want, "{query}");
    };
    let plain = Request {
        kind: Type::Cpu,
        hertz: None,
        pid: None,
        agent: None,
        duration: Duration::from_secs(30),
    };
    check("", plain.clone());
    check("?", plain.clone());
    check(
        "?seconds=3600&hz=1000&pid=4194304&type=cpu",
        Request {
            hertz: Some(1000),
            pid: Some(1 << 22),
            duration: Duration::from_hours(1),
            ..plain.clone()
        },
    );
    check(
        "?type=offcpu&agent=a%20%C3%A4+b&seconds=1",
        Request {
            kind: Type::OffCpu,
            agent: Some("a ä b".to_owned()),
            duration: Duration::from_secs(1),
            ..plain.clone()
        },
    );
    check(
        "?type=memory&pid=1",
        Request {
            kind: Type::Memory,
            pid: Some(1),
            ..plain
        },
    );
}

#[test]
fn slips_are_told_with_their_cure() {
    let site = Site::start(false);
    let check = |query: &str, wants: &[&str]| {
        let reply = get(&site, &format!("/debug/pprof/profile?{query}"));
        assert_eq!(reply.status, 400, "{query}: {reply:?}");
        for want in wants {
            assert!(reply.text().contains(want), "{want}: {}", reply.text());
        }
    };
    let seconds = "use a whole number from 1 to 3600";
    check("seconds=0", &["seconds=0: out of range", seconds]);
    check("seconds=3601", &["out of range", seconds]);
    check("seconds=99999999999999999999", &["out of range", seconds]);
    check("seconds=1.5", &["no whole number", seconds]);
    check("seconds=-5", &["no whole number", seconds]);
    check("seconds=%2B5", &["no whole number", seconds]);
    check("seconds=30s", &["seconds=30s: no whole number"]);
    check("seconds=", &["seconds is empty"]);
    check("seconds", &["seconds is empty"]);
    check("seconds=1&seconds=1", &["given twice"]);
    check("hz=0", &["from 1 to 1000"]);
    check("hz=1001", &["from 1 to 1000"]);
    check("hz=99&type=memory", &["leave it out"]);
    check("pid=0", &["from 1 to 4194304"]);
    check("pid=1&agent=a", &["use one of them"]);
    check("type=heap", &["type=heap", "type=offcpu"]);
    check("agent=a%00b", &[r"agent=a\0b"]);
    check(
        &format!("agent={}", "a".repeat(65)),
        &["no agent's name", "…"],
    );
    check(
        "frequency=99",
        &["unknown parameter frequency", "seconds, hz"],
    );
    check("%3Cscript%3E=1", &["unknown parameter <script>"]);
    check("agent=%", &["write % as %25"]);
    check("agent=%zz", &["write % as %25"]);
    check("agent=%ff", &["write % as %25"]);
    check("value=cpu", &["leave it out"]);
    check("to=now", &["to is given without from"]);
    check(
        "from=yesterday",
        &["from=yesterday: no time", "2026-01-31T03:12:00Z"],
    );
    check("from=-1h&to=-2h", &["from is not before to"]);
    check("from=now", &["from is not before now"]);
    check("from=-1h&seconds=5", &["seconds and from are given"]);
    check("from=-1h&hz=5", &["hz and from are given"]);
    check("base_to=-1h", &["base_to is given without base_from"]);
    assert!(
        site.captures.requests.lock().unwrap().is_empty(),
        "none was captured"
    );
    let reply = get(&site, "/folded?value=bytes");
    assert_eq!(
        (
            reply.status,
            reply.text().contains("value=samples, value=cpu")
        ),
        (400, true)
    );
}

#[test]
fn what_cannot_be_captured_is_said() {
    let site = Site::start(false);
    let check = |query: &str, status: u16, want: &str| {
        let reply = get(&site, &format!("/folded?{query}"));
        assert_eq!(reply.status, status, "{query}: {reply:?}");
        assert!(reply.text().contains(want), "{}", reply.text());
    };
    check("pid=404", 404, "there is no process 404");
    check("agent=unsupported", 501, "no such events");
    check("agent=failed", 500, "the kernel says no");
    check("agent=panic", 500, "panicked");
    // None of them has left its place taken.
    check("agent=a", 200, "work");
    let none = Profiles::none("monitoring.profiling_enabled is false in the configuration");
    site.profiles.send_replace(Arc::new(none));
    check(
        "",
        404,
        "no profile on demand: monitoring.profiling_enabled is false",
    );
    check(
        "from=-1h",
        404,
        "no history: monitoring.profiling_enabled is false",
    );
    assert_eq!(get(&site, "/debug/pprof/heap").status, 404);
}

#[test]
fn only_this_machine_may_ask_unless_all_may() {
    let site = Site::start(false);
    for path in [
        "/debug/pprof/",
        "/debug/pprof/profile",
        "/flamegraph",
        "/folded",
    ] {
        let foreign = ask(&site, "GET", path, "evil.example");
        assert_eq!(foreign.status, 403, "{path}");
        assert!(
            foreign
                .text()
                .contains("sources.profile.access = \"everywhere\"")
        );
        for host in ["localhost", "127.0.0.1:9090", "[::1]:9090"] {
            assert_eq!(ask(&site, "GET", path, host).status, 200, "{path} {host}");
        }
    }
    let set = |access: ProfileAccess| {
        let before = Arc::clone(&site.profiles.borrow());
        let captures = before.captures.clone();
        let all = Profiles::new(access, captures, before.history.clone());
        site.profiles.send_replace(Arc::new(all));
    };
    set(ProfileAccess::Everywhere);
    assert_eq!(ask(&site, "GET", "/folded", "gpu-01:9090").status, 200);
    set(ProfileAccess::Off);
    let off = get(&site, "/folded");
    assert_eq!(
        (off.status, off.text().contains("access is \"off\"")),
        (403, true)
    );
    assert_eq!(get(&site, "/metrics").status, 200, "metrics are for all");
}

#[test]
fn a_peer_that_is_not_this_machine_is_refused() {
    // An address of this machine's that is not its loopback, if it has one.
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
    let outside = socket
        .connect("192.0.2.1:9")
        .and_then(|()| socket.local_addr());
    let address = match outside {
        Ok(address) if !address.ip().is_loopback() => address.ip(),
        _ => panic!("this test needs an address besides the loopback's: ip address add"),
    };
    let site = Site::start_at((address, 0).into());
    let mut client = Client::connect(site.server.addr);
    client.send("GET /folded HTTP/1.1\r\nhost: localhost\r\n\r\n");
    let reply = client.reply();
    assert_eq!(reply.status, 403, "{reply:?}");
    assert!(
        reply.text().contains("from this machine only"),
        "{}",
        reply.text()
    );
    client.send("GET /healthz HTTP/1.1\r\n\r\n");
    assert_eq!(client.reply().status, 200);
}

#[test]
fn other_methods_and_heads_capture_nothing() {
    let site = Site::start(true);
    let post = ask(&site, "POST", "/folded", "localhost");
    assert_eq!(
        (post.status, post.header("allow")),
        (405, Some("GET, HEAD"))
    );
    let head = ask(&site, "HEAD", "/flamegraph?seconds=9", "localhost");
    assert_eq!(
        (head.status, head.header("content-type")),
        (200, Some("image/svg+xml"))
    );
    assert_eq!(
        ask(&site, "HEAD", "/flamegraph?seconds=0", "localhost").status,
        400
    );
    assert!(site.captures.requests.lock().unwrap().is_empty());
}

#[test]
fn the_index_links_to_what_there_is() {
    let site = Site::start(false);
    for path in ["/debug/pprof/", "/debug/pprof"] {
        let reply = get(&site, path);
        assert_eq!(
            reply.header("content-type"),
            Some("text/html; charset=utf-8")
        );
        assert!(reply.text().contains("/flamegraph?seconds=10"));
        assert!(reply.text().contains("Nothing is kept on disk yet"));
    }
    let kept = site
        .history
        .keep(Type::Cpu, Duration::from_mins(1), &pprof::write(&known()));
    kept.unwrap();
    assert!(
        get(&site, "/debug/pprof/")
            .text()
            .contains("Kept on disk: 1 windows")
    );
    assert!(get(&site, "/").text().contains("href=\"/debug/pprof/\""));
}
