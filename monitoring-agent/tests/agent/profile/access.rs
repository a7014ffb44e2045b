//! Who may have profiles, and how many at one time.

use std::{io::Write as _, net::TcpStream, process::Command, time::Duration};

use super::capture::{Capture, PPROF, agent, fetch, hooks};
use crate::{
    poll::poll_until,
    process::Running,
    rig::{Namespace, Wire},
};

/// What an answer to a node says: its status, and its text.
fn asked(from: &Namespace, address: &str, path: &str) -> (u16, String) {
    from.within(|| {
        let answer = fetch(address, path, Duration::ZERO);
        (answer.status, answer.text())
    })
}

/// An agent on the server's node, on all of its addresses.
fn agent_on(node: &Namespace, folder: &std::path::Path, access: &str) -> (Running, String) {
    let file = folder.join(format!("{access}.toml"));
    let text = format!(
        "[sources.net]\nenabled = false\n[sources.syscalls]\nenabled = false\n\
         [sources.profile]\nhistory = false\naccess = '{access}'\n"
    );
    std::fs::write(&file, text).unwrap();
    let mut command: Command = node.command(env!("CARGO_BIN_EXE_monitoring-agent"));
    command.args(["--listen", "0.0.0.0:0", "--config", file.to_str().unwrap()]);
    let process = Running::start(&mut command);
    let line = process.wait_for("metrics at http://");
    let port = line.split(':').next_back().unwrap();
    let port = port.split('/').next().unwrap().to_owned();
    poll_until("the agent is ready", || {
        (asked(node, &format!("127.0.0.1:{port}"), "/readyz").0 == 200).then_some(())
    });
    (process, port)
}

#[test]
fn profiles_are_for_this_machine_unless_configured() {
    let wire = Wire::fast();
    let folder = tempfile::tempdir().unwrap();
    let outside = Wire::server_addresses()[0];
    let paths = [
        "/debug/pprof/profile?seconds=1",
        "/debug/pprof/flamegraph?seconds=1",
        "/flamegraph?seconds=1",
        "/debug/pprof/folded?seconds=1",
        "/folded?seconds=1",
        "/folded?from=-1h",
        "/debug/pprof/",
    ];
    let (agent, port) = agent_on(&wire.server, folder.path(), "loopback");
    let (local, remote) = (format!("127.0.0.1:{port}"), format!("{outside}:{port}"));
    for path in paths {
        for node in [&wire.client, &wire.server] {
            let (status, text) = asked(node, &remote, path);
            assert_eq!(status, 403, "{path}: {text}");
            assert!(text.contains("sources.profile.access"), "{path}: {text}");
        }
    }
    // The metrics are for all, and so are profiles on the node itself.
    assert_eq!(asked(&wire.client, &remote, "/metrics").0, 200);
    let (status, text) = asked(&wire.server, &local, paths[4]);
    assert_eq!(status, 200, "{text}");
    drop(agent);

    let (agent, port) = agent_on(&wire.server, folder.path(), "everywhere");
    let remote = format!("{outside}:{port}");
    let (status, text) = asked(&wire.client, &remote, paths[4]);
    assert_eq!(status, 200, "{text}");
    drop(agent);

    let (_agent, port) = agent_on(&wire.server, folder.path(), "off");
    let (status, text) = asked(&wire.server, &format!("127.0.0.1:{port}"), paths[4]);
    assert_eq!(status, 403, "{text}");
}

#[test]
fn no_more_captures_at_one_time_than_configured() {
    let folder = tempfile::tempdir().unwrap();
    let agent = agent(folder.path(), "max_captures = 2\n");
    let captures = [1, 2].map(|_| Capture::begin(&agent, PPROF, 6, ""));
    let refused = fetch(&agent.address, "/folded?seconds=1", Duration::ZERO);
    assert!([429, 503].contains(&refused.status), "{}", refused.text());
    let head = refused.head.to_lowercase();
    let after = head
        .lines()
        .find_map(|line| line.strip_prefix("retry-after: "));
    let after: u64 = after.expect("when to ask again").parse().unwrap();
    assert!((1..=10).contains(&after), "{head}");
    for capture in captures {
        capture.profile();
    }
    let answer = fetch(&agent.address, "/folded?seconds=1", Duration::from_secs(1));
    assert_eq!(answer.status, 200, "{}", answer.text());
}

#[test]
fn a_client_that_goes_away_ends_its_capture() {
    let folder = tempfile::tempdir().unwrap();
    let agent = agent(folder.path(), "max_captures = 1\n");
    let pid = agent.process.child.id();
    let before = hooks(pid);
    let mut client = TcpStream::connect(&agent.address).unwrap();
    let request = "GET /folded?seconds=600 HTTP/1.1\r\nHost: localhost\r\n\r\n";
    client.write_all(request.as_bytes()).unwrap();
    poll_until("the capture samples", || {
        (hooks(pid) > before).then_some(())
    });
    let second = fetch(&agent.address, "/folded?seconds=1", Duration::ZERO);
    assert!([429, 503].contains(&second.status), "{}", second.text());
    drop(client);
    poll_until("the capture has ended", || {
        let answer = fetch(&agent.address, "/folded?seconds=1", Duration::from_secs(1));
        assert!([200, 503].contains(&answer.status), "{}", answer.text());
        (answer.status == 200).then_some(())
    });
    poll_until("its hooks are gone", || {
        (hooks(pid) == before).then_some(())
    });
}
