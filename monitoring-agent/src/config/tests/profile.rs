//! `[sources.profile]`, and the settings of `[monitoring]` that go with it.

use super::*;

#[test]
fn every_key_has_its_effect() {
    let file = "[sources.profile]\nenabled = false\nevent = 'cycles'\nhertz = 99\noffcpu = true\n\
                memory = true\naccess = 'everywhere'\nmax_captures = 4\nhistory = false\n\
                history_directory = '/srv/profiles'\nhistory_window = '1m'\n\
                history_max_bytes = '20 MB'";
    let want = ProfileConfig {
        enabled: false,
        event: ProfileEvent::Cycles,
        hertz: Some(99),
        offcpu: true,
        memory: true,
        access: ProfileAccess::Everywhere,
        max_captures: 4,
        history: false,
        history_directory: "/srv/profiles".into(),
        history_window: Duration::from_mins(1),
        history_max_bytes: 20_000_000,
    };
    assert_eq!(load_file(file).unwrap().config.sources.profile, want);
}

fn one(line: &str) -> ProfileConfig {
    let loaded = load_file(&format!("[sources.profile]\n{line}"));
    let loaded = loaded.unwrap_or_else(|error| panic!("{line}: {error}"));
    loaded.config.sources.profile
}

#[test]
fn names_and_sizes_are_read() {
    use ProfileAccess::{Loopback, Off};
    assert_eq!(one("event = 'cpu-clock'").event, ProfileEvent::CpuClock);
    assert_eq!(one("event = 'auto'").event, ProfileEvent::Auto);
    assert_eq!(one("access = 'off'").access, Off);
    assert_eq!(one("access = 'loopback'").access, Loopback);
    let check = |text: &str, want: u64| {
        let read = one(&format!("history_max_bytes = {text}")).history_max_bytes;
        assert_eq!(read, want, "{text}");
    };
    check("1048576", 1 << 20);
    check("0x100000", 1 << 20);
    check("'1048576'", 1 << 20);
    check("'1048576B'", 1 << 20);
    check("'2000kB'", 2_000_000);
    check("'1024KiB'", 1 << 20);
    check("'3MB'", 3_000_000);
    check("'1 MiB'", 1 << 20);
    check("'7GB'", 7_000_000_000);
    check("'1GiB'", 1 << 30);
    check("'1TB'", 1_000_000_000_000);
    check("'2TiB'", 2 << 40);
}

#[test]
fn what_is_out_of_bounds_is_an_error() {
    let check = |line: &str, fault: &str, cure: &str| {
        let error = load_file(&format!("[sources.profile]\n{line}")).unwrap_err();
        let message = error.to_string();
        let key = format!("sources.profile.{}", line.split_once(" = ").unwrap().0);
        for part in [&key, fault, cure] {
            assert!(message.contains(part), "{part}: {message}");
        }
    };
    let hertz = "use a whole number from 1 to 1000";
    check("hertz = 0", "out of range", hertz);
    check("hertz = 1001", "out of range", hertz);
    check("hertz = 19.5", "a number with a fraction where", hertz);
    check("event = 'instructions'", "not an event", "\"cpu-clock\"");
    check("event = true", "true or false where", "\"cycles\"");
    check("access = 'all'", "not a kind of access", "\"everywhere\"");
    check("max_captures = 0", "out of range", "from 1 to 16");
    check("max_captures = 17", "out of range", "from 1 to 16");
    check("history = 'yes'", "a string where", "true or false");
    let directory = "use the absolute path of a directory";
    check("history_directory = ''", "empty", directory);
    check("history_directory = 'a/b'", "does not begin", directory);
    check("history_directory = '//'", "the root", directory);
    check(
        "history_directory = \"/a\\u0000b\"",
        "control character",
        directory,
    );
    check(
        "history_window = '999ms'",
        "shorter than a second",
        "\"1s\"",
    );
    check("history_window = '61m'", "longer than one hour", "10s");
    check("history_window = 10", "a whole number where", "10s");
    let bytes = "use a number of bytes of at least 1 MiB";
    check("history_max_bytes = 1048575", "out of range", bytes);
    check("history_max_bytes = -1", "out of range", bytes);
    check("history_max_bytes = '16777216TiB'", "out of range", bytes);
    check("history_max_bytes = 'GiB'", "begin with a number", bytes);
    check("history_max_bytes = '1.5GiB'", "not a whole", bytes);
    check("history_max_bytes = '1gib'", "not a whole", bytes);
    check("history_max_bytes = 1e9", "with a fraction where", bytes);
    check("window = '1m'", "unknown key", "known here: enabled, event");
}

#[test]
fn the_rate_stands_for_samples_a_second() {
    let check = |file: &str, want: u32, notes: usize| {
        let loaded = load_file(file).unwrap();
        assert_eq!(loaded.config.profile_hertz(), want, "{file}");
        assert_eq!(loaded.notes.len(), notes, "{:?}", loaded.notes);
    };
    let rate = |rate: &str| format!("[monitoring]\nprofile_sample_rate = {rate}");
    check("", 19, 0);
    check(&rate("1"), 190, 0);
    check(&rate("0.5"), 95, 0);
    check(&rate("0.001"), 1, 0);
    check(&rate("1e-300"), 1, 0);
    check(&rate("0"), 0, 0);
    check(&rate("-0.0"), 0, 0);
    check("[sources.profile]\nhertz = 99", 99, 0);
    let both = format!("{}\n[sources.profile]\nhertz = 99", rate("0.5"));
    check(&both, 99, 1);
    let notes = load_file(&both).unwrap().notes;
    assert!(notes[0].contains("hertz, 99, wins"), "{notes:?}");
}

#[test]
fn no_path_of_profiles_is_left_for_metrics() {
    for path in [
        "/flamegraph",
        "/folded",
        "/debug/pprof",
        "/debug/pprof/profile",
    ] {
        let error = load_file(&format!("[monitoring]\nmetrics_path = '{path}'")).unwrap_err();
        assert!(error.to_string().contains("serves something else"));
    }
}
