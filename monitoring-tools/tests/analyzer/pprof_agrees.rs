//! `go tool pprof` and this tool say the same of the same file: of Go's own profiles, and of ours.

use std::{collections::BTreeMap, fs, path::Path};

use monitoring_profile::{Label, Line, Mapping, Profile, ValueType, pprof};
use serde_json::Value;

use super::{
    go::{self, Profiles},
    printed,
};

/// Function, and what its row says: flat, flat%, sum%, cum, cum%.
type Row = (String, [String; 5]);

/// The rows of a list, below its heading.
#[track_caller]
fn rows(list: &str) -> Vec<Row> {
    let heading = |line: &str| line.trim_start().starts_with("flat ");
    let below = list.lines().skip_while(|line| !heading(line)).skip(1);
    let rows = below.map(|line| {
        let mut rest = line;
        let columns = [(); 5].map(|()| {
            let (column, after) = rest.trim_start().split_once(' ').unwrap();
            rest = after;
            column.to_owned()
        });
        // pprof also says what was inlined.
        let name = rest
            .trim()
            .trim_end_matches(" (inline)")
            .trim_end_matches(" (partial-inline)");
        (name.to_owned(), columns)
    });
    let rows: Vec<Row> = rows.collect();
    assert!(!rows.is_empty(), "{list}");
    rows
}

/// Compares all rows, in their order.
#[track_caller]
fn compare(folder: &Path, theirs: &[&str], ours: &[&str]) {
    let mut all = vec!["-top", "-nodecount=0", "-nodefraction=0"];
    all.extend(theirs);
    let theirs = go::pprof(folder, &all);
    let ours = printed(folder, &[&["--top", "0"], ours].concat());
    assert_eq!(rows(&ours), rows(&theirs), "{ours}\n{theirs}");
}

#[test]
fn lists_of_go_s_cpu_profile() {
    let folder = Profiles::get().folder();
    compare(folder, &["-flat", "cpu.pb.gz"], &["cpu.pb.gz"]);
    compare(folder, &["-cum", "cpu.pb.gz"], &["--cum", "cpu.pb.gz"]);
    compare(
        folder,
        &["-sample_index=samples", "cpu.pb.gz"],
        &["--type", "samples", "cpu.pb.gz"],
    );
    compare(
        folder,
        &["-focus=recurse", "cpu.pb.gz"],
        &["--focus", "recurse", "cpu.pb.gz"],
    );
    compare(
        folder,
        &["-ignore=recurse", "cpu.pb.gz"],
        &["--ignore", "recurse", "cpu.pb.gz"],
    );
    compare(
        folder,
        &["-focus=main\\.go", "cpu.pb.gz"],
        &["--focus", "main\\.go", "cpu.pb.gz"],
    );
    compare(
        folder,
        &["-tagfocus=phase=one", "cpu.pb.gz"],
        &["--label", "phase=one", "cpu.pb.gz"],
    );
    compare(
        folder,
        &["cpu.pb.gz", "cpu.pb.gz"],
        &["cpu.pb.gz", "cpu.pb.gz"],
    );
    let list = printed(folder, &["cpu.pb.gz", "--top", "0"]);
    let known = |name: &str| rows(&list).iter().any(|(row, _)| row == name);
    assert!(
        ["main.spin", "main.recurse", "main.inlined"]
            .into_iter()
            .all(known),
        "{list}"
    );
}

#[test]
fn lists_of_go_s_memory_profile() {
    let folder = Profiles::get().folder();
    compare(folder, &["heap.pb.gz"], &["heap.pb.gz"]);
    for kind in [
        "alloc_objects",
        "alloc_space",
        "inuse_objects",
        "inuse_space",
    ] {
        compare(
            folder,
            &[&format!("-sample_index={kind}"), "heap.pb.gz"],
            &["--type", kind, "heap.pb.gz"],
        );
    }
    let list = printed(
        folder,
        &["heap.pb.gz", "--type", "inuse_space", "--format", "json"],
    );
    let list: Value = serde_json::from_str(&list).unwrap();
    let held = list["rows"]
        .as_array()
        .unwrap()
        .iter()
        .find(|row| row["name"] == "main.hold");
    assert!(
        held.unwrap()["flat"].as_i64().unwrap() >= 100 * (64 << 10),
        "{list}"
    );
}

/// Callers and callees, each with what was counted during their calls.
#[test]
fn calls_in_go_s_cpu_profile() {
    let folder = Profiles::get().folder();
    let theirs = go::pprof(
        folder,
        &[
            "-peek=^main\\.recurse$",
            "-nodefraction=0",
            "-edgefraction=0",
            "-unit=ns",
            "cpu.pb.gz",
        ],
    );
    let separator = theirs
        .lines()
        .position(|line| line.trim_start().starts_with("flat"))
        .unwrap();
    let calls = |own: bool| {
        let lines = theirs
            .lines()
            .skip(separator + 2)
            .take_while(|line| !line.starts_with('-'));
        let lines: Vec<&str> = lines.collect();
        let at = lines
            .iter()
            .position(|line| line.contains("| main.recurse"))
            .unwrap();
        let lines = if own { &lines[at + 1..] } else { &lines[..at] };
        let call = |line: &&str| {
            let (numbers, name) = line.split_once('|').unwrap();
            let value = numbers
                .split_whitespace()
                .next()
                .unwrap()
                .trim_end_matches("ns");
            (
                name.trim().trim_end_matches(" (inline)").to_owned(),
                value.parse().unwrap(),
            )
        };
        lines.iter().map(call).collect::<BTreeMap<String, i64>>()
    };
    let ours = printed(
        folder,
        &["cpu.pb.gz", "--callers", "main.recurse", "--format", "json"],
    );
    let ours: Value = serde_json::from_str(&ours).unwrap();
    for (own, list) in [(false, "callers"), (true, "callees")] {
        let list = ours[list].as_array().unwrap().iter().map(|call| {
            let name = call["name"].as_str().unwrap().to_owned();
            (name, call["value"].as_i64().unwrap())
        });
        assert_eq!(
            list.collect::<BTreeMap<_, _>>(),
            calls(own),
            "{ours:#}\n{theirs}"
        );
    }
}

/// A profile such as the agent makes: several processes, the kernel, files without names.
fn ours(slow: i64) -> Profile {
    let types = [("samples", "count"), ("cpu", "nanoseconds")];
    let types = types.map(|(kind, unit)| ValueType::new(kind, unit));
    let mut profile = Profile::new(types.to_vec());
    profile.set_time(1_800_000_000_000_000_000, 2_000_000_000);
    profile.set_period(ValueType::new("cpu", "nanoseconds"), 10_000_000);
    let file = |start: u64, file: &str| Mapping {
        start,
        limit: start + 0x1000,
        file: file.to_owned(),
        // pprof takes files for the same by it.
        build_id: format!("{start:016x}"),
        has_functions: true,
        ..Mapping::default()
    };
    let program = profile.mapping(&file(0x40_0000, "/srv/app/bin/app"));
    let library = profile.mapping(&file(0x7f00_0000, "/usr/lib/libstripped.so.1"));
    let kernel = profile.mapping(&file(0xffff_ffff_8000_0000, "[kernel]"));
    let mut line = |name: &str| Line {
        function: profile.function(name, name, "app.rs", 1),
        line: 7,
    };
    let (main, slow_one, inlined) = (
        line("app::main"),
        line("app::slow"),
        line("<T as app::Inlined>::f"),
    );
    let read = line("vfs_read");
    let main = profile.location(Some(program), 0x40_0010, &[main]);
    let both = profile.location(Some(program), 0x40_0020, &[inlined, slow_one]);
    let read = profile.location(Some(kernel), 0xffff_ffff_8000_0100, &[read]);
    let stripped = [0x10, 0x20].map(|at| profile.location(Some(library), 0x7f00_0000 + at, &[]));
    let samples = [
        (vec![both, both, main], 50 * slow),
        (vec![read, both, main], 7),
        (vec![stripped[0], stripped[1], main], 20),
        (vec![stripped[1], main], 3),
        (vec![main], 1),
    ];
    for (number, (stack, count)) in samples.into_iter().enumerate() {
        for (process, pid) in [("app", 100), ("worker", 101)] {
            let labels = [Label::text("process", process), Label::number("pid", pid)];
            profile.sample(&stack, &[count, count * 10_000_000], &labels);
        }
        assert_eq!(profile.samples().len(), 2 * (number + 1));
    }
    profile
}

#[test]
fn lists_of_our_own_profile() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (before, after) = (ours(1), ours(3));
    fs::write(folder.join("before.pb.gz"), pprof::write(&before)).unwrap();
    fs::write(folder.join("after.pb.gz"), pprof::write(&after)).unwrap();
    compare(folder, &["after.pb.gz"], &["after.pb.gz"]);
    compare(folder, &["-cum", "after.pb.gz"], &["--cum", "after.pb.gz"]);
    compare(
        folder,
        &["-sample_index=samples", "after.pb.gz"],
        &["--type", "samples", "after.pb.gz"],
    );
    compare(
        folder,
        &["before.pb.gz", "after.pb.gz"],
        &["before.pb.gz", "after.pb.gz"],
    );
    compare(
        folder,
        &["-focus=libstripped", "after.pb.gz"],
        &["--focus", "libstripped", "after.pb.gz"],
    );
    compare(
        folder,
        &["-tagfocus=process=worker", "after.pb.gz"],
        &["--label", "process=worker", "after.pb.gz"],
    );
    compare(
        folder,
        &["-diff_base=before.pb.gz", "after.pb.gz"],
        &["--diff", "before.pb.gz", "after.pb.gz"],
    );
    compare(
        folder,
        &["-diff_base=after.pb.gz", "before.pb.gz"],
        &["--diff", "after.pb.gz", "before.pb.gz"],
    );
    // So are frames that the profile itself calls uninteresting.
    let mut dropping = ours(1);
    dropping.set_uninteresting("vfs_.*|<T as app::In.*", "vfs_write");
    fs::write(folder.join("dropping.pb.gz"), pprof::write(&dropping)).unwrap();
    compare(folder, &["dropping.pb.gz"], &["dropping.pb.gz"]);
    let list = printed(folder, &["dropping.pb.gz"]);
    assert!(
        !list.contains("Inlined") && list.contains("app::slow"),
        "{list}"
    );
    // What this tool writes is read there as well.
    let files = ["before.pb.gz", "after.pb.gz"];
    let focus = ["--focus", "slow"];
    printed(
        folder,
        &[&files[..], &focus, &["-o", "merged.pb.gz"]].concat(),
    );
    compare(folder, &["merged.pb.gz"], &["merged.pb.gz"]);
    compare(
        folder,
        &["-relative_percentages", "-focus=slow", files[0], files[1]],
        &["merged.pb.gz"],
    );
}

/// pprof's own check of a file: it prints all of it, with the labels.
#[test]
fn pprof_reads_all_of_ours() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("ours.pb.gz"), pprof::write(&ours(1))).unwrap();
    let raw = go::pprof(folder.path(), &["-raw", "ours.pb.gz"]);
    for part in [
        "samples/count cpu/nanoseconds",
        "process:[worker]",
        "pid:[101]",
        "/usr/lib/libstripped.so.1",
        "000000007f000000",
        "Period: 10000000",
    ] {
        assert!(raw.contains(part), "{part} in {raw}");
    }
}
