//! The format of notes that tell of places in a file (USDT), as `SystemTap`'s `sys/sdt.h` writes them.
//! Knows not what is at those places.

/// `NT_STAPSDT` of the same.
const KIND: u32 = 3;

/// Who such notes are written for.
const OWNER: &[u8] = b"stapsdt\0";

/// A place that a note tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Note<'a> {
    /// The address, as the file was linked.
    pub(super) place: u64,
    /// The address of a section of which the note's reader knows where it is now.
    pub(super) base: u64,
    pub(super) provider: &'a [u8],
    pub(super) name: &'a [u8],
    pub(super) arguments: &'a [u8],
}

/// Those in a section, up to where it is torn. Others are passed over, and so is one of which a part
/// is missing, and one whose place is off until it is switched on.
pub(super) fn notes(section: &[u8]) -> impl Iterator<Item = Note<'_>> {
    let mut rest = section;
    std::iter::from_fn(move || {
        while let Some((entry, after)) = next(rest) {
            rest = after;
            if entry.kind == KIND
                && entry.owner == OWNER
                && let Some(note) = note(entry.contents)
            {
                return Some(note);
            }
        }
        None
    })
}

/// A note of any owner.
struct Entry<'a> {
    kind: u32,
    owner: &'a [u8],
    contents: &'a [u8],
}

/// The first note, and what is behind it.
fn next(notes: &[u8]) -> Option<(Entry<'_>, &[u8])> {
    let number = |at: usize| {
        let bytes = notes.get(at..)?.first_chunk::<4>()?;
        Some(u32::from_le_bytes(*bytes))
    };
    let part = |from: &'_ [u8], length: u32| -> Option<(usize, usize)> {
        let length = usize::try_from(length).ok()?;
        let padded = length.checked_next_multiple_of(4)?;
        // The last note may lack what only fills up.
        (length <= from.len()).then_some((length, padded.min(from.len())))
    };
    let (owner_length, length, kind) = (number(0)?, number(4)?, number(8)?);
    let body = notes.get(12..)?;
    let (end, next) = part(body, owner_length)?;
    let (owner, body) = (body.get(..end)?, body.get(next..)?);
    let (end, next) = part(body, length)?;
    let entry = Entry {
        kind,
        owner,
        contents: body.get(..end)?,
    };
    Some((entry, body.get(next..)?))
}

fn note(contents: &[u8]) -> Option<Note<'_>> {
    let (place, rest) = contents.split_first_chunk::<8>()?;
    let (base, rest) = rest.split_first_chunk::<8>()?;
    let (switch, rest) = rest.split_first_chunk::<8>()?;
    if *switch != [0; 8] {
        return None;
    }
    let mut texts = rest.split(|byte| *byte == 0);
    let note = Note {
        place: u64::from_le_bytes(*place),
        base: u64::from_le_bytes(*base),
        provider: texts.next()?,
        name: texts.next()?,
        arguments: texts.next()?,
    };
    // The third text ends, too.
    texts.next().map(|_| note)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(kind: u32, owner: &[u8], contents: &[u8]) -> Vec<u8> {
        let mut note = Vec::new();
        let lengths = [owner, contents].map(|part| u32::try_from(part.len()).unwrap());
        for number in [lengths[0], lengths[1], kind] {
            note.extend(number.to_le_bytes());
        }
        for part in [owner, contents] {
            note.extend(part);
            note.resize(note.len().next_multiple_of(4), 0);
        }
        note
    }

    fn contents(numbers: [u64; 3], texts: &[u8]) -> Vec<u8> {
        let mut contents: Vec<u8> = numbers.into_iter().flat_map(u64::to_le_bytes).collect();
        contents.extend(texts);
        contents
    }

    #[test]
    fn places_are_found_among_notes() {
        let check = |list: &[&[u8]], want: &[&[u8]]| {
            let list = list.concat();
            let names: Vec<_> = notes(&list).map(|note| note.name).collect();
            assert_eq!(names, want);
        };
        let ours = |name: &str| {
            let texts = format!("p\0{name}\08@%rdi\0");
            written(3, OWNER, &contents([7, 8, 0], texts.as_bytes()))
        };
        let other = written(1, b"GNU\0", b"abcde");
        let switched = written(3, OWNER, &contents([7, 8, 9], b"p\0n\0\0"));
        let cut = written(3, OWNER, &contents([7, 8, 0], b"p\0n\08@%rdi"));
        check(&[&ours("a"), &other, &ours("bc")], &[b"a", b"bc"]);
        check(&[&switched, &cut, &ours("a")], &[b"a"]);
        check(&[&ours("a"), &ours("b")[..40]], &[b"a"]);
        check(&[], &[]);
        let list = ours("a");
        let want = Note {
            place: 7,
            base: 8,
            provider: b"p",
            name: b"a",
            arguments: b"8@%rdi",
        };
        assert_eq!(notes(&list).collect::<Vec<_>>(), [want]);
        // The linker need not fill up the last one.
        let unpadded = written(3, OWNER, &contents([7, 8, 0], b"p\0n\0\0"));
        assert_eq!(notes(&unpadded[..unpadded.len() - 3]).count(), 1);
    }

    proptest! {
        #[test]
        fn any_bytes_are_notes_or_none(bytes: Vec<u8>) {
            notes(&bytes).count();
        }

        #[test]
        fn any_lengths_are_survived(lengths: [u32; 2], bytes: Vec<u8>) {
            let mut list = lengths.map(u32::to_le_bytes).concat();
            list.extend(KIND.to_le_bytes());
            list.extend(bytes);
            notes(&list).count();
        }
    }
}
