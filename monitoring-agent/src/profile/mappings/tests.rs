//! The tables of processes as records make them, and as the kernel does.

use super::{
    processes::{Owned, Processes, Task},
    record::Mapped,
    *,
};

fn mapped(pid: u32, start: u64, inode: u64, name: &'static [u8]) -> Mapped<'static> {
    Mapped {
        pid,
        start,
        end: start + 0x1000,
        offset: 0x100,
        device: 1,
        inode,
        generation: 1,
        name,
    }
}

fn at(processes: &Processes, pid: u32, time_ns: u64, address: u64) -> String {
    let mut places = Vec::new();
    processes.places(pid, time_ns, &[address], &mut places);
    match places.remove(0) {
        Place::File { file, offset, .. } => {
            format!("{}+{offset:#x}", String::from_utf8_lossy(file.path()))
        }
        Place::Vdso { offset } => format!("vdso+{offset:#x}"),
        Place::Jit { pid, address } => format!("jit {pid} {address:#x}"),
        Place::Unknown { .. } => "?".to_owned(),
    }
}

#[test]
fn a_child_has_what_its_parent_had_until_it_runs_another_program() {
    let mut processes = Processes::default();
    processes.executed(10, 1);
    processes.mapped(11, &mapped(1, 0x1000, 7, b"/bin/a"));
    processes.mapped(11, &mapped(1, 0x5000, 0, b"[vdso]"));
    processes.mapped(11, &mapped(1, 0x7000, 0, b"//anon"));
    processes.forked(20, 2, 1);
    let before = processes.stats().mappings;
    processes.mapped(25, &mapped(1, 0x1000, 8, b"/bin/later (deleted)"));
    processes.executed(30, 2);
    processes.mapped(31, &mapped(2, 0x2000, 9, b"/bin/b"));
    processes.ended(40, 2);
    processes.forked(50, 2, 1);
    let check = |time, pid, address, want: &str| {
        assert_eq!(at(&processes, pid, time, address), want, "{pid} at {time}");
    };
    assert_eq!(before, 3, "shared");
    check(11, 1, 0x1010, "/bin/a+0x110");
    check(11, 1, 0x5010, "vdso+0x10");
    check(11, 1, 0x7010, "jit 1 0x7010");
    check(10, 1, 0x1010, "?");
    check(9, 1, 0x1010, "?");
    check(26, 1, 0x1010, "/bin/later+0x110");
    check(26, 2, 0x1010, "/bin/a+0x110");
    check(31, 2, 0x1010, "?");
    check(31, 2, 0x2000, "/bin/b+0x100");
    check(49, 2, 0x2000, "/bin/b+0x100");
    check(51, 2, 0x1010, "/bin/later+0x110");
    check(51, 3, 0x1010, "?");
    processes.forget_before(45);
    assert_eq!(at(&processes, 2, 31, 0x2000), "?");
    assert_eq!(at(&processes, 2, 51, 0x1010), "/bin/later+0x110");
    processes.ended(60, 2);
    processes.ended(60, 1);
    assert!(matches!(processes.tasks()[..], [Task::Hold(_), ..]));
    processes.forget_before(61);
    let stats = processes.stats();
    assert_eq!((stats.processes, stats.mappings, stats.files), (0, 0, 0));
}

#[test]
fn what_was_not_told_is_read() {
    let owned = |start, inode, name: &'static [u8]| Owned {
        mapped: mapped(0, start, inode, b""),
        name: name.into(),
    };
    let mut processes = Processes::default();
    processes.mapped(10, &mapped(1, 0x1000, 7, b"/lib/new"));
    let read = processes.tasks();
    assert!(read.contains(&Task::Read(1)));
    assert!(processes.wants_reading(1) && processes.wants_reading(2));
    let list = [owned(0x1000, 7, b"/lib/new"), owned(0x3000, 8, b"/bin/a")];
    processes.read(1, 20, Some(&list));
    assert!(!processes.wants_reading(1));
    assert_eq!(at(&processes, 1, 5, 0x3000), "/bin/a+0x100");
    assert_eq!(at(&processes, 1, 10, 0x1000), "/lib/new+0x100");
    // Records are lost, and with them that it runs another program.
    processes.losses.unheard(3, 30);
    assert!(processes.wants_reading(1));
    processes.read(1, 40, Some(&[owned(0x3000, 9, b"/bin/b")]));
    assert_eq!(at(&processes, 1, 29, 0x3000), "/bin/a+0x100");
    assert_eq!(at(&processes, 1, 35, 0x3000), "/bin/b+0x100");
    assert_eq!(at(&processes, 1, 35, 0x1000), "?");
    // One that is gone before it is read.
    processes.read(2, 50, None);
    assert!(!processes.wants_reading(2));
    let counts: Vec<u64> = processes
        .losses
        .counts()
        .into_iter()
        .map(|(_, lost)| lost)
        .collect();
    assert_eq!(counts, [3, 1, 0, 0, 0]);
    processes.forget_before(60);
    assert_eq!(processes.stats().processes, 1);
}

#[test]
fn a_process_goes_on_whose_first_thread_has_ended() {
    let mut processes = Processes::default();
    processes.executed(10, 1);
    processes.mapped(11, &mapped(1, 0x1000, 7, b"/bin/a"));
    processes.ended(20, 1);
    processes.mapped(30, &mapped(1, 0x3000, 8, b"/lib/b"));
    processes.forget_before(25);
    assert_eq!(at(&processes, 1, 35, 0x1000), "/bin/a+0x100");
    assert_eq!(at(&processes, 1, 35, 0x3000), "/lib/b+0x100");
}

#[test]
fn a_process_is_known_until_its_last_thread_has_ended() {
    let mut processes = Processes::default();
    processes.executed(10, 1);
    processes.mapped(11, &mapped(1, 0x1000, 7, b"/bin/a"));
    processes.ended(20, 1);
    assert!(processes.doubts(20).is_empty(), "it may still be asked for");
    let [doubt] = processes.doubts(25)[..] else {
        panic!("one process seems to have ended");
    };
    processes.settle(26, doubt, true);
    processes.forget_before(25);
    assert_eq!(at(&processes, 1, 35, 0x1000), "/bin/a+0x100");
    // Nobody tells when its last thread ends.
    assert_eq!(processes.doubts(30), [doubt]);
    processes.settle(31, doubt, false);
    processes.forget_before(30);
    assert_eq!(at(&processes, 1, 30, 0x1000), "/bin/a+0x100");
    processes.forget_before(32);
    assert_eq!(processes.stats().processes, 0);
    // Another one has got the number meanwhile.
    processes.executed(40, 1);
    processes.settle(41, doubt, false);
    processes.forget_before(50);
    assert_eq!(processes.stats().processes, 1);
}

#[test]
fn the_thread_that_begins_another_program_is_the_first_one() {
    let mut processes = Processes::default();
    processes.executed(10, 1);
    processes.ended(20, 1);
    processes.mapped(30, &mapped(1, 0x1000, 7, b"/bin/a"));
    assert_eq!(processes.doubts(25).len(), 1);
    processes.executed(40, 1);
    assert_eq!(processes.doubts(45), []);
}

#[test]
fn programs_of_a_process_are_bounded() {
    let mut processes = Processes::default();
    for time in 1..=1000 {
        processes.executed(time, 1);
        processes.mapped(time, &mapped(1, 0x1000, 7, b"/bin/a"));
    }
    let mappings = processes.stats().mappings;
    assert_eq!(mappings, 256);
    let lost = processes.losses.counts();
    assert_eq!(lost[1], ("process", 1000 - 256));
    assert_eq!(at(&processes, 1, 999, 0x1000), "/bin/a+0x100");
    assert_eq!(at(&processes, 1, 1, 0x1000), "?");
}

#[test]
fn processes_are_bounded() {
    const MOST: u32 = 64 * 1024;
    let mut processes = Processes::default();
    processes.executed(0, 1);
    for pid in 2..MOST + 2 {
        processes.forked(pid.into(), pid, 1);
        if pid % 2 == 0 {
            processes.ended(pid.into(), pid);
        }
    }
    // The one that ended first made room.
    assert_eq!(processes.stats().processes, MOST as usize);
    assert_eq!(processes.losses.counts()[1], ("process", 1));
    assert!(processes.wants_reading(2) && !processes.wants_reading(4));
}

#[test]
fn own_functions_are_in_own_program() {
    let mappings = Mappings::start().unwrap();
    mappings.catch_up();
    let function = own_functions_are_in_own_program as fn() as usize as u64;
    let mut places = Vec::new();
    let pid = std::process::id();
    mappings.places(pid, monotonic_ns(), &[function, function + 1], &mut places);
    let Place::File { file, offset, .. } = &places[0] else {
        panic!("{places:?}");
    };
    let program = std::env::current_exe().unwrap();
    assert_eq!(file.path(), program.as_os_str().as_encoded_bytes());
    assert!(file.open().is_ok());
    assert!(*offset < program.metadata().unwrap().len());
    assert_eq!(places[0], places[1], "a return address is that of its call");
}
