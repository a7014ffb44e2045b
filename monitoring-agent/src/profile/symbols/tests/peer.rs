//! Our reader of symbols beside blazesym's, on this machine's own programs and libraries: names of
//! the same addresses. Where they differ, there must be a reason.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
};

use blazesym::symbolize::{
    Input, Sym, Symbolized, Symbolizer,
    source::{Elf as Source, Source as Sources},
};
use object::{
    Object as _, ObjectSection as _, ObjectSymbol as _, SectionFlags, elf::SHF_EXECINSTR,
};

use super::super::{bytes::Bytes, elf::Elf};

/// Addresses that are asked for in each file.
const ADDRESSES: usize = 4_000;

/// Where something begins that is at an address, and its name.
type Said = Option<(u64, String)>;

/// Addresses of code, the same ones in each run, in ascending order.
fn addresses(file: &object::File<'_>) -> Vec<u64> {
    let mut code: Vec<(u64, u64)> = Vec::new();
    for section in file.sections() {
        if let SectionFlags::Elf { sh_flags } = section.flags()
            && sh_flags & u64::from(SHF_EXECINSTR) != 0
        {
            code.push((section.address(), section.size()));
        }
    }
    let all: u64 = code.iter().map(|(_, size)| size).sum();
    let mut state = 1_u64;
    let mut next = || {
        // Knuth's multiplier; the upper half is random enough.
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        state >> 32
    };
    let place = |mut into: u64| {
        for (start, size) in &code {
            if into < *size {
                return start + into;
            }
            into -= size;
        }
        unreachable!("{into} bytes behind all code")
    };
    let mut addresses: Vec<u64> = (0..ADDRESSES).map(|_| place(next() % all)).collect();
    addresses.sort_unstable();
    addresses.dedup();
    addresses
}

fn ours(path: &Path, addresses: &[u64]) -> Vec<Said> {
    let bytes = Bytes::File(File::open(path).unwrap());
    let elf = Elf::read(&bytes).unwrap();
    let answers = elf.look_up(addresses, usize::MAX).unwrap();
    let answers = answers.unwrap().into_iter();
    let said = answers.map(|answer| {
        let name = String::from_utf8(answer.name?.to_vec()).unwrap();
        Some((answer.start, name))
    });
    said.collect()
}

fn theirs(path: &Path, addresses: &[u64]) -> Vec<Said> {
    let symbolizer = Symbolizer::builder()
        .enable_demangling(false)
        .enable_code_info(false)
        .enable_inlined_fns(false)
        .set_debug_dirs(Some(std::iter::empty::<PathBuf>()))
        .build();
    let mut source = Source::new(path);
    source.debug_syms = false;
    let source = Sources::Elf(source);
    let found = symbolizer.symbolize(&source, Input::VirtOffset(addresses));
    let said = found.unwrap().into_iter().map(|found| match found {
        Symbolized::Sym(Sym { name, addr, .. }) => Some((addr, name.into_owned())),
        Symbolized::Unknown(_) => None,
    });
    said.collect()
}

/// Whether a file gives the same place both names.
fn are_aliases(file: &object::File<'_>, ours: &Said, theirs: &Said) -> bool {
    let (Some((ours_at, ours)), Some((theirs_at, theirs))) = (ours, theirs) else {
        return false;
    };
    let names = |at: u64| {
        let symbols = file.symbols().chain(file.dynamic_symbols());
        let there = symbols.filter(move |symbol| symbol.address() == at);
        there.filter_map(|symbol| symbol.name().ok())
    };
    ours_at == theirs_at
        && names(*ours_at).any(|name| name == ours)
        && names(*ours_at).any(|name| name == theirs)
}

/// How many addresses of a file are asked for, and at how many the two name one place differently.
fn compare(path: &Path) -> (usize, usize) {
    let bytes = fs::read(path).unwrap();
    let file = object::File::parse(&*bytes).unwrap();
    let addresses = addresses(&file);
    let (ours, theirs) = (ours(path, &addresses), theirs(path, &addresses));
    let (mut aliases, mut named) = (0, 0);
    for ((address, ours), theirs) in addresses.iter().zip(ours).zip(theirs) {
        named += usize::from(ours.is_some());
        let name = |said: &Said| said.as_ref().map(|(_, name)| name.clone());
        if name(&ours) == name(&theirs) {
            continue;
        }
        // Both are right. Which name is shown hangs on the order of the table for them, and here on
        // which is global: what was made for others rather than for the file itself.
        assert!(
            are_aliases(&file, &ours, &theirs),
            "{} at {address:#x}: {ours:x?} here, {theirs:x?} there",
            path.display()
        );
        aliases += 1;
    }
    println!(
        "{}: of {} addresses {named} have names, {aliases} another one of the same function",
        path.display(),
        addresses.len()
    );
    (addresses.len(), aliases)
}

fn library_of_rustc() -> PathBuf {
    let mut rustc = Command::new("rustc");
    let sysroot = rustc.args(["--print", "sysroot"]).output().unwrap();
    let sysroot = PathBuf::from(String::from_utf8(sysroot.stdout).unwrap().trim());
    let libraries = fs::read_dir(sysroot.join("lib")).unwrap().flatten();
    let mut libraries = libraries.map(|entry| entry.path());
    let found = libraries.find(|path| path.display().to_string().contains("librustc_driver-"));
    found.expect("rustc has its library beside it")
}

#[test]
fn names_are_those_that_blazesym_finds() {
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let mut words = maps.split_whitespace();
    let libc = words.find(|word| word.contains("/libc.so"));
    let programs = [
        // Stripped of all but what it exports.
        libc.unwrap().into(),
        fs::canonicalize("/usr/bin/python3").expect("Python"),
        // With all symbols.
        std::env::current_exe().unwrap(),
        library_of_rustc(),
    ];
    for path in programs {
        let (asked, aliases) = compare(&path);
        assert!(asked > ADDRESSES / 2, "{asked} addresses");
        assert!(
            aliases * 20 <= asked,
            "{aliases} of {asked} are named differently"
        );
    }
}
