//! Where a program has the variable in which its threads publish their context. Knows no process.

use std::fs::File;

use crate::executed::elf::{Elf, Fault};

/// OpenTelemetry's name of the variable, which is a pointer.
const NAME: &[u8] = b"otel_thread_ctx_v1";
const BYTES: u64 = 8;

/// The section with the crate `monitoring`'s note of the variable's place, for programs whose symbols
/// were removed; the note's owner and type.
const SECTION: &[u8] = b".note.stratoswarm";
const OWNER: &[u8] = b"StratoSwarm\0";
const KIND: u32 = 1;

/// More than notes of any number of versions of the library take.
const MOST_NOTES: u64 = 4_096;

/// The variable of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Variable {
    /// From a thread's register to it.
    pub(super) offset: i64,
    /// Whether what it leads to says if a span is recorded: the crate `monitoring`'s does.
    pub(super) says_recorded: bool,
}

/// Where the variable is, if the program has it.
pub(super) fn find(file: &File) -> Result<Option<Variable>, Fault> {
    let elf = match Elf::open(file) {
        Ok(elf) => elf,
        // Scripts have none, and what is for another processor does not run here.
        Err(Fault::NotElf | Fault::Foreign(_)) => return Ok(None),
        Err(fault) => return Err(fault),
    };
    let Some((place, says_recorded)) = place(&elf)? else {
        return Ok(None);
    };
    let offset = elf.distance_from_register(place, BYTES);
    Ok(offset.map(|offset| Variable {
        offset,
        says_recorded,
    }))
}

/// The variable's place in the file's variables of threads, and whether a note of ours says so.
fn place(elf: &Elf<'_>) -> Result<Option<(u64, bool)>, Fault> {
    if let [Some(section)] = elf.named([SECTION])?
        && let Some(place) = noted(&elf.contents(section, MOST_NOTES)?)
    {
        return Ok(Some((place, true)));
    }
    for table in elf.symbol_tables()? {
        if let Some(place) = elf.of_threads(&table, NAME)? {
            return Ok(Some((place, false)));
        }
    }
    Ok(None)
}

/// The place that the first note of ours tells of.
fn noted(mut notes: &[u8]) -> Option<u64> {
    loop {
        let number = |at: usize| {
            let bytes = notes.get(at..)?.first_chunk::<4>()?;
            Some(u32::from_le_bytes(*bytes))
        };
        let length = |at| usize::try_from(number(at)?).ok();
        let (owner, contents, kind) = (length(0)?, length(4)?, number(8)?);
        let body = notes.get(12..)?;
        let behind = body.get(owner.checked_next_multiple_of(4)?..)?;
        if kind == KIND && body.get(..owner)? == OWNER && contents == size_of::<u64>() {
            return behind.first_chunk().map(|place| u64::from_le_bytes(*place));
        }
        notes = behind.get(contents.checked_next_multiple_of(4)?..)?;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn note(owner: &[u8], kind: u32, contents: &[u8]) -> Vec<u8> {
        let lengths = [owner, contents].map(|part| u32::try_from(part.len()).unwrap());
        let mut note: Vec<u8> = [lengths[0], lengths[1], kind]
            .into_iter()
            .flat_map(u32::to_le_bytes)
            .collect();
        for part in [owner, contents] {
            note.extend(part);
            note.resize(note.len().next_multiple_of(4), 0);
        }
        note
    }

    #[test]
    fn our_note_is_found_among_others() {
        let ours = note(OWNER, KIND, &0x28_u64.to_le_bytes());
        let others = [
            note(b"GNU\0", 3, b"abcde"),
            note(OWNER, 2, &1_u64.to_le_bytes()),
            note(OWNER, KIND, b"four"),
        ];
        assert_eq!(noted(&ours), Some(0x28));
        assert_eq!(noted(&[&others.concat()[..], &ours].concat()), Some(0x28));
        assert_eq!(noted(&others.concat()), None);
        assert_eq!(noted(&ours[..28]), None);
    }

    #[test]
    fn this_program_has_it_where_the_linker_says() {
        // The library is in this program, and its own test has checked the place with a debugger's
        // means; here the one by the note and the one by the symbol have to agree.
        let file = File::open(std::env::current_exe().unwrap()).unwrap();
        let elf = Elf::open(&file).unwrap();
        let tables = elf.symbol_tables().unwrap();
        let mut by_symbol = tables
            .iter()
            .map(|table| elf.of_threads(table, NAME).unwrap());
        let by_symbol = by_symbol.find_map(|place| place).unwrap();
        assert_eq!(place(&elf).unwrap(), Some((by_symbol, true)));
        let found = find(&file).unwrap().unwrap();
        assert!(found.says_recorded);
        let register = found.offset;
        let is_before = cfg!(target_arch = "x86_64");
        assert_eq!(register < 0, is_before, "{register}");
        assert_eq!(register % 8, 0);
    }

    #[test]
    fn a_program_without_it_and_what_is_none() {
        for path in ["/bin/sh", "/proc/self/stat", "/dev/null"] {
            assert_eq!(find(&File::open(path).unwrap()).ok(), Some(None), "{path}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_notes_or_none(bytes: Vec<u8>) {
            noted(&bytes);
        }
    }
}
