//! One screen as text, for scripts.

use std::{
    process::{Command, Output, Stdio},
    time::Instant,
};

use crate::{
    MONITOR,
    stand_in::{LIMIT, StandIn, TEXT},
};

fn once(nodes: &[&StandIn], more: &[&str]) -> Output {
    let mut command = Command::new(MONITOR);
    command
        .args(["--once", "--interval", "100ms"])
        .args(more)
        .stdin(Stdio::null());
    for node in nodes {
        command.args(["--url", &node.url()]);
    }
    command.output().unwrap()
}

fn text(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn errors(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn a_screen_is_printed_as_text() {
    let node = StandIn::agent("", "");
    let output = once(&[&node], &["--size", "100x30"]);
    let text = text(&output);
    assert!(output.status.success());
    assert_eq!(text.lines().count(), 30);
    assert!(text.contains("LOST") && !text.contains('\u{1b}'), "{text}");
    assert!(
        text.lines()
            .any(|line| line.starts_with("vda") && line.contains("Mi")),
        "{text}"
    );
}

#[test]
fn every_node_is_printed_and_one_answer_is_enough() {
    let (one, mut two) = (StandIn::agent("", ""), StandIn::agent("gpu-01", "gpu-02"));
    let output = once(&[&one, &two], &[]);
    assert!(
        text(&output).contains("\n gpu-02 (cpu)"),
        "{}",
        text(&output)
    );
    two.go();
    let output = once(&[&one, &two], &[]);
    assert!(
        output.status.success() && text(&output).contains("AWAY"),
        "{}",
        text(&output)
    );
    let output = once(&[&two], &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output).contains("connection refused"));
    assert_eq!(
        errors(&output),
        format!(
            "stratoswarm-monitor: no node has answered\n  {}: connection refused: nothing listens there\n",
            two.address
        )
    );
}

#[test]
fn a_node_that_never_has_news_is_shown_when_the_wait_is_over() {
    let node = StandIn::new(|_, _| {
        (
            200,
            TEXT,
            "# TYPE node_load1 gauge\nnode_load1 0.5\n".to_owned(),
        )
    });
    let output = once(&[&node], &["--wait", "300ms"]);
    assert!(output.status.success());
    let text = text(&output);
    assert!(
        text.contains("no agent answers there") && text.contains("load 0.50 – –"),
        "{text}"
    );
}

#[test]
fn the_flame_graph_is_waited_for() {
    let node = StandIn::agent("", "");
    let output = once(&[&node], &["--view", "flame", "--flame-seconds", "1"]);
    assert!(
        text(&output).contains("all  535ms of CPU time"),
        "{}",
        text(&output)
    );
}

#[test]
fn a_flame_graph_that_nobody_has_is_a_failure() {
    let node = StandIn::new(|path, _| {
        let status = if path.starts_with("/folded") {
            503
        } else {
            200
        };
        (status, TEXT, "node_load1 0.5\n".to_owned())
    });
    let output = once(&[&node], &["--view", "flame", "--wait", "100ms"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        errors(&output),
        format!(
            "stratoswarm-monitor: no node has a profile\n  {}: it answers 503: node_load1 0.5\n",
            node.address
        )
    );
}

#[test]
fn a_flame_graph_of_a_node_that_is_away_is_a_failure_that_says_why() {
    let mut gone = StandIn::agent("", "");
    gone.go();
    let flame = ["--view", "flame", "--size", "100x30"];
    let begun = Instant::now();
    let output = once(&[&gone], &flame);
    assert!(begun.elapsed() < LIMIT, "nobody waits for its profile");
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        errors(&output),
        format!(
            "stratoswarm-monitor: no node has answered\n  {}: connection refused: nothing listens there\n",
            gone.address
        )
    );
    let shown = text(&output);
    assert!(
        shown.contains("AWAY") && shown.contains("connection refused"),
        "{shown}"
    );
    // Another one has a profile: its graph is there, and the first is shown to be away.
    let here = StandIn::agent("", "");
    let output = once(
        &[&gone, &here],
        &[&flame[..], &["--flame-seconds", "1"]].concat(),
    );
    assert!(output.status.success(), "{}", errors(&output));
    let shown = text(&output);
    assert!(
        shown.contains("AWAY") && shown.contains("all  535ms of CPU time"),
        "{shown}"
    );
}

#[test]
fn without_a_terminal_it_says_what_to_do() {
    let node = StandIn::agent("", "");
    // In a session of its own there is no terminal to be found elsewhere.
    let mut command = Command::new("setsid");
    command.args(["--wait", MONITOR, "--url", &node.url()]);
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        errors.contains("--once prints a screen as text"),
        "{errors}"
    );
}

#[test]
fn wrong_usage_is_named() {
    let check = |line: &str, want: &str| {
        let output = Command::new(MONITOR)
            .args(line.split(' '))
            .output()
            .unwrap();
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{line}: {errors}");
        assert!(errors.contains(want), "{line}: {errors}");
    };
    check("--url https://a", "agents serve no TLS");
    check("--url ftp://a", "begins with http://");
    check("--interval 1ms", "at least 100ms");
    check("--interval soon", "expected number");
    check("--once --size big", "it is written 80x24");
    check("--once --size 80x5000", "at most 1000x1000");
    check("--size 80x24", "--once");
    check("--flame-seconds 0", "1..=60");
    check("--view all", "possible values");
}
