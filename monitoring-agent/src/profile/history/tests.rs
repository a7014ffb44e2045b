//! The history on a real file system: whole, torn, full, deleted, and named by a clock that jumps.

mod disasters;
mod merging;

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use monitoring_profile::{Label, Line, Profile, ValueType, pprof};

use super::*;

const MINUTE: Duration = Duration::from_mins(1);

fn options(directory: &Path) -> HistoryOptions {
    HistoryOptions {
        directory: directory.to_owned(),
        max_bytes: 1 << 20,
        retention: Duration::from_hours(24),
    }
}

/// A moment so many minutes after some other, by both clocks.
fn at(minutes: u32) -> Now {
    Now {
        wall: UNIX_EPOCH + Duration::from_secs(1_700_000_000) + MINUTE * minutes,
        since_boot: Duration::from_hours(10) + MINUTE * minutes,
    }
}

fn wall(minutes: u32) -> SystemTime {
    at(minutes).wall
}

/// A profile of one function, which has taken so long.
fn profile(function: &str, nanoseconds: i64, agent: &str, pid: i64) -> Profile {
    let mut profile = Profile::new(vec![ValueType::new("cpu", "nanoseconds")]);
    let function = profile.function(function, function, "", 0);
    let line = Line { function, line: 0 };
    let location = profile.location(None, 0x1000, &[line]);
    let labels = [Label::text("agent", agent), Label::number("pid", pid)];
    profile.sample(&[location], &[nanoseconds], &labels);
    profile
}

fn bytes(function: &str, nanoseconds: i64) -> Vec<u8> {
    pprof::write(&profile(function, nanoseconds, "a", 7))
}

/// The names of all files, hidden ones included.
fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let name = |entry: io::Result<fs::DirEntry>| entry.unwrap().file_name().into_string().unwrap();
    let mut names: Vec<_> = entries.map(name).collect();
    names.sort();
    names
}

fn lost(history: &History, reason: &str) -> u64 {
    let lost = history.lost();
    let found = lost.iter().find(|(name, _)| *name == reason);
    found.map(|(_, count)| *count).unwrap()
}

fn none_is_lost(history: &History) {
    assert!(history.lost().iter().all(|(_, count)| *count == 0));
}

/// The total of what is found between two times, in minutes.
fn total(history: &History, from: u32, to: u32) -> Option<i64> {
    let query = Query::of(Type::Cpu, wall(from), wall(to));
    let found = history.query(&query, &|| false).ok()?;
    Some(found.profile.total(0))
}

#[test]
fn a_window_is_a_file_for_the_agent_alone() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().join("new/profiles");
    let history = History::open_at(options(&directory), at(0));
    let window = history
        .keep_at(Type::Cpu, MINUTE, &bytes("f", 5), at(1))
        .unwrap();
    let want = "profile-cpu-1700000000000-1700000060000.pb.gz";
    assert_eq!(
        (window.name().as_str(), names(&directory)),
        (want, vec![want.to_owned()])
    );
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!(
        (mode(&directory), mode(&directory.join(want))),
        (0o700, 0o600)
    );
    // The directory above may be others' as well.
    assert_eq!(mode(directory.parent().unwrap()) & 0o700, 0o700);
    assert_eq!(fs::read(directory.join(want)).unwrap(), bytes("f", 5));
    none_is_lost(&history);
    let families = history.families();
    let values: Vec<_> = families
        .iter()
        .map(|family| family.get_metric()[0].get_gauge().get_value())
        .collect();
    assert_eq!(values, [1.0, 4096.0]);
}

#[test]
fn the_oldest_go_for_want_of_room() {
    let folder = tempfile::tempdir().unwrap();
    let small = HistoryOptions {
        max_bytes: 3 * 4096,
        ..options(folder.path())
    };
    let history = History::open_at(small, at(0));
    for minute in 1..=5 {
        let kind = if minute % 2 == 0 {
            Type::Memory
        } else {
            Type::Cpu
        };
        history
            .keep_at(kind, MINUTE, &bytes("f", 5), at(minute))
            .unwrap();
    }
    let ends: Vec<_> = history
        .windows()
        .unwrap()
        .iter()
        .map(|window| window.end_ms)
        .collect();
    let minute = |minute: u64| 1_700_000_000_000 + minute * 60_000;
    assert_eq!(ends, [minute(3), minute(4), minute(5)]);
    // One that is too large for all of the room is lost, and takes no other with it.
    let large = vec![0; 3 * 4096 + 1];
    let error = history
        .keep_at(Type::Cpu, MINUTE, &large, at(6))
        .unwrap_err();
    assert!(error.to_string().contains("history_max_bytes"), "{error}");
    assert_eq!(
        (
            history.windows().unwrap().len(),
            lost(&history, "window_unwritten")
        ),
        (3, 1)
    );
}

#[test]
fn what_is_too_old_goes() {
    let folder = tempfile::tempdir().unwrap();
    let history = History::open_at(options(folder.path()), at(0));
    let day = 24 * 60;
    history
        .keep_at(Type::Cpu, MINUTE, &bytes("f", 1), at(10))
        .unwrap();
    history
        .keep_at(Type::Cpu, MINUTE, &bytes("f", 2), at(20))
        .unwrap();
    history
        .keep_at(Type::Cpu, MINUTE, &bytes("f", 4), at(day + 10))
        .unwrap();
    assert_eq!(total(&history, 0, 2 * day), Some(7), "not older than a day");
    history
        .keep_at(Type::Cpu, MINUTE, &bytes("f", 8), at(day + 11))
        .unwrap();
    assert_eq!(total(&history, 0, 2 * day), Some(14));
    none_is_lost(&history);
}

#[test]
fn windows_of_a_clock_that_was_ahead_do_not_stay_for_ever() {
    let folder = tempfile::tempdir().unwrap();
    let year = 365 * 24 * 60;
    let foreign = "profile-gpu-9000000000000-9000000060000.pb.gz";
    fs::write(folder.path().join(foreign), [0; 9000]).unwrap();
    let small = HistoryOptions {
        max_bytes: 3 * 4096,
        ..options(folder.path())
    };
    let history = History::open_at(small.clone(), at(year));
    let keep = |history: &History, value, now| {
        let kept = history.keep_at(Type::Cpu, MINUTE, &bytes("f", value), now);
        kept.unwrap();
    };
    for (minute, value) in [(1, 1), (2, 2), (3, 4)] {
        keep(&history, value, at(year + minute));
    }
    // The clock is right again, and has been for some time.
    let history = History::open_at(small, at(0));
    for (minute, value) in [(361, 8), (362, 16)] {
        keep(&history, value, at(minute));
    }
    assert_eq!(total(&history, 0, 2 * year), Some(4 + 8 + 16));
    for (minute, value) in [(363, 32), (364, 64)] {
        keep(&history, value, at(minute));
    }
    assert_eq!(total(&history, 0, 2 * year), Some(16 + 32 + 64));
    assert!(names(folder.path()).contains(&foreign.to_owned()));
    none_is_lost(&history);
}

#[test]
fn nothing_else_in_the_directory_is_touched() {
    let folder = tempfile::tempdir().unwrap();
    let foreign = [
        ".profile-cpu-1.pb.gz.tmp",
        "notes.txt",
        "profile-cpu-1600000000000-1600000060000.pb.gz.bak",
        "profile-cpu-1600000060000-1600000000000.pb.gz",
        "profile-gpu-1600000000000-1600000060000.pb.gz",
    ];
    for name in foreign {
        fs::write(folder.path().join(name), [0; 9000]).unwrap();
    }
    let directory = "profile-cpu-1600000000000-1600000060000.pb.gz";
    fs::create_dir(folder.path().join(directory)).unwrap();
    let link = "profile-cpu-1600000000000-1600000070000.pb.gz";
    std::os::unix::fs::symlink("notes.txt", folder.path().join(link)).unwrap();
    let small = HistoryOptions {
        max_bytes: 4096,
        retention: MINUTE,
        ..options(folder.path())
    };
    let history = History::open_at(small, at(0));
    for minute in [1, 1000] {
        history
            .keep_at(Type::Cpu, MINUTE, &bytes("f", 5), at(minute))
            .unwrap();
    }
    let mut names = names(folder.path());
    names.retain(|name| Window::named(name).is_none_or(|w| w.start_ms < 1_690_000_000_000));
    let mut want: Vec<_> = foreign.iter().copied().chain([directory, link]).collect();
    want.sort_unstable();
    assert_eq!(names, want);
    assert_eq!(history.windows().unwrap().len(), 1);
}

#[test]
fn a_clock_that_is_put_back_or_ahead_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let history = History::open_at(options(folder.path()), at(0));
    let keep = |value, now| history.keep_at(Type::Cpu, MINUTE, &bytes("f", value), now);
    // Both clocks agree for long enough that ages count.
    keep(1, at(1)).unwrap();
    keep(2, at(1000)).unwrap();
    let jump = |wall_minutes: u32, boot_minutes: u32| Now {
        wall: wall(wall_minutes),
        ..at(boot_minutes)
    };
    // A year ahead: all that is there would be too old.
    let year = 365 * 24 * 60;
    keep(4, jump(1001 + year, 1001)).unwrap();
    // Back, to the very same minutes, twice.
    keep(8, jump(1000, 1002)).unwrap();
    keep(16, jump(1000, 1003)).unwrap();
    // Before 1970.
    let before = Now {
        wall: UNIX_EPOCH - MINUTE,
        ..at(1004)
    };
    keep(32, before).unwrap();
    assert_eq!(history.windows().unwrap().len(), 6);
    assert_eq!(total(&history, 0, 2 * year), Some(1 + 2 + 4 + 8 + 16));
    assert_eq!(total(&history, 999, 1000), Some(2 + 8 + 16));
    let query = Query::of(Type::Cpu, UNIX_EPOCH, UNIX_EPOCH + MINUTE);
    assert_eq!(
        history.query(&query, &|| false).unwrap().profile.total(0),
        32
    );
    for window in history.windows().unwrap() {
        assert!(window.start_ms <= window.end_ms);
    }
    none_is_lost(&history);
}
