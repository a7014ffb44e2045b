//! `monitoring-agent check`, and what bad input gets.

use std::{
    net::TcpListener,
    process::{Command, Output},
};

use monitoring_agent::sources::{Entry, SOURCES};

fn agent(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_monitoring-agent"));
    command.args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn check_reports_every_source() {
    let output = agent(&["check"]);
    let report = text(&output.stdout);
    assert!(output.status.success(), "{report}{}", text(&output.stderr));
    for source in ["host", "process", "syscalls"] {
        let line = report
            .lines()
            .find(|line| line.starts_with(source))
            .unwrap();
        assert!(line.contains(" ok "), "{line}");
    }
}

#[test]
fn check_fails_when_nothing_would_work() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("off.toml");
    let off = |entry: &Entry| format!("[sources.{}]\nenabled=false\n", entry.name);
    std::fs::write(&file, SOURCES.iter().map(off).collect::<String>()).unwrap();
    let output = agent(&["check", "--config", file.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stdout));
    assert!(text(&output.stdout).contains("switched off by sources.syscalls.enabled"));
}

#[test]
fn without_privileges_the_rest_still_works() {
    // As nobody, in a copy that nobody may read.
    let folder = tempfile::Builder::new()
        .prefix("agent")
        .tempdir_in("/tmp")
        .unwrap();
    let copy = folder.path().join("monitoring-agent");
    std::fs::copy(env!("CARGO_BIN_EXE_monitoring-agent"), &copy).unwrap();
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(folder.path(), open).unwrap();
    let mut command = Command::new("setpriv");
    command.args([
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
        "--bounding-set=-all",
    ]);
    let output = command
        .arg("--inh-caps=-all")
        .arg(&copy)
        .arg("check")
        .output()
        .unwrap();
    let report = text(&output.stdout);
    assert!(output.status.success(), "{report}{}", text(&output.stderr));
    let line = |source: &str| {
        report
            .lines()
            .find(|line| line.starts_with(source))
            .unwrap()
    };
    assert!(line("host").contains(" ok "), "{report}");
    assert!(line("syscalls").contains(" no "), "{report}");
    assert!(line("syscalls").contains("run as root"), "{report}");
}

#[test]
fn a_port_in_use_is_said() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = agent(&["--listen", &address]);
    let message = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert!(
        message.contains("in use") && message.contains(&address),
        "{message}"
    );
    assert!(message.contains("metrics_port"), "names the key: {message}");
}

#[test]
fn a_bad_configuration_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bad.toml");
    std::fs::write(&file, "[monitoring]\ncollection_interval = \"10\"\n").unwrap();
    let output = agent(&["--config", file.to_str().unwrap()]);
    let message = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert!(
        message.contains("monitoring.collection_interval"),
        "{message}"
    );
    assert!(message.contains("10s"), "says the cure: {message}");
}

#[test]
fn profile_says_what_is_wrong_before_it_captures() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.svg");
    let file = file.to_str().unwrap();
    let check = |arguments: &[&str], code: i32, want: &str| {
        let output = agent(&[&["profile"], arguments].concat());
        let message = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{message}");
        assert!(message.contains(want), "{want}: {message}");
    };
    check(&[], 2, "--output <FILE>");
    check(&["-o", file, "--seconds", "0"], 2, "1..=3600");
    check(&["-o", file, "--hz", "1001"], 2, "1..=1000");
    check(&["-o", file, "--type", "heap"], 2, "cpu, offcpu, memory");
    check(
        &["-o", file, "--pid", "1", "--agent", "a"],
        2,
        "cannot be used with",
    );
    check(&["-o", file, "--pid", "4194304"], 1, "no process 4194304");
    check(&["-o", file, "--agent", "nobody"], 1, "there are: swarmlet");
    check(
        &["-o", "/nonexistent/a.svg"],
        1,
        "cannot write /nonexistent/a.svg",
    );
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}
