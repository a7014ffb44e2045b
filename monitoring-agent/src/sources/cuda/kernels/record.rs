//! Records of the ring buffer `NAMES`: a head, and a name behind it. Knows nothing of what is done
//! with them.

use monitoring_common::cuda::{NAME_BYTES, Named, ProcessId};

use crate::ring;

/// What a record says of a process's function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Record<'a> {
    pub(super) process: ProcessId,
    pub(super) function: u64,
    pub(super) says: Says<'a>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Says<'a> {
    /// What it is called, without the zero at the end. A name that fills its place may be `cut`.
    Name { text: &'a [u8], cut: bool },
    /// It is the same function as another one of the process.
    SameAs(u64),
    /// It was launched, and the kernel side knows no more.
    Launched,
}

/// The record, if it is as long as it says and its name ends with a zero.
pub(super) fn decode(record: &[u8]) -> Option<Record<'_>> {
    let (head, text) = record.split_at_checked(size_of::<Named>())?;
    let head: Named = ring::decode(head)?;
    let length = usize::from(head.length);
    if text.len() != length || length > NAME_BYTES {
        return None;
    }
    let says = match text {
        [text @ .., 0] => {
            let end = text.iter().position(|byte| *byte == 0);
            match &text[..end.unwrap_or(text.len())] {
                // The name of nothing is as good as none.
                [] => without_name(head.same_as),
                text => Says::Name {
                    text,
                    cut: length == NAME_BYTES && end.is_none(),
                },
            }
        }
        [] => without_name(head.same_as),
        _ => return None,
    };
    Some(Record {
        process: head.process,
        function: head.function,
        says,
    })
}

fn without_name(same_as: u64) -> Says<'static> {
    match same_as {
        0 => Says::Launched,
        other => Says::SameAs(other),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::{NAME_BYTES, ProcessId, Record, Says, decode};

    /// A record as the kernel side sends it; `text` is with the zero at its end, or empty.
    pub(in super::super) fn encode(
        process: ProcessId,
        function: u64,
        same_as: u64,
        text: &[u8],
    ) -> Vec<u8> {
        let length = u16::try_from(text.len()).unwrap();
        let mut record = Vec::new();
        record.extend(function.to_ne_bytes());
        record.extend(same_as.to_ne_bytes());
        record.extend(process.to_ne_bytes());
        record.extend(length.to_ne_bytes());
        record.extend([0; 6]);
        record.extend(text);
        record
    }

    #[test]
    fn records() {
        let check = |same_as, text: &[u8], want: Option<Says>| {
            let record = encode(7, 0x40_1000, same_as, text);
            let says = decode(&record).map(|record| {
                assert_eq!((record.process, record.function), (7, 0x40_1000));
                record.says
            });
            assert_eq!(says, want, "{text:?}");
        };
        let name = |text, cut| Some(Says::Name { text, cut });
        check(0, b"", Some(Says::Launched));
        check(9, b"", Some(Says::SameAs(9)));
        check(0, b"\0", Some(Says::Launched));
        check(9, b"\0", Some(Says::SameAs(9)));
        check(0, b"matmul\0", name(b"matmul", false));
        // A zero within, which a string helper never leaves.
        check(0, b"mat\0mul\0", name(b"mat", false));
        check(0, b"matmul", None);
        let mut full = vec![b'x'; NAME_BYTES];
        check(0, &full, None);
        full[NAME_BYTES - 1] = 0;
        check(0, &full, name(&full[..NAME_BYTES - 1], true));
        full.push(0);
        check(0, &full, None);
    }

    #[test]
    fn lengths_that_do_not_fit_are_malformed() {
        let record = encode(7, 1, 0, b"matmul\0");
        for end in 0..record.len() {
            assert_eq!(decode(&record[..end]), None, "{end} bytes");
        }
        let longer = [&record[..], b"\0"].concat();
        assert_eq!(decode(&longer), None);
    }

    proptest! {
        #[test]
        fn what_was_sent_is_read(
            process: ProcessId,
            function: u64,
            same_as: u64,
            name in proptest::collection::vec(1_u8.., 0..NAME_BYTES - 1),
        ) {
            let text = [&name[..], b"\0"].concat();
            let record = encode(process, function, same_as, &text);
            let says = match &name[..] {
                [] if same_as == 0 => Says::Launched,
                [] => Says::SameAs(same_as),
                text => Says::Name { text, cut: false },
            };
            prop_assert_eq!(decode(&record), Some(Record { process, function, says }));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>, length in 0_u16..64, fill: Vec<u8>) {
            decode(&bytes);
            let mut record = encode(1, 2, 3, b"");
            record[20..22].copy_from_slice(&length.to_ne_bytes());
            record.extend(&fill);
            if let Some(record) = decode(&record)
                && let Says::Name { text, .. } = record.says
            {
                prop_assert!(text.len() < usize::from(length));
                prop_assert!(!text.contains(&0));
            }
        }
    }
}
