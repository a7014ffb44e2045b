//! The hooks that a file has: where each is, by the file's notes. Knows neither processes nor probes.

mod notes;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, fs::File, os::unix::fs::FileExt as _, sync::OnceLock};

use monitoring_common::swarm::hook;

use self::notes::{Note, notes};
use crate::executed::{
    elf::{Elf, Fault},
    files::Content,
};

/// Who the notes are of.
const PROVIDER: &[u8] = b"stratoswarm";

/// By the names that notes have, and how many arguments each has.
const HOOKS: [(&[u8], u64, usize); 9] = [
    (b"agent_spawned", hook::AGENT_SPAWNED, 2),
    (b"agent_stopped", hook::AGENT_STOPPED, 2),
    (b"message_sent", hook::MESSAGE_SENT, 3),
    (b"message_received", hook::MESSAGE_RECEIVED, 3),
    (b"goal_completed", hook::GOAL_COMPLETED, 2),
    (b"goal_failed", hook::GOAL_FAILED, 2),
    (b"generation", hook::GENERATION, 5),
    (b"job_queue_depth", hook::JOB_QUEUE_DEPTH, 3),
    (b"resource_allocated", hook::RESOURCE_ALLOCATED, 5),
];

/// How notes say where the arguments are that the kernel programs expect: all of eight bytes, in
/// these registers.
#[cfg(target_arch = "x86_64")]
const ARGUMENTS: [&str; 5] = ["8@%rdi", "8@%rsi", "8@%rdx", "8@%rcx", "8@%r8"];
#[cfg(target_arch = "aarch64")]
const ARGUMENTS: [&str; 5] = ["8@x0", "8@x1", "8@x2", "8@x3", "8@x4"];

/// Most bytes of a file's notes. A language's runtime with hundreds of places has some ten thousand.
const MAX_NOTES: u64 = 4 << 20;

/// Most places in one file: a hook is as often there as the compiler has put it into its callers.
const MAX_PLACES: usize = 4_096;

/// An instruction of one byte that does nothing, and one of five.
const BOTH: [u8; 6] = [0x90, 0x0f, 0x1f, 0x44, 0x00, 0x00];

/// Instructions that do nothing, of which one is at each place. Something else is there when the note
/// is of code that the linker has left out, or when the file is torn; a trap in the midst of another
/// instruction would have the program do what nobody wrote.
#[cfg(target_arch = "x86_64")]
const IDLE: [&[u8]; 2] = [BOTH.split_at(1).0, BOTH.split_at(1).1];
#[cfg(target_arch = "aarch64")]
const IDLE: [&[u8]; 1] = [&[0x1f, 0x20, 0x03, 0xd5]];

/// A place for a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// Offset in the file.
    pub(super) offset: u64,
    /// The hook's number.
    pub(super) hook: u64,
}

/// What a file's notes say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Hooks {
    /// Each once, in the order of their offsets.
    pub(super) places: Vec<Place>,
    /// Whether there are hooks of ours whose arguments are elsewhere, or that have other names: of
    /// another version of the library.
    pub(super) strange: bool,
}

impl Content for Hooks {
    type Point = Place;

    const NOTHING: &'static str = "no hooks are in it";

    fn read(file: &File) -> Result<Self, Fault> {
        match Self::of(file) {
            // Processes may execute anything; without our notes nothing is missing.
            Err(Fault::NotElf | Fault::Foreign(_)) => Ok(Self::default()),
            read => read,
        }
    }

    fn points(&self) -> &[Place] {
        &self.places
    }
}

impl Hooks {
    fn of(file: &File) -> Result<Self, Fault> {
        let elf = Elf::open(file)?;
        let [list, base] = elf.named([b".note.stapsdt", b".stapsdt.base"])?;
        let Some(list) = list else {
            return Ok(Self::default());
        };
        let list = elf.contents(list, MAX_NOTES)?;
        let mut hooks = Self::default();
        let mut places = BTreeMap::new();
        for note in notes(&list).filter(|note| note.provider == PROVIDER) {
            // Whoever moved the file after it was linked has left the notes as they were.
            let moved = base.map_or(0, |base| base.address.wrapping_sub(note.base));
            // One that the linker left out is nowhere, or its address is now something else's.
            let Some(offset) = elf.place(note.place.wrapping_add(moved))? else {
                continue;
            };
            let Some(offset) = quickest(file, offset)? else {
                continue;
            };
            let Some(hook) = hook_of(&note) else {
                hooks.strange = true;
                continue;
            };
            if places.len() == MAX_PLACES {
                return Err(Fault::Excessive("places of hooks"));
            }
            places.insert(offset, hook);
        }
        let places = places.into_iter();
        hooks.places = places
            .map(|(offset, hook)| Place { offset, hook })
            .collect();
        Ok(hooks)
    }
}

/// The hook's number, if its arguments are where they are expected.
fn hook_of(note: &Note<'_>) -> Option<u64> {
    let mut hooks = HOOKS.iter();
    let (_, hook, count) = hooks.find(|(name, ..)| *name == note.name)?;
    let expected = ARGUMENTS.get(..*count)?.join(" ");
    (note.arguments == expected.as_bytes()).then_some(*hook)
}

/// Where of two instructions that do nothing a probe costs least: at the second, of five bytes, where
/// the kernel can put a call there, and else at the first, which it steps over without a second trap.
/// `None` where something else is.
fn quickest(file: &File, offset: u64) -> Result<Option<u64>, Fault> {
    let mut code = [0; BOTH.len()];
    // Fewer only at the end of the file.
    let length = file.read_at(&mut code, offset)?;
    let code = &code[..length];
    if !IDLE.iter().any(|idle| code.starts_with(idle)) {
        return Ok(None);
    }
    let skipped = code == BOTH && calls_replace_traps();
    Ok(Some(offset + u64::from(skipped)))
}

/// Whether the kernel puts a call there instead of a trap (since 6.18): it has a system call for what
/// is called, which refuses all others.
fn calls_replace_traps() -> bool {
    /// `uprobe` of x86-64's table of system calls.
    const UPROBE: libc::c_long = 336;
    static ANSWER: OnceLock<bool> = OnceLock::new();
    *ANSWER.get_or_init(|| {
        // SAFETY: the call has no arguments. Where there is none of this number, it fails; where
        // there is, it fails for whoever is not where the kernel has put it.
        let result = unsafe { libc::syscall(UPROBE) };
        let error = std::io::Error::last_os_error().raw_os_error();
        cfg!(target_arch = "x86_64") && result == -1 && error == Some(libc::ENXIO)
    })
}
