//! How the tool is used: formats, files, pipes, exit codes.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::Path,
    process::Stdio,
};

use monitoring_profile::{
    Label, Line, Profile, ValueType,
    pprof::{self, Limits},
};
use serde_json::Value;

use super::{analyzer, complaint, output, printed};

/// A profile with so many functions, each of which takes its number; and `main`, which takes none.
fn profile(functions: i64) -> Profile {
    let mut profile = Profile::new(vec![ValueType::new("samples", "count")]);
    let place = |profile: &mut Profile, name: &str| {
        let function = profile.function(name, "", "", 0);
        profile.location(None, 0, &[Line { function, line: 0 }])
    };
    let main = place(&mut profile, "main");
    for number in 1..=functions {
        let work = place(&mut profile, &format!("work{number}"));
        let process = if number % 2 == 0 { "even" } else { "odd" };
        profile.sample(&[work, main], &[number], &[Label::text("process", process)]);
    }
    profile
}

fn folder(functions: i64) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(
        folder.path().join("a.pprof"),
        pprof::write(&profile(functions)),
    )
    .unwrap();
    folder
}

#[test]
fn the_table_is_as_documented() {
    let folder = folder(4);
    let want = "\
Type: samples (count)
Showing 3 of 5 rows, 9 (90.00%) of 10 in all
      flat  flat%   sum%        cum   cum%  function
         4 40.00% 40.00%          4 40.00%  work4
         3 30.00% 70.00%          3 30.00%  work3
         2 20.00% 90.00%          2 20.00%  work2
";
    assert_eq!(printed(folder.path(), &["a.pprof", "--top", "3"]), want);
    let want = "\
Type: samples (count)
Showing 2 of 2 rows, 10 (100%) of 10 in all
     value value%   sum%  process
         6 60.00% 60.00%  even
         4 40.00%   100%  odd
";
    assert_eq!(
        printed(folder.path(), &["a.pprof", "--by", "process"]),
        want
    );
    let want = "\
Type: samples (count)
main: 0 flat (0%), 10 cum (100%) of 10 in all
     value value%  callee
         4 40.00%  work4
         3 30.00%  work3
";
    assert_eq!(
        printed(
            folder.path(),
            &["a.pprof", "--callees", "mai", "--top", "2"]
        ),
        want
    );
}

#[test]
fn all_formats_have_the_same_total() {
    let folder = folder(50);
    let folder = folder.path();
    for name in ["a.json", "a.folded", "a.svg", "b.pprof", "b.pb.gz"] {
        assert_eq!(printed(folder, &["a.pprof", "-o", name]), "", "{name}");
    }
    let read = |name: &str| fs::read(folder.join(name)).unwrap();
    let text = |name: &str| String::from_utf8(read(name)).unwrap();
    let total = 50 * 51 / 2;
    let json: Value = serde_json::from_str(&text("a.json")).unwrap();
    assert_eq!(json["total"], total);
    assert_eq!(
        json["rows"].as_array().unwrap().len(),
        51,
        "JSON has all rows"
    );
    let values = |line: &str| line.rsplit_once(' ').unwrap().1.parse::<i64>().unwrap();
    assert_eq!(text("a.folded").lines().map(values).sum::<i64>(), total);
    assert!(text("a.svg").contains(&format!("total_samples=\"{total}\"")));
    for name in ["b.pprof", "b.pb.gz"] {
        let profile = pprof::read(&read(name), Limits::default()).unwrap();
        assert_eq!(profile.total(0), total, "{name}");
    }
    let piped = output(&mut analyzer(folder, &["a.pprof", "--format", "pprof"]));
    assert_eq!(piped.stdout, read("b.pprof"));
}

/// As py-spy writes them with `--format raw`.
#[test]
fn folded_stacks_are_read_too() {
    let folder = tempfile::tempdir().unwrap();
    let lines = "<module> (a.py:9);work (a.py:3) 30\n<module> (a.py:9) 10\n";
    fs::write(folder.path().join("raw.txt"), lines).unwrap();
    let want = "\
Type: samples (count)
Showing 2 of 2 rows, 40 (100%) of 40 in all
      flat  flat%   sum%        cum   cum%  function
        30 75.00% 75.00%         30 75.00%  work (a.py:3)
        10 25.00%   100%         40   100%  <module> (a.py:9)
";
    assert_eq!(printed(folder.path(), &["raw.txt"]), want);
}

#[test]
fn differences_are_in_all_formats() {
    let folder = folder(3);
    let folder = folder.path();
    fs::write(folder.join("b.pprof"), pprof::write(&profile(4))).unwrap();
    let diff = |format: &str| {
        printed(
            folder,
            &["b.pprof", "--diff", "a.pprof", "--format", format],
        )
    };
    assert_eq!(diff("folded").lines().last(), Some("odd;main;work3 3 3"));
    assert!(diff("folded").contains("even;main;work4 0 4\n"));
    assert!(diff("svg").contains("work4 (4 count, 40.00%; +40.00%)"));
    let json: Value = serde_json::from_str(&diff("json")).unwrap();
    assert_eq!((&json["total"], &json["whole"]), (&4.into(), &6.into()));
    assert!(
        diff("table").contains("66.67%"),
        "parts of what was there before"
    );
}

#[test]
fn profiles_of_other_values_are_not_compared() {
    let folder = folder(1);
    let folder = folder.path();
    let kinds = [
        "alloc_objects",
        "alloc_space",
        "inuse_objects",
        "inuse_space",
    ];
    let mut heap = Profile::new(kinds.map(|kind| ValueType::new(kind, "count")).to_vec());
    heap.sample(&[], &[1, 2, 3, 4], &[]);
    fs::write(folder.join("heap.pprof"), pprof::write(&heap)).unwrap();
    // The last of several values is the default, and one that the other profile has not.
    for (after, before) in [("heap.pprof", "a.pprof"), ("a.pprof", "heap.pprof")] {
        let (status, errors) = complaint(folder, &[after, "--diff", before]);
        assert_eq!(status, Some(1), "{errors}");
        assert!(errors.contains("measure different things"), "{errors}");
    }
}

#[test]
fn errors_name_the_file_and_what_is_wrong() {
    let folder = folder(2);
    let folder = folder.path();
    let whole = fs::read(folder.join("a.pprof")).unwrap();
    fs::write(folder.join("cut.pprof"), &whole[..whole.len() / 2]).unwrap();
    fs::write(folder.join("empty.pprof"), "").unwrap();
    fs::write(folder.join("stacks.folded"), "main;work 3\nmain;work\n").unwrap();
    let mut other = Profile::new(vec![ValueType::new("space", "bytes")]);
    other.sample(&[], &[1], &[]);
    fs::write(folder.join("other.pprof"), pprof::write(&other)).unwrap();
    let check = |line: &str, code: i32, want: &str| {
        let arguments: Vec<&str> = line.split(' ').collect();
        let (status, errors) = complaint(folder, &arguments);
        assert_eq!(status, Some(code), "{line}: {errors}");
        assert!(errors.contains(want), "{line}: {errors:?} says {want:?}");
    };
    check("none.pprof", 1, "read none.pprof: No such file");
    check("cut.pprof", 1, "read cut.pprof: it is cut off");
    check("empty.pprof", 1, "read empty.pprof: it is empty");
    check(
        "stacks.folded",
        1,
        "read stacks.folded: it is damaged: line 2 does not end in a number",
    );
    check(".", 1, "read .: Is a directory");
    check(
        "a.pprof other.pprof",
        1,
        "add other.pprof to what comes before it: the profiles measure different things",
    );
    check("a.pprof --diff other.pprof", 1, "measure different things");
    check(
        "a.pprof --diff other.pprof --format svg",
        1,
        "measure different things",
    );
    check(
        "a.pprof --type cpu",
        1,
        "the profile has no type cpu; it has samples",
    );
    check(
        "a.pprof --by agent",
        1,
        "no sample has the label agent; there are process",
    );
    check("other.pprof --by agent", 1, "no sample has a label");
    check(
        "a.pprof --callers nobody",
        1,
        "no sample has a function whose name contains nobody",
    );
    check(
        "a.pprof --callers work",
        1,
        "2 functions have names that contain work:\n  work2\n  work1",
    );
    check("a.pprof -o none/b.svg", 1, "write none/b.svg: No such file");
    check("a.pprof --focus (", 2, "unclosed group");
    check("a.pprof --label process", 2, "KEY=VALUE");
    check("--top 3", 2, "FILE");
}

#[test]
fn profiles_come_and_go_through_pipes() {
    let folder = folder(5000);
    let file = fs::File::open(folder.path().join("a.pprof")).unwrap();
    let mut command = analyzer(folder.path(), &["-", "--top", "0"]);
    command
        .stdin(file)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut running = command.spawn().unwrap();
    // As `head` does: one line, and no more.
    let mut line = String::new();
    let mut reader = BufReader::with_capacity(16, running.stdout.take().unwrap());
    reader.read_line(&mut line).unwrap();
    assert_eq!(line, "Type: samples (count)\n");
    drop(reader);
    let output = running.wait_with_output().unwrap();
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
    assert_eq!(output.status.code(), Some(0));
}

/// Bold headings are for terminals, and for users who have not declined.
#[test]
fn only_terminals_get_escape_sequences() {
    let folder = folder(2);
    assert!(!printed(folder.path(), &["a.pprof"]).contains('\x1b'));
    let on_terminal = |variables: &[(&str, &str)]| {
        let program = env!("CARGO_BIN_EXE_profile-analyzer");
        let mut script = std::process::Command::new("script");
        let line = format!("{program} a.pprof");
        script.args(["--quiet", "--return", "--command", &line, "/dev/null"]);
        script
            .env_remove("NO_COLOR")
            .env("TERM", "xterm")
            .envs(variables.iter().copied());
        let output = output(script.current_dir(folder.path()).stdin(Stdio::null()));
        let shown = String::from_utf8(output.stdout).unwrap();
        assert!(shown.contains("flat%"), "{shown}");
        shown.contains("\x1b[1m")
    };
    assert!(on_terminal(&[]));
    assert!(on_terminal(&[("NO_COLOR", "")]));
    assert!(!on_terminal(&[("NO_COLOR", "1")]));
    assert!(!on_terminal(&[("TERM", "dumb")]));
}

/// A function's name may be anything; what a terminal takes for commands is not passed on.
#[test]
fn names_do_no_harm_to_terminals() {
    let place = tempfile::tempdir().unwrap();
    let mut profile = Profile::new(vec![ValueType::new("samples", "count")]);
    let function = profile.function("evil\x1b]0;title\x07\nname", "", "", 0);
    let location = profile.location(None, 0, &[Line { function, line: 0 }]);
    profile.sample(&[location], &[1], &[]);
    fs::write(place.path().join("a.pprof"), pprof::write(&profile)).unwrap();
    let table = printed(place.path(), &["a.pprof"]);
    assert!(table.contains(r"evil\u{1b}]0;title\u{7}\nname"), "{table}");
    let folded = printed(place.path(), &["a.pprof", "--format", "folded"]);
    assert_eq!(folded, "evil ]0:title  name 1\n");
}

#[test]
fn the_help_says_what_exit_codes_mean() {
    let help = printed(Path::new("."), &["--help"]);
    for part in [
        "Exit codes: 0",
        "--callers <FUNCTION>",
        "--diff <BEFORE>",
        "table",
        "folded",
    ] {
        assert!(help.contains(part), "{part}: {help}");
    }
}
