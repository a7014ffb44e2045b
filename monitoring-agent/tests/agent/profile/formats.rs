//! The same profile in all its forms: equal totals, and the same list as Go's pprof makes of it.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use monitoring_profile::{Profile, pprof, top};

use super::{
    capture::{Answer, Capture, PPROF, agent, agent_with, fetch, is_of, stacks, type_named},
    workload::Workload,
};
use crate::{poll::poll_until, process::Agent};

/// Go and what it keeps, by `cargo xtask setup`, below the workspace.
const KEPT_GO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../.tools/go");

/// Go's pprof with these arguments. It writes into the folder alone, and asks nobody but who is in
/// its arguments.
fn pprof_of_go(folder: &Path, arguments: &[&str]) -> Command {
    let versions = fs::read_dir(KEPT_GO).into_iter().flatten().flatten();
    let mut programs = versions.map(|version| version.path().join("bin/pprof"));
    let program = programs.find(|program| program.is_file());
    let program =
        program.unwrap_or_else(|| panic!("no pprof in {KEPT_GO}; `cargo xtask setup` fetches it"));
    let mut command = Command::new(program);
    command.arg("-symbolize=none").args(arguments);
    command.env("HOME", folder).env("PPROF_TMPDIR", folder);
    command
}

/// What a program prints that must succeed.
fn printed(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

/// The sum of folded stacks: what stands behind the last space of each line.
fn total_of_folded(answer: &Answer) -> i64 {
    assert_eq!(answer.status, 200, "{}", answer.text());
    let text = answer.text();
    let values = text.lines().map(|line| line.rsplit_once(' ').unwrap().1);
    values.map(|value| value.parse::<i64>().unwrap()).sum()
}

/// The total of a flame graph, which its lowest frame tells: `all (1,234 samples, 100%)`.
fn total_of_graph(answer: &Answer) -> i64 {
    assert_eq!(answer.status, 200, "{}", answer.text());
    let text = answer.text();
    assert!(text.starts_with("<?xml"), "no SVG: {text:.200}");
    let (_, from) = text.split_once("<title>all (").expect("the lowest frame");
    let number = from.split(' ').next().unwrap();
    number.replace(',', "").parse().unwrap()
}

/// A profile in three forms, each with a total for the value of this name.
fn check_totals(profile: &Profile, kind: &str, folded: &Answer, graph: &Answer) {
    let total = profile.total(type_named(profile, kind));
    assert!(total > 0);
    let totals = [total_of_folded(folded), total_of_graph(graph)];
    assert_eq!(totals, [total; 2], "{kind}");
}

/// Asks for what was kept between these two moments, in a form.
fn kept(agent: &Agent, path: &str, span: &str, value: &str) -> Answer {
    let value = if value.is_empty() {
        ""
    } else {
        &format!("&value={value}")
    };
    fetch(
        &agent.address,
        &format!("{path}?{span}{value}"),
        Duration::ZERO,
    )
}

/// Captures made one after the other differ; what was kept of the past is the same in each form.
#[test]
fn all_forms_have_the_same_totals() {
    let folder = tempfile::tempdir().unwrap();
    let history = folder.path().join("history");
    let agent = agent_with(
        folder.path(),
        &format!(
            "hertz = 199\nhistory_window = '1s'\nhistory_directory = '{}'\n",
            history.display()
        ),
    );
    let mut split = Workload::start(folder.path(), "split", &["4", "2"]);
    split.begin();
    let [_cpu_ns] = split.done(Duration::ZERO);
    let windows = || fs::read_dir(&history).map_or(0, |files| files.flatten().count());
    poll_until("some windows are kept", || (windows() >= 4).then_some(()));
    // Only what is over does not change any more: until the last whole minute of the future has
    // come, windows go on to be added. The end is therefore a time that has passed.
    let now = std::time::SystemTime::now();
    let now = now.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let before = windows();
    poll_until("the next window is kept", || {
        (windows() > before + 2).then_some(())
    });
    let span = format!("from={}&to={now}", now - 60);
    let profile = kept(&agent, PPROF, &span, "").profile();
    let of_split = stacks(&profile, "samples", |sample| is_of(sample, split.pid()));
    assert!(of_split.values().sum::<i64>() > 0, "the program is in it");
    for (kind, value) in [("cpu", ""), ("cpu", "cpu"), ("samples", "samples")] {
        let lines = kept(&agent, "/folded", &span, value);
        let graph = kept(&agent, "/flamegraph", &span, value);
        check_totals(&profile, kind, &lines, &graph);
    }
    let again = kept(&agent, PPROF, &span, "").profile();
    assert_eq!(again.total(1), profile.total(1), "the past has changed");
    split.end();
}

/// A row of `pprof -top`: flat and cumulative values, and the name.
type Row = (i64, i64, String);

/// Reads `go tool pprof -top -unit=count`-like lists: `flat flat% sum% cum cum% name`.
fn rows_of_go(text: &str) -> Vec<Row> {
    let lines = text
        .lines()
        .skip_while(|line| !line.trim_start().starts_with("flat "));
    let rows = lines.skip(1).map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let number = |word: &str| {
            let digits = word.trim_end_matches(|letter: char| letter.is_alphabetic());
            digits.parse().unwrap_or_else(|_| panic!("{line}"))
        };
        (number(words[0]), number(words[3]), words[5..].join(" "))
    });
    let mut rows: Vec<Row> = rows.collect();
    rows.sort_by(|a, b| (b.0, b.1, &a.2).cmp(&(a.0, a.1, &b.2)));
    rows
}

#[test]
fn gos_pprof_makes_the_same_list() {
    let folder = tempfile::tempdir().unwrap();
    let agent = agent(folder.path(), "");
    let mut split = Workload::start(folder.path(), "split", &["6", "2"]);
    let query = format!("hz=199&pid={}", split.pid());
    let capture = Capture::begin(&agent, PPROF, 4, &query);
    split.begin();
    let file = folder.path().join("profile.pb.gz");
    let answer = capture.answer();
    let profile = answer.profile();
    fs::write(&file, &answer.body).unwrap();

    let file = file.to_str().unwrap();
    let list = |value: &str| {
        let index = format!("-sample_index={value}");
        let all = ["-nodecount=100000", "-nodefraction=0", "-edgefraction=0"];
        let arguments = [&["-top", &index][..], &all, &[file]];
        printed(&mut pprof_of_go(folder.path(), &arguments.concat()))
    };
    let text = list("samples");
    let mut ours: Vec<Row> = top::by_function(&profile, type_named(&profile, "samples"))
        .rows
        .into_iter()
        .map(|row| (row.flat, row.cumulative, row.name))
        .collect();
    ours.sort_by(|a, b| (b.0, b.1, &a.2).cmp(&(a.0, a.1, &b.2)));
    assert_eq!(rows_of_go(&text), ours, "{text}");
    assert!(text.contains("sixty"), "{text}");

    // The default is time, which is the last and so need not be marked, and the total that it prints
    // is the profile's.
    let raw = printed(&mut pprof_of_go(folder.path(), &["-raw", file]));
    assert!(
        raw.contains("samples/count cpu/nanoseconds\n"),
        "{raw:.400}"
    );
    let sampled: i64 = raw_samples(&raw);
    assert_eq!(sampled, profile.total(1), "{raw:.400}");
    // What it writes of it, we read again.
    let again = folder.path().join("again.pb.gz");
    let output = format!("-output={}", again.display());
    printed(&mut pprof_of_go(folder.path(), &["-proto", &output, file]));
    let again = fs::read(again).unwrap();
    let again = pprof::read(&again, pprof::Limits::default()).unwrap();
    assert_eq!(again.total(1), profile.total(1));
    split.end();
}

/// The sum of the second values in `pprof -raw`: lines such as `    12   60606060: 1 2 3`.
fn raw_samples(raw: &str) -> i64 {
    let samples = raw
        .lines()
        .skip_while(|line| !line.starts_with("samples/count"));
    let samples = samples.skip(1).take_while(|line| *line != "Locations");
    let values = samples.filter_map(|line| {
        let (values, _) = line.split_once(": ")?;
        let mut numbers = values.split_whitespace().map(str::parse);
        let (Some(Ok::<i64, _>(_)), Some(Ok(second)), None) =
            (numbers.next(), numbers.next(), numbers.next())
        else {
            return None;
        };
        Some(second)
    });
    values.sum()
}

#[test]
fn gos_pprof_captures_from_the_endpoint() {
    let folder = tempfile::tempdir().unwrap();
    let agent = agent(folder.path(), "");
    let mut split = Workload::start(folder.path(), "split", &["60", "2"]);
    split.begin();
    let address = format!(
        "http://{}{PPROF}?seconds=2&pid={}",
        agent.address,
        split.pid()
    );
    let text = printed(&mut pprof_of_go(folder.path(), &["-top", &address]));
    let rows = text.lines().filter(|line| line.ends_with(" sixty"));
    assert_eq!(rows.count(), 1, "{text}");
    assert!(text.contains("Type: cpu"), "{text}");
}
