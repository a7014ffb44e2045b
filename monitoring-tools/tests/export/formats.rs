//! Formats, filters, files, pipes.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    os::unix::fs::{PermissionsExt as _, symlink},
    path::Path,
    process::{Command, Stdio},
};

use serde_json::Value;

use crate::{
    EXPORT, export, printed,
    stand_in::{FIRST, SECOND, StandIn, TEXT},
};

/// Lines with a value.
fn values(text: &str) -> usize {
    text.lines().filter(|line| !line.starts_with('#')).count()
}

#[test]
fn every_format_has_every_value() {
    let node = StandIn::new(|_, _| (200, TEXT, FIRST.to_owned()));
    let of = |format: &str| printed(&["--url", &node.url(), "--format", format]);
    let want = values(FIRST);
    let json: Vec<Value> = serde_json::from_str(&of("json")).unwrap();
    let metrics = json
        .iter()
        .flat_map(|family| family["metrics"].as_array().unwrap());
    let in_json = metrics.map(|metric| match &metric["histogram"]["buckets"] {
        Value::Array(buckets) => buckets.len() + 2,
        _ => 1,
    });
    assert_eq!(in_json.sum::<usize>(), want);
    assert_eq!(of("csv").lines().count(), want + 1);
    assert_eq!(values(&of("openmetrics")), want);
    // It is the text of the node itself, but for how it writes infinity.
    let sorted = |text: &str| {
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    assert_eq!(sorted(&of("prometheus")), sorted(FIRST));
    assert_eq!(
        printed(&["--url", &node.url()]),
        of("json"),
        "JSON is the default"
    );
}

/// Prometheus' own tool reads what is written.
#[test]
fn prometheus_reads_both_texts() {
    let timed: String = FIRST
        .lines()
        .map(|line| {
            let time = if line.starts_with('#') {
                ""
            } else {
                " 1700000000000"
            };
            format!("{line}{time}\n")
        })
        .collect::<Vec<_>>()
        .concat();
    let node = StandIn::new(move |_, _| (200, TEXT, timed.clone()));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let url = node.url();
    let write = |name: &str| {
        assert!(export(path, &["--url", &url, "-o", name]).status.success());
    };
    write("a.om");
    let promtool = |arguments: &[&str]| {
        let mut command = Command::new("promtool");
        command.current_dir(path).args(arguments);
        let output = command.output();
        output.expect("promtool can be started; `cargo xtask setup` installs it")
    };
    let output = promtool(&[
        "tsdb",
        "create-blocks-from",
        "openmetrics",
        "a.om",
        "blocks",
    ]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(
        said.contains(&format!(" {} ", values(FIRST))),
        "all values are in the block: {said}"
    );
    write("a.prom");
    let mut check = Command::new("promtool");
    check
        .args(["check", "metrics"])
        .stdin(fs::File::open(path.join("a.prom")).unwrap());
    let output = check.output().unwrap();
    // It may have a taste of its own in names, which are the catalogue's.
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        !errors.contains("error while linting") && !errors.contains("parsing"),
        "{errors}"
    );
}

#[test]
fn filters_leave_what_was_asked_for() {
    let node = StandIn::new(|_, _| (200, TEXT, FIRST.to_owned()));
    let of = |more: &[&str]| {
        let base = ["--url", &node.url(), "--format", "prometheus"];
        printed(&[&base, more].concat())
    };
    let text = of(&["--match", "node_load?", "--match", "node_boot*"]);
    let names: Vec<&str> = text
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split(' ').next())
        .collect();
    assert_eq!(
        names,
        ["node_boot_time_seconds", "node_load1", "node_load5"]
    );
    let text = of(&[
        "--match",
        "agent_*",
        "--label",
        "agent=swarmlet",
        "--label",
        "kind=rss",
    ]);
    let start = "agent_memory_bytes{agent=\"swarmlet\",kind=\"rss\"} ";
    let want = FIRST.lines().find(|line| line.starts_with(start)).unwrap();
    assert_eq!(text.lines().last(), Some(want));
    assert_eq!(values(&text), 1);
    let text = of(&[
        "--match",
        "sched_runqueue_latency_seconds",
        "--label",
        "agent=other",
    ]);
    assert_eq!(values(&text), 16, "a histogram is one metric: {text}");
}

#[test]
fn files_are_whole_or_as_they_were() {
    let node = StandIn::agent("", "");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let url = node.url();
    let write = |name: &str, more: &[&str]| {
        let output = export(path, &[&["--url", &url, "-o", name], more].concat());
        output.status.code()
    };
    fs::write(path.join("old.csv"), "old").unwrap();
    fs::set_permissions(path.join("old.csv"), fs::Permissions::from_mode(0o640)).unwrap();
    assert_eq!(write("old.csv", &["--match", "none"]), Some(1));
    assert_eq!(fs::read(path.join("old.csv")).unwrap(), b"old");
    symlink("old.csv", path.join("link.csv")).unwrap();
    assert_eq!(write("link.csv", &[]), Some(0));
    let text = fs::read_to_string(path.join("old.csv")).unwrap();
    assert!(
        text.starts_with("name,type,labels,value\n"),
        "the ending is the format"
    );
    assert!(path.join("link.csv").is_symlink());
    let mode = fs::metadata(path.join("old.csv"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o640, "its permissions stay");
    assert_eq!(write("new.json", &[]), Some(0));
    assert_eq!(write("none/a.json", &[]), Some(1));
    let mut names: Vec<_> = fs::read_dir(path)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    names.sort();
    assert_eq!(
        names,
        ["link.csv", "new.json", "old.csv"],
        "nothing else is left"
    );
    // A device is written to, and not replaced.
    assert_eq!(write("/dev/null", &[]), Some(0));
    assert!(!Path::new("/dev/null").is_file());
}

#[test]
fn whoever_reads_may_stop() {
    let node = StandIn::new(|_, _| (200, TEXT, SECOND.to_owned()));
    let mut command = Command::new(EXPORT);
    command.args(["--url", &node.url(), "--format", "csv"]);
    let mut running = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut reader = BufReader::with_capacity(16, running.stdout.take().unwrap());
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    assert_eq!(line, "name,type,labels,value\n");
    drop(reader);
    let output = running.wait_with_output().unwrap();
    assert_eq!(
        (output.status.code(), output.stderr.as_slice()),
        (Some(0), &b""[..])
    );
}
