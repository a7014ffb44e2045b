//! Names of what this very machine runs.

mod peer;

use std::{
    fs,
    io::Write as _,
    process::{Command, Stdio},
};

use super::*;
use crate::{
    clock::monotonic_ns,
    profile::mappings::{FileRef, Mappings},
};

fn place_of(file: &FileRef, offset: u64) -> Place {
    Place::File {
        file: file.clone(),
        offset,
        start: 0,
        end: u64::MAX,
        file_offset: 0,
    }
}

fn count_of(symbols: &Symbols, reason: &str) -> u64 {
    let unnamed = symbols.stats().unnamed;
    unnamed.iter().find(|(name, _)| *name == reason).unwrap().1
}

#[inline(never)]
fn a_function_of_our_own(number: u64) -> u64 {
    std::hint::black_box(number) + 1
}

#[test]
fn own_functions_and_those_of_the_kernel_have_names() {
    let mappings = Mappings::start().unwrap();
    let symbols = Symbols::new();
    mappings.catch_up();
    assert_eq!(a_function_of_our_own(1), 2);
    let own = a_function_of_our_own as fn(u64) -> u64 as usize as u64;
    let libc = libc::getpid as unsafe extern "C" fn() -> i32 as usize as u64;
    let mut places = Vec::new();
    let pid = std::process::id();
    for address in [own, libc, own] {
        mappings.places(pid, monotonic_ns(), &[address + 1], &mut places);
    }
    mappings.places(pid, monotonic_ns(), &[1], &mut places);
    let named = symbols.name(&places, &[]);
    let function = &named[0].functions[0];
    assert!(
        function
            .name
            .ends_with("::symbols::tests::a_function_of_our_own"),
        "{function:?}"
    );
    assert!(function.system_name.starts_with('_'), "{function:?}");
    assert!(named[0].build_id.len() >= 16);
    assert_eq!(
        *named[0].file,
        *std::env::current_exe().unwrap().to_str().unwrap()
    );
    assert!(
        named[1].functions[0].name.ends_with("getpid"),
        "{:?}",
        named[1]
    );
    assert!(named[1].file.contains("libc"), "{:?}", named[1]);
    assert_eq!(named[0], named[2]);
    assert!(named[3].functions.is_empty());
    assert_eq!(count_of(&symbols, "unmapped"), 1);
    let stats = symbols.stats();
    assert_eq!(stats.names, 2, "each function once");
    assert!(stats.memory_bytes > 200, "{stats:?}");
}

#[test]
fn inlined_functions_and_lines_are_told_where_they_are_wanted() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("inlined.c");
    let text = "int x;\nstatic inline __attribute__((always_inline)) void within(void) {\n  x = 7;\n}\n\
                int main(void) {\n  within();\n  return 0;\n}\n";
    fs::write(&source, text).unwrap();
    let program = folder.path().join("inlined");
    let mut build = Command::new("cc");
    build.args(["-g", "-gz=none", "-O1", "-o"]);
    let status = build.arg(&program).arg(&source).status();
    assert!(status.expect("`cc` builds the program").success());
    let file = FileRef::of(&program);
    let bytes = fs::read(&program).unwrap();
    let symbols = Symbols::with_lines();
    let all: Vec<_> = (0..bytes.len() as u64)
        .map(|offset| place_of(&file, offset))
        .collect();
    let named = symbols.name(&all, &[]);
    let stacks: Vec<Vec<(&str, u32)>> = named
        .iter()
        .map(|named| {
            named
                .functions
                .iter()
                .map(|function| (&*function.name, function.line))
                .collect()
        })
        .collect();
    let found = stacks.iter().find(|stack| stack.len() == 2);
    assert_eq!(
        found,
        Some(&vec![("within", 3), ("main", 6)]),
        "{:?}",
        symbols.stats()
    );
    let alone = |stack: &Vec<(&str, u32)>| matches!(stack[..], [("main", 5..=8)]);
    assert!(stacks.iter().any(alone), "{stacks:?}");
    let within = named
        .iter()
        .find(|named| named.functions.len() == 2)
        .unwrap();
    assert_eq!(*within.functions[0].file, *source.to_str().unwrap());
}

#[test]
fn a_file_that_is_written_anew_in_its_place_has_its_new_names() {
    let folder = tempfile::tempdir().unwrap();
    let build = |name: &str| {
        let source = folder.path().join(format!("{name}.c"));
        fs::write(&source, format!("int {name}(int x) {{ return x + 1; }}\n")).unwrap();
        let library = folder.path().join(format!("{name}.so"));
        let mut build = Command::new("cc");
        build.args(["-shared", "-fPIC", "-O1", "-o"]);
        let status = build.arg(&library).arg(&source).status();
        assert!(status.expect("`cc` builds the library").success());
        library
    };
    let (path, later) = (build("first"), build("second"));
    let file = FileRef::of(&path);
    let symbols = Symbols::new();
    let all: Vec<_> = (0..fs::metadata(&path).unwrap().len())
        .map(|offset| place_of(&file, offset))
        .collect();
    let name = |named: &Named| {
        let function = named.functions.first();
        function.map(|function| function.name.to_string())
    };
    let named = symbols.name(&all, &[]);
    let at = named
        .iter()
        .position(|named| name(named).as_deref() == Some("first"))
        .unwrap();
    // Nothing but what is known already is asked for. Another length makes it another state, however
    // coarse the file system's clock is.
    let mut other = fs::read(&later).unwrap();
    other.push(0);
    fs::write(&path, other).unwrap();
    let named = symbols.name(&all[at..=at], &[]);
    assert_eq!(name(&named[0]).as_deref(), Some("second"));
    let stats = symbols.stats();
    assert_eq!(stats.names, 1, "{stats:?}");
    // Where nobody finds the file any more, what is known of it still holds.
    fs::remove_file(&path).unwrap();
    let named = symbols.name(&all[at..=at], &[]);
    assert_eq!(name(&named[0]).as_deref(), Some("second"));
}

#[test]
fn the_kernels_functions_have_names() {
    let list = fs::read_to_string("/proc/kallsyms").unwrap();
    let line = list
        .lines()
        .find(|line| line.ends_with(" T vfs_read"))
        .unwrap();
    let address = u64::from_str_radix(line.split(' ').next().unwrap(), 16).unwrap();
    let symbols = Symbols::new();
    let named = symbols.name(&[], &[address + 5, address, 0x10]);
    assert_eq!(&*named[0].functions[0].name, "vfs_read");
    assert_eq!(&*named[0].file, "[kernel]");
    assert_eq!(named[0], named[1]);
    assert!(named[2].functions.is_empty());
    assert_eq!(count_of(&symbols, "kernel"), 1);
}

#[test]
fn the_kernels_library_has_names() {
    let bytes = vdso().unwrap();
    let mut vdso = Vdso::new(bytes.clone());
    let found = (0..bytes.len() as u64).step_by(16).find_map(|offset| {
        let (named, _) = vdso.of(offset);
        let function = named.functions.first()?.name.clone();
        function.contains("clock_gettime").then_some(named)
    });
    assert_eq!(&*found.unwrap().file, "[vdso]");
}

#[test]
fn files_that_are_no_programs_have_reasons() {
    let folder = tempfile::tempdir().unwrap();
    let check = |contents: &[u8], want: &str| {
        let path = folder.path().join(want);
        fs::write(&path, contents).unwrap();
        let symbols = Symbols::new();
        let named = symbols.name(&[place_of(&FileRef::of(&path), 0x100)], &[]);
        assert_eq!(&*named[0].file, path.to_str().unwrap());
        assert!(named[0].functions.is_empty());
        assert_eq!(count_of(&symbols, want), 1, "{want}");
    };
    let program = fs::read("/proc/self/exe").unwrap();
    check(b"#!/bin/sh\n", "no_program");
    check(&program[..program.len() / 2], "torn_file");
    // Sections in a place that no file has.
    let mut far = program.clone();
    far[40..48].copy_from_slice(&(u64::MAX - 7).to_ne_bytes());
    check(&far, "torn_file");
    let gone = folder.path().join("gone");
    fs::write(&gone, "text").unwrap();
    let file = FileRef::of(&gone);
    fs::rename(&gone, folder.path().join("moved")).unwrap();
    fs::write(&gone, "another").unwrap();
    let symbols = Symbols::new();
    symbols.name(&[place_of(&file, 0)], &[]);
    assert_eq!(count_of(&symbols, "no_file"), 1);
}

#[test]
fn a_stripped_file_has_no_functions_but_a_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("stripped");
    fs::copy("/proc/self/exe", &path).unwrap();
    let strip = Command::new("strip").arg("--strip-all").arg(&path).status();
    assert!(strip.expect("`strip` is of Debian's binutils").success());
    let symbols = Symbols::new();
    let file = FileRef::of(&path);
    let named = symbols.name(&[place_of(&file, 0x10_0000)], &[]);
    assert!(named[0].functions.is_empty(), "{named:?}");
    assert_eq!(&*named[0].file, path.to_str().unwrap());
    assert!(named[0].build_id.len() >= 16);
    assert_eq!(count_of(&symbols, "no_symbol"), 1);
}

#[test]
fn lists_of_compilers_are_read_again_when_they_grow() {
    let pid = std::process::id();
    let path = format!("/tmp/perf-{pid}.map");
    let mut list = File::create(&path).unwrap();
    let symbols = Symbols::new();
    let place = |address| Place::Jit { pid, address };
    writeln!(list, "1000 100 first").unwrap();
    let name = |address| {
        let named = symbols.name(&[place(address)], &[]);
        named[0]
            .functions
            .first()
            .map(|function| function.name.to_string())
    };
    assert_eq!(name(0x1010).as_deref(), Some("first"));
    assert_eq!(name(0x2010), None);
    writeln!(list, "2000 100 second\n1000 80 third").unwrap();
    // At most once a second.
    let deadline = std::time::Instant::now() + Duration::from_mins(1);
    while name(0x2010).is_none() {
        assert!(std::time::Instant::now() < deadline);
        std::thread::yield_now();
    }
    assert_eq!(name(0x2010).as_deref(), Some("second"));
    fs::remove_file(&path).unwrap();
}

#[test]
fn a_list_is_read_at_once_for_addresses_that_were_not_asked_for() {
    let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
    let pid = child.id();
    let path = format!("/tmp/perf-{pid}.map");
    let long = "n".repeat(4000);
    fs::write(&path, format!("1000 100 first\n2000 100 {long}\n")).unwrap();
    let symbols = Symbols::new();
    let name = |addresses: &[u64]| {
        let places: Vec<Place> = addresses
            .iter()
            .map(|address| Place::Jit {
                pid,
                address: *address,
            })
            .collect();
        symbols.name(&places, &[])
    };
    assert_eq!(&*name(&[0x1010])[0].functions[0].name, "first");
    let before = symbols.stats().memory_bytes;
    // The list is as it was a moment ago.
    let addresses: Vec<u64> = (0x2000..0x2100).collect();
    let named = name(&addresses);
    let (first, all) = (&named[0].functions, named.iter());
    assert_eq!(first.len(), 1);
    // The name is kept once, whatever a program asks for in its line.
    assert!(
        all.clone()
            .all(|named| Arc::ptr_eq(&named.functions, first))
    );
    let taken = symbols.stats().memory_bytes - before;
    assert!(taken < 256 * 100 + 10_000, "{taken}");
    child.kill().unwrap();
    child.wait().unwrap();
    fs::remove_file(&path).unwrap();
    // What is known holds behind its end, whatever else is asked for.
    let named = name(&[0x1010, 0x3000]);
    assert_eq!(&*named[0].functions[0].name, "first");
    assert!(named[1].functions.is_empty());
}

#[test]
fn who_asks_how_much_is_known_does_not_wait_for_files() {
    let symbols = Symbols::new();
    symbols.name(&[Place::Unknown { address: 1 }], &[]);
    // As it is while a file is being read.
    let reading = symbols.tables.lock().unwrap();
    let (answer, answers) = std::sync::mpsc::channel();
    let asked = Arc::clone(&symbols);
    let asking = std::thread::spawn(move || answer.send(count_of(&asked, "unmapped")));
    let count = answers.recv_timeout(Duration::from_secs(10));
    drop(reading);
    asking.join().unwrap().unwrap();
    assert_eq!(count, Ok(1));
}
