//! What the kernel tells of, and what became of calls before a file was probed. Needs root, as the
//! agent does.

use std::{
    collections::HashSet,
    os::fd::AsRawFd as _,
    process::Command,
    time::{Duration, Instant},
};

use super::{
    DRIVER, RUNTIME, accept, library,
    real::{Loader, Place},
};
use crate::{
    clock::monotonic_ns,
    executed::{Events, MappedFile, mappings},
    sources::cuda::discovery::{Fate, Names, News},
};

/// The file of this name that a process executes.
fn mapped(pid: u32, name: &[u8]) -> MappedFile {
    let mappings = mappings::read(format!("/proc/{pid}").as_ref()).unwrap();
    let mut files = mappings.files.iter();
    let file = files.find(|file| file.file_name() == name);
    MappedFile::of(file.unwrap())
}

/// What is told, once it is what is waited for.
fn told(events: &mut Events, followed: &HashSet<u32>, wanted: impl Fn(&News) -> bool) -> News {
    let deadline = Instant::now() + Duration::from_mins(1);
    loop {
        let news = News::take(events, &Names::default(), followed);
        if wanted(&news) {
            return news;
        }
        assert!(Instant::now() < deadline, "{news:?}");
        std::thread::yield_now();
    }
}

#[test]
fn the_kernel_tells_of_files_as_they_are_mapped() {
    let place = Place::new();
    let (runtime, other) = (place.path("libcudart.so.12"), place.path("libx.so"));
    library(RUNTIME, &runtime);
    library(DRIVER, &other);
    let mut events = Events::open().unwrap();
    let mut loader = Loader::start(&mut Command::new(&place.loader));
    let pid = loader.pid();
    let begun = monotonic_ns();
    loader.load(&runtime);
    let done = monotonic_ns();
    let file = mapped(pid, b"libcudart.so.12");
    let nobody = HashSet::new();
    let news = told(&mut events, &nobody, |news| {
        news.named.contains_key(&(pid, file))
    });
    let at_ns = news.named[&(pid, file)];
    assert!((begun..=done).contains(&at_ns), "{begun} {at_ns} {done}");
    assert!(news.changed.is_empty(), "{news:?}");
    // Other files are told of for who is followed.
    let other_file = {
        loader.load(&other);
        mapped(pid, b"libx.so")
    };
    let news = told(&mut events, &HashSet::from([pid]), |news| {
        news.changed.contains_key(&pid)
    });
    assert!(!news.named.contains_key(&(pid, other_file)), "{news:?}");
    // No CPU was switched on or off.
    assert!(!events.follow_cpus().unwrap());
}

#[test]
fn the_first_mapping_wakes_who_watches_for_it() {
    let place = Place::new();
    let runtime = place.path("libcudart.so.12");
    library(RUNTIME, &runtime);
    let mut events = Events::open().unwrap();
    let nobody = HashSet::new();
    assert!(!events.rest());
    // As often as it is asked for.
    for _ in 0..3 {
        let mut loader = Loader::start(&mut Command::new(&place.loader));
        let pid = loader.pid();
        events.watch().unwrap();
        events.take(|_| {});
        loader.load(&runtime);
        let mut waited = libc::pollfd {
            fd: events.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        };
        // SAFETY: there is one descriptor, which is open.
        assert_eq!(unsafe { libc::poll(&raw mut waited, 1, 60_000) }, 1);
        assert!(events.rest());
        assert!(!events.rest());
        let file = mapped(pid, b"libcudart.so.12");
        let news = told(&mut events, &nobody, |news| {
            news.named.contains_key(&(pid, file))
        });
        assert!(news.heard);
    }
}

#[test]
fn mappings_for_which_there_is_no_room_are_counted() {
    let mut events = Events::open().unwrap();
    let mut lost = 0;
    let deadline = Instant::now() + Duration::from_mins(1);
    while lost == 0 {
        assert!(Instant::now() < deadline);
        for _ in 0..4_000 {
            // SAFETY: fresh mappings, each of which is removed at once.
            unsafe {
                let access = libc::PROT_READ | libc::PROT_EXEC;
                let kind = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
                let page = libc::mmap(std::ptr::null_mut(), 4096, access, kind, -1, 0);
                assert_ne!(page, libc::MAP_FAILED);
                libc::munmap(page, 4096);
            }
        }
        lost += events.take(|_| {}).lost;
    }
}

#[test]
fn calls_before_a_file_was_probed_are_not_forgotten() {
    let mut place = Place::new();
    let path = place.path("libcudart.so.12");
    library(RUNTIME, &path);
    let start = |place: &Place| {
        let mut loader = Loader::start(&mut Command::new(&place.loader));
        loader.load(&path);
        loader
    };
    let first = start(&place);
    let file = mapped(first.pid(), b"libcudart.so.12");
    let early = monotonic_ns();
    assert!(!place.discovery.was_probed(file, early));
    let look = place.discovery.look_at(&[first.pid()]);
    accept(&mut place.discovery, &look);
    let late = monotonic_ns();
    assert!(!place.discovery.was_probed(file, early));
    assert!(place.discovery.was_probed(file, late));
    let second = start(&place);
    place.discovery.look_at(&[second.pid()]);
    let file = Some(file);
    let mut check = |pid, file, at_ns, want| {
        assert_eq!(place.discovery.fate(pid, file, at_ns), want);
    };
    check(second.pid(), file, late, Fate::Known);
    check(first.pid(), file, early, Fate::Late);
    // That is said once.
    check(first.pid(), file, early, Fate::Known);
    check(first.pid(), None, early, Fate::Known);
    let unknown = Some(MappedFile {
        device: 0,
        inode: 1,
    });
    check(first.pid(), unknown, late, Fate::Missed);
    let pids = [first.pid(), second.pid()];
    drop((first, second));
    place.discovery.look_at(&pids);
    let mut check = |at_ns, want| {
        assert_eq!(place.discovery.fate(pids[0], file, at_ns), want);
    };
    check(early, Fate::Missed);
    check(late, Fate::Known);
}
