//! The build id, among the notes of a file. Knows not where those are.

use std::fmt::Write as _;

use super::elf::int;

/// `NT_GNU_BUILD_ID`.
const BUILD_ID: u32 = 3;

/// The build id among notes, in hexadecimal digits.
pub(super) fn build_id(notes: &[u8]) -> Option<String> {
    let mut rest = notes;
    while rest.len() >= 12 {
        let padded = |at| {
            let length = usize::try_from(int(rest, at)).ok()?;
            length.checked_next_multiple_of(4)
        };
        let (name, length) = (padded(0)?, usize::try_from(int(rest, 4)).ok()?);
        let body = rest.get(12..)?;
        let contents = body.get(name..)?.get(..length)?;
        if int(rest, 8) == BUILD_ID && body.starts_with(b"GNU\0") {
            let mut digits = String::new();
            for byte in contents.iter().take(64) {
                let _ = write!(digits, "{byte:02x}");
            }
            return Some(digits);
        }
        rest = body.get(name..)?.get(padded(4)?..)?;
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn build_ids_are_found_among_notes() {
        let note = |kind: u32, name: &[u8], contents: &[u8]| {
            let mut note = Vec::new();
            let lengths = [name.len(), contents.len()].map(|length| u32::try_from(length).unwrap());
            for int in [lengths[0], lengths[1], kind] {
                note.extend(int.to_ne_bytes());
            }
            for part in [name, contents] {
                note.extend(part);
                note.resize(note.len().next_multiple_of(4), 0);
            }
            note
        };
        let check = |notes: &[Vec<u8>], want: Option<&str>| {
            assert_eq!(build_id(&notes.concat()).as_deref(), want);
        };
        let other = note(1, b"Linux\0", b"abcde");
        let id = note(3, b"GNU\0", b"\x01\xfe");
        check(&[other.clone(), id.clone()], Some("01fe"));
        check(std::slice::from_ref(&id), Some("01fe"));
        check(&[other, id[..13].to_vec()], None);
        check(&[vec![0xff; 40]], None);
        check(&[], None);
    }

    proptest! {
        #[test]
        fn any_notes_are_survived(notes: Vec<u8>) {
            build_id(&notes);
        }
    }
}
