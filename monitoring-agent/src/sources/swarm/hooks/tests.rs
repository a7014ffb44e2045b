//! Real files: this program, which has the hooks, and what becomes of it when it is torn.

use std::{
    fs::{self, File},
    io::Write as _,
    os::unix::fs::FileExt as _,
};

use monitoring::swarm;
use object::{LittleEndian as LE, read::elf::FileHeader as _};
use proptest::prelude::*;

use super::*;

/// Keeps the hooks in this program, which would be left out of it if nobody could call them.
fn say() {
    swarm::agent_spawned("a");
    swarm::message_sent("a", 1);
    swarm::generation("a", 1, 1.0, 0.5);
    swarm::resource_allocated("gpu", "a", 1.0);
}

fn hooks() -> Hooks {
    say();
    Hooks::of(&File::open("/proc/self/exe").unwrap()).unwrap()
}

#[test]
fn the_hooks_of_a_program_are_where_its_notes_say() {
    let hooks = hooks();
    assert!(!hooks.strange);
    let has = |hook: u64| hooks.places.iter().any(|place| place.hook == hook);
    for hook in [
        hook::AGENT_SPAWNED,
        hook::MESSAGE_SENT,
        hook::GENERATION,
        hook::RESOURCE_ALLOCATED,
    ] {
        assert!(has(hook), "{hook}: {hooks:?}");
    }
    assert!(hooks.places.is_sorted_by_key(|place| place.offset));
    let program = fs::read("/proc/self/exe").unwrap();
    for place in &hooks.places {
        let at = usize::try_from(place.offset).unwrap();
        let code = &program[at..];
        if cfg!(target_arch = "x86_64") {
            let skipped = usize::from(calls_replace_traps());
            assert!(code.starts_with(&BOTH[skipped..]), "{place:?}");
        } else {
            assert!(code.starts_with(&[0x1f, 0x20, 0x03, 0xd5]), "{place:?}");
        }
    }
}

#[test]
fn what_is_no_program_has_no_hooks() {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(b"#!/bin/sh\n").unwrap();
    assert_eq!(Hooks::read(&file).unwrap(), Hooks::default());
    assert_eq!(
        Hooks::read(&File::open("/bin/sh").unwrap()).unwrap(),
        Hooks::default()
    );
}

#[test]
fn arguments_that_are_elsewhere_are_not_taken() {
    let check = |name: &[u8], arguments: &str, want| {
        let note = Note {
            place: 1,
            base: 2,
            provider: PROVIDER,
            name,
            arguments: arguments.as_bytes(),
        };
        assert_eq!(hook_of(&note), want, "{arguments}");
    };
    let (two, three) = (ARGUMENTS[..2].join(" "), ARGUMENTS[..3].join(" "));
    check(b"agent_spawned", &two, Some(hook::AGENT_SPAWNED));
    check(b"message_sent", &three, Some(hook::MESSAGE_SENT));
    check(b"message_sent", &two, None);
    check(b"message_sent", "8@16(%rsp) 8@%rsi 8@%rdx", None);
    check(b"something_else", &two, None);
}

/// The program's headers, its names of sections, its notes and what is at their places, everything
/// else zeros: small enough to be torn a thousand times.
fn small() -> Vec<u8> {
    let program = fs::read("/proc/self/exe").unwrap();
    let header = object::elf::FileHeader64::<LE>::parse(&*program).unwrap();
    let sections = header.sections(LE, &*program).unwrap();
    let mut kept = vec![0; program.len()];
    let mut keep = |start: usize, length: usize| {
        kept[start..start + length].copy_from_slice(&program[start..start + length]);
    };
    let number = |number: u64| usize::try_from(number).unwrap();
    keep(0, 64 + 56 * usize::from(header.e_phnum.get(LE)));
    keep(number(header.e_shoff.get(LE)), 64 * sections.len());
    for section in sections.iter() {
        let name = sections.section_name(LE, section).unwrap();
        if [&b".note.stapsdt"[..], b".shstrtab"].contains(&name) {
            keep(
                number(section.sh_offset.get(LE)),
                number(section.sh_size.get(LE)),
            );
        }
    }
    for place in hooks().places {
        // The instruction before it as well, which may be the one of the note.
        keep(number(place.offset) - 1, 1 + BOTH.len());
    }
    kept
}

#[test]
fn only_instructions_that_do_nothing_are_probed() {
    let file = tempfile::tempfile().unwrap();
    file.write_all_at(&small(), 0).unwrap();
    let whole = Hooks::read(&file).unwrap();
    let first = whole.places[0];
    // Halt, and on the other architecture part of anything.
    file.write_all_at(&[0xf4; BOTH.len() + 1], first.offset - 1)
        .unwrap();
    let broken = Hooks::read(&file).unwrap();
    assert_eq!(broken.places, whole.places[1..]);
    let short = tempfile::tempfile().unwrap();
    short.write_all_at(IDLE[0], 0).unwrap();
    assert_eq!(quickest(&short, 0).unwrap(), Some(0));
    assert_eq!(quickest(&short, 1).unwrap(), None);
    assert_eq!(quickest(&short, 1 << 40).unwrap(), None);
}

#[test]
fn torn_files_are_survived() {
    let whole = small();
    let touched: Vec<usize> = (0..whole.len()).filter(|at| whole[*at] != 0).collect();
    let file = tempfile::tempfile().unwrap();
    file.write_all_at(&whole, 0).unwrap();
    assert_eq!(
        Hooks::read(&file).unwrap().places.len(),
        hooks().places.len()
    );
    let runner = ProptestConfig::with_cases(500);
    proptest!(runner, |(at in 0..touched.len(), byte: u8)| {
        let at = touched[at];
        file.write_all_at(&[byte], at as u64).unwrap();
        // Whatever comes of it.
        let _ = Hooks::read(&file);
        file.write_all_at(&whole[at..=at], at as u64).unwrap();
    });
}
