//! A `/proc` in a folder, as a hostile process would like it.

use std::{
    ffi::CString,
    fs,
    os::unix::{
        ffi::OsStrExt as _,
        fs::{MetadataExt as _, symlink},
    },
    path::{Path, PathBuf},
    time::Instant,
};

use tempfile::TempDir;

use super::{DRIVER, RUNTIME, accept, build, coverage, library, users};
use crate::{
    executed::files::{GRACE, MAX_PROBED},
    sources::cuda::discovery::{Coverage, Discovery},
};

struct Proc {
    folder: TempDir,
}

impl Proc {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn discovery(&self) -> Discovery {
        Discovery::new(self.folder.path())
    }

    /// A process that executes files, the first of them its program.
    fn process(&self, pid: u32, started: u32, files: &[&Path]) -> PathBuf {
        let folder = self.path(&pid.to_string());
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(folder.join(format!("task/{pid}"))).unwrap();
        fs::create_dir(folder.join("map_files")).unwrap();
        let zeros = "0 ".repeat(12);
        let stat = format!("{pid} (a) S 1 2 3 0 -1 0 {zeros}{started} 88 9 10 26 27 28\n");
        fs::write(folder.join(format!("task/{pid}/stat")), stat).unwrap();
        fs::write(folder.join("status"), "VmExe: 4 kB\nVmLib: 8 kB\n").unwrap();
        let mut maps = Vec::new();
        for (at, file) in files.iter().enumerate() {
            let range = format!("{:x}-{:x}", at + 1, at + 2);
            maps.extend(format!("{range} r-xp 0 00:00 {} ", at + 1).into_bytes());
            maps.extend(file.as_os_str().as_bytes());
            maps.push(b'\n');
            symlink(file, folder.join("map_files").join(range)).unwrap();
        }
        fs::write(folder.join("maps"), maps).unwrap();
        if let Some(program) = files.first() {
            symlink(program, folder.join("exe")).unwrap();
        }
        folder
    }
}

fn fifo(path: &Path) {
    let path = CString::new(path.as_os_str().as_bytes()).unwrap();
    // SAFETY: the path is zero-ended.
    assert_eq!(unsafe { libc::mkfifo(path.as_ptr(), 0o600) }, 0);
}

fn reason(discovery: &Discovery, pid: u32) -> String {
    match coverage(discovery, pid) {
        Some(Coverage::Unreadable(reason)) => reason,
        other => panic!("{other:?}"),
    }
}

#[test]
fn one_file_of_many_processes_is_found_once_and_gone_after_the_last() {
    let proc = Proc::new();
    let program = proc.path("program");
    let runtime = proc.path("libcudart.so.12");
    build("int main(void) { return 0; }", &[], &program);
    library(RUNTIME, &runtime);
    for pid in [7, 8] {
        proc.process(pid, 1, &[&program, &runtime]);
    }
    proc.process(9, 1, &[&program]);
    let mut discovery = proc.discovery();
    let now = Instant::now();
    let look = discovery.look_now(now);
    let [found] = &look.found[..] else {
        panic!("{look:?}")
    };
    let key = found.key;
    assert_eq!(users(&discovery, key), [7, 8]);
    assert!(reason(&discovery, 7).ends_with("not probed yet"));
    assert!(look.unreadable.is_empty());
    accept(&mut discovery, &look);
    assert_eq!(coverage(&discovery, 7), Some(Coverage::Attached));
    assert_eq!(coverage(&discovery, 9), None);
    // Nothing new. Then one user is left, and then none.
    fs::remove_dir_all(proc.path("7")).unwrap();
    let look = discovery.look_now(now);
    assert!(look.found.is_empty() && look.gone.is_empty());
    assert_eq!(users(&discovery, key), [8]);
    fs::remove_dir_all(proc.path("8")).unwrap();
    assert!(discovery.look_now(now).gone.is_empty());
    let almost = now + GRACE / 2;
    assert!(discovery.look_now(almost).gone.is_empty());
    // Used once more, and then not for all of the time.
    proc.process(10, 1, &[&program, &runtime]);
    let look = discovery.look_now(almost);
    assert!(look.found.is_empty() && look.gone.is_empty());
    assert_eq!(coverage(&discovery, 10), Some(Coverage::Attached));
    fs::remove_dir_all(proc.path("10")).unwrap();
    assert!(discovery.look_now(now + GRACE).gone.is_empty());
    assert_eq!(discovery.look_now(now + GRACE * 2).gone, [key]);
    assert!(discovery.look_now(now + GRACE * 4).gone.is_empty());
    // Its next user has it found anew.
    proc.process(11, 1, &[&program, &runtime]);
    assert_eq!(discovery.look_now(now + GRACE * 4).found.len(), 1);
}

#[test]
fn hostile_files_are_reported_and_skipped() {
    let proc = Proc::new();
    let pipe = proc.path("libcudart.so.12");
    let torn = proc.path("libcudart.so.13");
    let empty = proc.path("libcuda.so.1");
    let folder = proc.path("libcuda.so.2");
    let whole = proc.path("whole");
    fifo(&pipe);
    library(RUNTIME, &whole);
    let bytes = fs::read(&whole).unwrap();
    fs::write(&torn, &bytes[..bytes.len() / 2]).unwrap();
    fs::write(&empty, "").unwrap();
    fs::create_dir(&folder).unwrap();
    for (pid, file) in [(1, &pipe), (2, &torn), (3, &empty), (4, &folder)] {
        proc.process(pid, 1, &[file]);
    }
    let no_functions = proc.path("libcuda.so.3");
    library("int a(void) { return 0; }", &no_functions);
    proc.process(5, 1, &[&no_functions]);
    let mut discovery = proc.discovery();
    let look = discovery.look();
    assert!(look.found.is_empty(), "{look:?}");
    assert!(reason(&discovery, 1).ends_with("libcudart.so.12: not a regular file"));
    assert!(reason(&discovery, 2).contains("libcudart.so.13: torn ELF file"));
    assert!(reason(&discovery, 3).ends_with("libcuda.so.1: not an ELF file"));
    assert!(reason(&discovery, 4).ends_with("libcuda.so.2: not a regular file"));
    assert!(reason(&discovery, 5).ends_with("none of CUDA's functions are in it"));
    assert_eq!(look.unreadable.len(), 5);
    // Each is said once.
    assert!(discovery.look().unreadable.is_empty());
}

#[test]
fn a_process_is_covered_by_what_it_has() {
    let proc = Proc::new();
    let main = "int main(void) { return 0; }\n";
    let at = |name: &str| proc.path(name);
    let (plain, stripped, with_runtime) = (at("plain"), at("stripped"), at("with_runtime"));
    build(main, &[], &plain);
    build(main, &["-s"], &stripped);
    build(&format!("{main}{RUNTIME}"), &[], &with_runtime);
    let (driver, runtime, renamed) = (
        at("libcuda.so.1"),
        at("libcudart-0a1b.so.11"),
        at("libx.so"),
    );
    library(DRIVER, &driver);
    library(RUNTIME, &runtime);
    library(RUNTIME, &renamed);
    proc.process(1, 1, &[&plain, &driver]);
    proc.process(2, 1, &[&stripped, &driver]);
    proc.process(3, 1, &[&with_runtime, &driver]);
    proc.process(4, 1, &[&stripped, &driver, &runtime]);
    proc.process(5, 1, &[&stripped, &driver, &renamed]);
    // Its program has the runtime, but does not use it.
    proc.process(6, 1, &[&with_runtime]);
    let debugger = at("libcudadebugger.so.1");
    library(DRIVER, &debugger);
    proc.process(7, 1, &[&plain, &debugger]);
    let mut discovery = proc.discovery();
    let look = discovery.look();
    assert_eq!(look.found.len(), 4, "{look:?}");
    accept(&mut discovery, &look);
    let check = |pid, want| assert_eq!(coverage(&discovery, pid), want, "{pid}");
    check(1, Some(Coverage::Attached));
    check(2, Some(Coverage::Stripped));
    check(3, Some(Coverage::Static));
    check(4, Some(Coverage::Attached));
    check(5, Some(Coverage::Static));
    check(6, None);
    check(7, None);
    // The caller could not.
    let failed = look
        .found
        .iter()
        .find(|found| found.path.ends_with("libcuda.so.1"));
    discovery.probed(failed.unwrap().key, Err("no such thing".to_owned()));
    assert!(reason(&discovery, 4).ends_with("libcuda.so.1: no such thing"));
    assert_eq!(discovery.look().unreadable.len(), 1);
}

#[test]
fn another_program_in_the_same_process_is_seen() {
    let proc = Proc::new();
    let (first, second) = (proc.path("libcudart.so.12"), proc.path("libcudart.so.13"));
    library(RUNTIME, &first);
    library(RUNTIME, &second);
    proc.process(7, 1, &[&first]);
    let mut discovery = proc.discovery();
    assert_eq!(discovery.look().found.len(), 1);
    // The number is another process's now.
    proc.process(7, 2, &[&second]);
    let look = discovery.look();
    assert_eq!(look.found.len(), 1);
    assert_eq!(users(&discovery, look.found[0].key), [7]);
    // Nothing tells, but at last it is read again.
    proc.process(7, 2, &[&first, &second]);
    let looks = (0..64).take_while(|_| {
        discovery.look();
        discovery
            .processes
            .get(&7)
            .unwrap()
            .uses
            .as_ref()
            .unwrap()
            .runtime
            .len()
            < 2
    });
    assert!(looks.count() < 32);
}

#[test]
fn without_map_files_only_the_very_file_is_opened() {
    let proc = Proc::new();
    let folder = proc.process(7, 1, &[]);
    fs::create_dir_all(folder.join("root/lib")).unwrap();
    let library_path = folder.join("root/lib/libcuda.so.1\nx (deleted)");
    library(DRIVER, &library_path);
    let metadata = fs::metadata(&library_path).unwrap();
    let device = metadata.dev();
    let maps = |inode: u64| {
        let device = format!("{:x}:{:x}", libc::major(device), libc::minor(device));
        let line = format!("1-2 r-xp 0 {device} {inode} /lib/libcuda.so.1\\012x (deleted)\n");
        fs::write(folder.join("maps"), line).unwrap();
    };
    maps(metadata.ino());
    let look = proc.discovery().look();
    assert_eq!(look.found.len(), 1, "{look:?}");
    assert!(
        look.found[0]
            .path
            .ends_with(r"libcuda.so.1\\012x (deleted)")
    );
    maps(metadata.ino() + 1);
    let look = proc.discovery().look();
    assert!(look.found.is_empty(), "{look:?}");
    assert!(look.unreadable[0].1.contains("find it"), "{look:?}");
}

#[test]
fn a_file_that_changes_is_given_anew_if_its_functions_do() {
    let proc = Proc::new();
    let runtime = proc.path("libcudart.so.12");
    library(RUNTIME, &runtime);
    proc.process(7, 1, &[&runtime]);
    let mut discovery = proc.discovery();
    let now = Instant::now();
    let look = discovery.look_now(now);
    accept(&mut discovery, &look);
    let key = look.found[0].key;
    // Other times, the same functions.
    let bytes = fs::read(&runtime).unwrap();
    fs::write(&runtime, &bytes).unwrap();
    let look = discovery.look_now(now + GRACE);
    assert!(look.found.is_empty() && look.gone.is_empty(), "{look:?}");
    assert_eq!(coverage(&discovery, 7), Some(Coverage::Attached));
    // Cut while it is probed.
    fs::write(&runtime, &bytes[..200]).unwrap();
    let look = discovery.look_now(now + GRACE * 2);
    assert_eq!(look.gone, [key]);
    assert!(look.unreadable[0].1.contains("torn"), "{look:?}");
    // And written again, with another function.
    let other = proc.path("other");
    library(
        &format!("{RUNTIME}int cudaMalloc(void) {{ return 1; }}"),
        &other,
    );
    fs::copy(&other, &runtime).unwrap();
    let look = discovery.look_now(now + GRACE * 3);
    assert_eq!((look.gone.len(), look.found.len()), (0, 1), "{look:?}");
    assert_eq!(look.found[0].points.len(), 2);
    accept(&mut discovery, &look);
    assert_eq!(coverage(&discovery, 7), Some(Coverage::Attached));
}

#[test]
fn many_copies_of_a_library_do_not_use_up_descriptors() {
    let proc = Proc::new();
    let whole = proc.path("whole");
    library(RUNTIME, &whole);
    let come = |first: u32, count: u32| {
        for pid in first..first + count {
            let copy = proc.path(&format!("libcudart.so.{pid}"));
            fs::copy(&whole, &copy).unwrap();
            proc.process(pid, 1, &[&copy]);
        }
    };
    let most = u32::try_from(MAX_PROBED).unwrap();
    come(1, most + 10);
    let mut discovery = proc.discovery();
    let look = discovery.look();
    assert_eq!(look.found.len(), MAX_PROBED);
    accept(&mut discovery, &look);
    let states = || discovery.processes().map(|(_, coverage)| coverage.state());
    assert_eq!(
        states().filter(|state| *state == "attached").count(),
        MAX_PROBED
    );
    assert_eq!(look.unreadable.len(), 10);
    assert!(reason(&discovery, most + 10).ends_with("more files than are probed"));
    // As they come and go, the oldest give way, long before their time.
    let mut left: i64 = look.found.len().try_into().unwrap();
    for round in 1..8 {
        for pid in (round - 1) * 1_000..round * 1_000 {
            let _ = fs::remove_dir_all(proc.path(&pid.to_string()));
        }
        come(round * 1_000, most / 2);
        for _ in 0..3 {
            let look = discovery.look();
            accept(&mut discovery, &look);
            left += i64::try_from(look.found.len()).unwrap();
            left -= i64::try_from(look.gone.len()).unwrap();
        }
        assert!((1..=i64::from(most)).contains(&left), "{left}");
        let last = round * 1_000 + most / 2 - 1;
        assert_eq!(
            coverage(&discovery, last),
            Some(Coverage::Attached),
            "{round}"
        );
    }
}

#[test]
fn five_hundred_processes_fit_into_one_look() {
    let proc = Proc::new();
    let runtime = proc.path("libcudart.so.12");
    library(RUNTIME, &runtime);
    for pid in 1..=500 {
        proc.process(pid, 1, &[&runtime]);
    }
    let mut discovery = proc.discovery();
    let look = discovery.look();
    assert_eq!((look.found.len(), look.left), (1, 0));
    assert_eq!(users(&discovery, look.found[0].key).len(), 500);
    // Nobody's mappings are read a second time: they are gone, and it makes no difference.
    for pid in 1..=500 {
        fs::remove_file(proc.path(&format!("{pid}/maps"))).unwrap();
    }
    discovery.look();
    let left = users(&discovery, look.found[0].key).len();
    // But for those whose turn it is.
    assert!((480..490).contains(&left), "{left}");
}
