//! Torn files, a disk that is full, an agent that is killed, a directory that is not for us.

use std::{
    fs::{File, OpenOptions},
    io::Write as _,
    path::PathBuf,
    process::Command,
};

use super::*;

#[test]
fn a_torn_file_is_left_out_and_said() {
    let folder = tempfile::tempdir().unwrap();
    let history = History::open_at(options(folder.path()), at(0));
    let mut paths = Vec::new();
    for minute in 1..=6 {
        let value = 1 << minute;
        let kept = history.keep_at(Type::Cpu, MINUTE, &bytes("f", value), at(minute));
        paths.push(folder.path().join(kept.unwrap().name()));
    }
    let whole = fs::read(&paths[0]).unwrap();
    // Cut off, empty, with a wrong checksum, of something else.
    fs::write(&paths[0], &whole[..whole.len() / 2]).unwrap();
    fs::write(&paths[1], "").unwrap();
    let mut flipped = fs::read(&paths[2]).unwrap();
    let at_checksum = flipped.len() - 8;
    flipped[at_checksum] ^= 1;
    fs::write(&paths[2], flipped).unwrap();
    fs::write(&paths[3], "no profile at all").unwrap();
    let mut other = Profile::new(vec![ValueType::new("resident", "bytes")]);
    other.add_comment("of another kind");
    fs::write(&paths[5], pprof::write(&other)).unwrap();

    let query = Query::of(Type::Cpu, wall(0), wall(20));
    for _ in 0..2 {
        let found = history.query(&query, &|| false).unwrap();
        assert_eq!(
            (found.profile.total(0), found.windows, found.torn),
            (1 << 5, 1, 5)
        );
        let comments = found.profile.comments().collect::<Vec<_>>().join("\n");
        for path in paths.iter().take(4) {
            let name = path.file_name().unwrap().to_str().unwrap();
            assert!(
                comments.contains(&format!("torn, and left out: {name}")),
                "{comments}"
            );
        }
        assert_eq!(lost(&history, "window_torn"), 5, "each is counted once");
    }
    let torn = Query::of(Type::Cpu, wall(0), wall(4));
    let error = history.query(&torn, &|| false).unwrap_err();
    assert!(matches!(error, QueryError::Torn(4)), "{error}");
}

#[test]
fn any_cut_or_flipped_bit_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let history = History::open_at(options(folder.path()), at(0));
    let kept = history
        .keep_at(Type::Cpu, MINUTE, &bytes("f", 5), at(1))
        .unwrap();
    let path = folder.path().join(kept.name());
    let whole = fs::read(&path).unwrap();
    for length in 0..whole.len() {
        fs::write(&path, &whole[..length]).unwrap();
        assert_eq!(total(&history, 0, 9), None, "cut to {length}");
    }
    for at in 0..whole.len() {
        let mut flipped = whole.clone();
        flipped[at] ^= 0x10;
        fs::write(&path, flipped).unwrap();
        // Some bits of the header mean nothing; none may change what is read.
        let read = total(&history, 0, 9);
        assert!(read.is_none() || read == Some(5), "{at}: {read:?}");
        assert!(at < 10 || read.is_none(), "{at}: {read:?}");
    }
}

#[test]
fn what_was_half_written_is_removed_and_counted() {
    let folder = tempfile::tempdir().unwrap();
    let history = History::open_at(options(folder.path()), at(0));
    history
        .keep_at(Type::Cpu, MINUTE, &bytes("f", 5), at(1))
        .unwrap();
    let half = |minute: u32| {
        let window = Window::ending(Type::Cpu, wall(minute), MINUTE);
        folder.path().join(window.name_while_written())
    };
    fs::write(half(2), "half").unwrap();
    fs::write(half(3), "").unwrap();
    // Another agent is writing this one.
    let locked = File::create(half(4)).unwrap();
    locked.lock().unwrap();

    let next = History::open_at(options(folder.path()), at(5));
    assert_eq!(lost(&next, "window_half_written"), 2);
    assert_eq!(total(&next, 0, 9), Some(5));
    assert!(!half(2).exists() && !half(3).exists() && half(4).exists());
    drop(locked);
    // One that appears later is in the way of its own window only, and only if it is locked.
    fs::write(half(6), "half").unwrap();
    next.keep_at(Type::Cpu, MINUTE, &bytes("f", 6), at(6))
        .unwrap();
    assert_eq!(total(&next, 0, 9), Some(11));
    assert!(!half(6).exists());
}

/// A file system of its own, gone with the value.
struct Disk(PathBuf, #[allow(dead_code)] tempfile::TempDir);

impl Disk {
    fn of(size: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("disk");
        fs::create_dir(&path).unwrap();
        let mut mount = Command::new("mount");
        mount.args([
            "-t",
            "tmpfs",
            "-o",
            &format!("size={size},mode=700"),
            "tmpfs",
        ]);
        let status = mount.arg(&path).status().expect("mount is there");
        assert!(
            status.success(),
            "this test mounts a file system: run it as root"
        );
        Self(path, folder)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_loses_the_windows_of_that_time_only() {
    let disk = Disk::of("256k");
    let directory = disk.0.join("profiles");
    let history = History::open_at(options(&directory), at(0));
    history
        .keep_at(Type::Cpu, MINUTE, &bytes("f", 1), at(1))
        .unwrap();

    let filler = disk.0.join("filler");
    let mut file = OpenOptions::new()
        .create(true)
        .append(true)
        .open(&filler)
        .unwrap();
    let full = loop {
        if let Err(error) = file.write_all(&[1; 4096]) {
            break error;
        }
    };
    assert_eq!(full.kind(), io::ErrorKind::StorageFull);
    for minute in 2..=4 {
        let error = history.keep_at(Type::Cpu, MINUTE, &bytes("f", 2), at(minute));
        assert_eq!(error.unwrap_err().kind(), io::ErrorKind::StorageFull);
    }
    assert_eq!(lost(&history, "window_unwritten"), 3);
    assert!(
        history.writing().has_failed,
        "said once, until it is mended"
    );
    assert_eq!(names(&directory).len(), 1, "nothing half written stays");
    assert_eq!(
        total(&history, 0, 9),
        Some(1),
        "nothing that was kept is deleted"
    );

    drop(file);
    fs::remove_file(&filler).unwrap();
    history
        .keep_at(Type::Cpu, MINUTE, &bytes("f", 4), at(5))
        .unwrap();
    assert_eq!(total(&history, 0, 9), Some(5));
    assert_eq!(lost(&history, "window_unwritten"), 3);
    assert!(!history.writing().has_failed);
}

#[test]
fn a_directory_that_goes_away_is_made_again() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().join("profiles");
    fs::write(&directory, "a file is in the way").unwrap();
    let history = History::open_at(options(&directory), at(0));
    assert!(
        history
            .keep_at(Type::Cpu, MINUTE, &bytes("f", 1), at(1))
            .is_err()
    );
    fs::remove_file(&directory).unwrap();
    history
        .keep_at(Type::Cpu, MINUTE, &bytes("f", 2), at(2))
        .unwrap();
    fs::remove_dir_all(&directory).unwrap();
    history
        .keep_at(Type::Cpu, MINUTE, &bytes("f", 4), at(3))
        .unwrap();
    assert_eq!(total(&history, 0, 9), Some(4));
    assert_eq!(lost(&history, "window_unwritten"), 1);
}

#[test]
fn a_directory_that_others_may_write_to_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let open = fs::Permissions::from_mode(0o777);
    fs::set_permissions(folder.path(), open).unwrap();
    let history = History::open_at(options(folder.path()), at(0));
    let error = history
        .keep_at(Type::Cpu, MINUTE, &bytes("f", 1), at(1))
        .unwrap_err();
    assert!(error.to_string().contains("chmod 700"), "{error}");
    assert!(names(folder.path()).is_empty());
}

/// Names the directory to the process that is to be killed.
const VICTIM: &str = "MONITORING_TEST_HISTORY";

/// This test runs itself again, in a process that writes until it is killed.
#[test]
fn who_is_killed_loses_the_window_that_is_open() {
    if let Some(directory) = std::env::var_os(VICTIM) {
        let history = History::open_at(options(Path::new(&directory)), at(0));
        // As many bytes as are written in several steps, and never the same twice.
        for minute in 1.. {
            let mut profile = profile("f", 1, "a", 7);
            for number in 0..2000_u32 {
                profile.add_comment(format!("{:x}", number.wrapping_mul(minute * 7919)));
            }
            let kept = history.keep_at(Type::Cpu, MINUTE, &pprof::write(&profile), at(minute));
            kept.unwrap();
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let mut half_written = 0;
    for round in 1..=100 {
        let directory = folder.path().join(round.to_string());
        let mut victim = Command::new(std::env::current_exe().unwrap());
        let this =
            "profile::history::tests::disasters::who_is_killed_loses_the_window_that_is_open";
        victim.args(["--exact", this]).env(VICTIM, &directory);
        let mut victim = victim.stdout(std::process::Stdio::null()).spawn().unwrap();
        poll_until("it has written some windows", || {
            fs::read_dir(&directory).is_ok_and(|files| files.count() >= round % 5 + 2)
        });
        victim.kill().unwrap();
        victim.wait().unwrap();

        let history = History::open_at(options(&directory), at(0));
        half_written += lost(&history, "window_half_written");
        let windows = history.windows().unwrap().len();
        assert_eq!(
            names(&directory).len(),
            windows,
            "all that is left has its name"
        );
        let everything = i64::try_from(windows).unwrap();
        assert_eq!(
            total(&history, 0, u32::MAX >> 8),
            Some(everything),
            "and is whole"
        );
        assert_eq!(lost(&history, "window_torn"), 0);
        if round >= 5 && half_written >= 3 {
            return;
        }
    }
    panic!("only {half_written} of a hundred were killed while they wrote");
}

fn poll_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = std::time::Instant::now() + MINUTE;
    while !condition() {
        assert!(std::time::Instant::now() < deadline, "still not so: {what}");
        std::thread::yield_now();
    }
}
