//! Profiles of what was: from the history, and compared with it.

use std::{
    fs,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use monitoring_agent::profile::Type;
use monitoring_profile::pprof;

use super::{
    capture::{Site, known},
    get,
};
use crate::server::until;

/// Two windows of a minute, both of which end about now.
fn filled() -> Site {
    fill(Site::start(false))
}

fn fill(site: Site) -> Site {
    for _ in 0..2 {
        let bytes = pprof::write(&known());
        let kept = site.history.keep(Type::Cpu, Duration::from_mins(1), &bytes);
        kept.unwrap();
    }
    site
}

#[test]
fn the_history_is_read_by_time() {
    let site = filled();
    let reply = get(&site, "/folded?from=-1h");
    assert_eq!(reply.text(), "demo;main 20\ndemo;main;work 60\n");
    let covered = reply.header("x-profile-covered").unwrap();
    assert!(
        covered.starts_with("20") && covered.matches('Z').count() == 2,
        "{covered}"
    );
    assert_eq!(reply.header("x-profile-torn-windows"), Some("0"));
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs();
    let (from, to) = (now - 30, now + 5);
    let date = humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(from));
    for query in [
        format!("from={from}&to={to}"),
        format!("from={date}"),
        format!("from={date}&to={to}"),
    ] {
        let reply = get(&site, &format!("/debug/pprof/profile?{query}"));
        assert_eq!(reply.status, 200, "{query} {reply:?}");
        let profile = pprof::read(&reply.body, pprof::Limits::default()).unwrap();
        assert_eq!(profile.total(1), 80, "{query}");
        let comments: Vec<_> = profile.comments().collect();
        assert!(comments[0].contains("2 windows"), "{comments:?}");
    }
    let svg = get(&site, "/flamegraph?from=-1h&agent=a");
    assert!(svg.text().contains("2 windows: 20"));
    let nothing = get(&site, "/folded?from=-1h&agent=nobody");
    assert_eq!((nothing.status, nothing.text()), (200, ""));
    let nothing = get(&site, "/flamegraph?from=-1h&agent=nobody");
    assert!(nothing.status == 200 && nothing.text().contains("<svg"));
}

#[test]
fn what_is_not_kept_is_told() {
    let site = filled();
    let reply = get(&site, "/folded?from=-3h&to=-2h");
    assert_eq!(reply.status, 404);
    assert!(reply.text().contains("there is 20"), "{}", reply.text());
    let reply = get(&site, "/folded?from=-3h&type=memory");
    assert_eq!(
        (reply.status, reply.text().contains("none at all")),
        (404, true)
    );
}

#[test]
fn torn_windows_are_left_out_and_told() {
    let site = filled();
    let window = site.history.windows().unwrap()[0];
    let path = site.folder.path().join("profiles").join(window.name());
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..whole.len() - 9]).unwrap();
    let reply = get(&site, "/folded?from=-1h");
    assert_eq!(reply.text(), "demo;main 10\ndemo;main;work 30\n");
    assert_eq!(reply.header("x-profile-torn-windows"), Some("1"));
    let svg = get(&site, "/flamegraph?from=-1h");
    assert!(svg.text().contains("1 more were torn"));
}

#[test]
fn differences_have_three_forms() {
    let site = filled();
    let query = "seconds=1&base_from=-1h";
    let folded = get(&site, &format!("/folded?{query}"));
    assert_eq!(folded.text(), "demo;main 20 10\ndemo;main;work 60 30\n");
    let file = get(&site, &format!("/debug/pprof/profile?{query}"));
    let profile = pprof::read(&file.body, pprof::Limits::default()).unwrap();
    assert_eq!(profile.total(1), -40);
    let svg = get(&site, &format!("/flamegraph?{query}"));
    assert!(svg.text().contains("compared with one before"));
    let same = get(&site, "/debug/pprof/profile?from=-1h&base_from=-2h");
    let profile = pprof::read(&same.body, pprof::Limits::default()).unwrap();
    assert_eq!((profile.total(1), profile.samples().len()), (0, 0));
    let absent = get(&site, "/folded?seconds=1&base_from=-3h&base_to=-2h");
    assert_eq!(absent.status, 404, "{absent:?}");
}

#[test]
fn the_history_is_read_during_a_capture_that_is_compared_with_it() {
    let site = fill(Site::start(true));
    let mut client = site.server.connect();
    let path = "/folded?seconds=3600&base_from=-1h";
    client.send(format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n"));
    until("it is captured", || site.running() == 1);
    let meanwhile = get(&site, "/folded?from=-1h");
    assert_eq!(meanwhile.text(), "demo;main 20\ndemo;main;work 60\n");
    site.release();
    let compared = client.reply();
    assert_eq!(compared.text(), "demo;main 20 10\ndemo;main;work 60 30\n");
}
