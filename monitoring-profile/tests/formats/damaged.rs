//! Files that are none, are cut off, contradict themselves, or are made to do harm.

use std::{
    io::Write as _,
    panic,
    time::{Duration, Instant},
};

use flate2::{Compression, write::GzEncoder};
use monitoring_profile::{
    Profile,
    pprof::{self, Limits, ReadError},
};
use proptest::prelude::*;

use super::{
    any,
    wire::{bytes, message, number, small, strings, varint},
};

fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
    gzip.write_all(plain).unwrap();
    gzip.finish().unwrap()
}

fn read(file: &[u8]) -> Result<Profile, ReadError> {
    pprof::read(file, Limits::default())
}

#[test]
fn a_file_by_hand_is_read() {
    for file in [small().concat(), gzip(&small().concat())] {
        let profile = read(&file).unwrap();
        assert_eq!(profile.total(0), 7);
        let sample = profile.samples().next().unwrap();
        let location = profile.location_at(sample.stack[0]);
        let function = profile.function_at(location.lines[0].function);
        assert_eq!((function.name, location.address), ("main", 16));
        let mapping = profile.mapping_at(location.mapping.unwrap());
        assert_eq!((mapping.file, mapping.start), ("/bin/x", 16));
        assert_eq!(sample.label("pid").unwrap().value.to_string(), "42");
    }
}

#[test]
fn the_order_of_fields_makes_no_difference() {
    let mut fields = small();
    fields.reverse();
    assert_eq!(
        any::content(&read(&fields.concat()).unwrap()),
        any::content(&read(&small().concat()).unwrap())
    );
}

#[test]
fn numbers_may_be_packed() {
    let mut fields = small();
    fields[1] = message(2, &[bytes(1, &[5, 5]), bytes(2, &[7])]);
    let profile = read(&fields.concat()).unwrap();
    assert_eq!(profile.samples().next().unwrap().stack.len(), 2);
}

/// Checks what the error says of a good file in which one field is another, or that has one more.
#[track_caller]
fn check(field: Option<usize>, other: Vec<u8>, want: &str) {
    let mut fields = small();
    match field {
        Some(field) => fields[field] = other,
        None => fields.push(other),
    }
    let error = read(&fields.concat()).expect_err(want).to_string();
    assert!(error.contains(want), "{error:?} says {want:?}");
}

#[test]
fn contradictions_in_samples_are_named() {
    let sample = |fields: &[Vec<u8>]| message(2, fields);
    check(
        Some(1),
        sample(&[number(1, 6), number(2, 7)]),
        "sample 1 names location 6, which is not there",
    );
    check(
        Some(1),
        sample(&[number(1, 5)]),
        "sample 1 has 0 values, and there are 1 types",
    );
    check(
        Some(1),
        sample(&[bytes(2, &[1, 2])]),
        "sample 1 has 2 values, and there are 1 types",
    );
    check(
        Some(0),
        Vec::new(),
        "sample 1 has 1 values, and there are 0 types",
    );
    check(
        Some(1),
        sample(&[number(2, 7), message(3, &[number(1, 6)])]),
        "sample 1 names text 6, of 6",
    );
    check(
        Some(1),
        sample(&[number(2, 7), message(3, &[number(1, u64::MAX)])]),
        "names text -1, of 6",
    );
    check(Some(1), bytes(2, &[0x08]), "sample 1: ");
    check(Some(1), number(2, 7), "sample 1 is no message");
    check(
        None,
        sample(&[number(2, i64::MAX.cast_unsigned())]),
        "the sum of its values is out of range",
    );
}

#[test]
fn contradictions_in_tables_are_named() {
    check(
        Some(2),
        message(3, &[number(1, 8)]),
        "location 5 names mapping 9, which is not there",
    );
    check(
        Some(2),
        message(3, &[number(2, 8)]),
        "mapping 0: the number stands for none",
    );
    check(
        None,
        message(3, &[number(1, 9)]),
        "mapping 9 is there twice",
    );
    check(
        None,
        message(3, &[number(1, 1), number(5, 77)]),
        "mapping 1 names text 77, of 6",
    );
    check(
        None,
        message(4, &[number(1, 5)]),
        "location 5 is there twice",
    );
    check(
        None,
        message(4, &[number(3, 5)]),
        "location 0: the number stands for none",
    );
    check(
        None,
        message(4, &[number(1, 6), message(4, &[number(1, 2)])]),
        "location 6 names function 2",
    );
    check(
        None,
        message(4, &[number(1, 6), message(4, &[number(2, 2)])]),
        "location 6 names function 0",
    );
    check(
        None,
        message(5, &[number(1, 3)]),
        "function 3 is there twice",
    );
    check(
        None,
        message(5, &[number(2, 3)]),
        "function 0: the number stands for none",
    );
    check(
        None,
        message(5, &[number(1, 4), number(3, 100)]),
        "function 4 names text 100, of 6",
    );
}

#[test]
fn contradictions_elsewhere_are_named() {
    let strange = strings(&["samples", "count", "main", "x", "y", "z"]);
    check(Some(5), strange, "the first of its texts is not empty");
    check(Some(5), Vec::new(), "it has no texts");
    check(None, number(6, 1), "a text is a number");
    check(
        None,
        [number(9, 1), number(9, 1)].concat(),
        "it holds several profiles",
    );
    check(None, bytes(9, &[1]), "the time is no number");
    check(None, number(14, 99), "the header names text 99, of 6");
    check(None, vec![0x0b], "a group");
    check(None, vec![0x0e], "at byte ");
    check(
        None,
        vec![0x0a, 0x7f, 1],
        "it is cut off: the field at byte ",
    );
    check(None, vec![0x79, 1], "it is cut off: the number at byte ");
    check(None, number(1, 1), "a sample type is no message");
    check(
        None,
        message(1, &[number(1, 1)]).repeat(65),
        "more than 64 types of values",
    );
}

#[test]
fn no_header_takes_more_than_its_file() {
    let large = "x".repeat((64 << 10) + 1);
    let texts = strings(&["", "samples", "count", "main", "/bin/x", "pid", &large]);
    let check = |field: Vec<u8>, want: &str| check(Some(5), [texts.clone(), field].concat(), want);
    let long = "more than 65536 bytes in a text of its header";
    check(message(1, &[number(1, 6)]), long);
    check(message(11, &[number(1, 6)]), long);
    for field in [7, 8, 14, 15] {
        check(number(field, 6), long);
    }
    // The surplus one is refused before what comes after it is looked at.
    let surplus = [message(1, &[number(1, 1)]).repeat(64), number(1, 1)].concat();
    check(surplus, "more than 64 types of values");
}

#[test]
fn comments_take_time_in_proportion_to_their_number() {
    const COUNT: u64 = 200_000;
    let some: Vec<String> = (0..COUNT).map(|number| format!("{number:07}")).collect();
    let mut texts = vec!["", "samples", "count", "main", "/bin/x", "pid"];
    texts.extend(some.iter().map(String::as_str));
    let numbers: Vec<u8> = (6..6 + COUNT).flat_map(varint).collect();
    let mut fields = small();
    fields[5] = [strings(&texts), bytes(13, &numbers.repeat(2))].concat();
    let file = fields.concat();
    let begun = Instant::now();
    let mut profile = read(&file).unwrap();
    profile.merge(&read(&file).unwrap()).unwrap();
    // Searched for one after the other they would take many minutes.
    assert!(begun.elapsed() < Duration::from_mins(1), "it hangs");
    assert!(profile.comments().eq(some.iter().map(String::as_str)));
}

#[test]
fn other_formats_are_named() {
    let check = |file: &[u8], want: &str| {
        let error = read(file).expect_err(want).to_string();
        assert!(error.contains(want), "{error:?} says {want:?}");
    };
    check(b"", "it is empty");
    check(&gzip(b""), "it is empty");
    check(b"main;work 12\n", "it is text");
    check(b"<?xml version=\"1.0\"?><svg/>", "SVG or other XML");
    check(b"<!doctype html>", "SVG or HTML");
    check("a;<ünï> 1".as_bytes(), "it is text");
    check(b"{\"frames\": []}", "JSON");
    check(b"PERFILE2\x68\0\0\0", "perf record");
    check(b"\x7fELF\x02\x01\x01", "a program or library");
    check(
        b"heap profile:    1:     16 [     1:     16] @",
        "format of old",
    );
    check(&gzip(&gzip(&small().concat())), "compressed twice");
    check(b"\x1f\x8b\x08", "it is cut off");
    check(b"\x1f\x8b\x09\0\0\0\0\0\0\0", "it cannot be decompressed");
}

#[test]
fn every_cut_of_a_compressed_file_is_an_error() {
    let whole = gzip(&small().concat());
    assert!(matches!(read(&whole[..0]), Err(ReadError::Empty)));
    assert!(read(&whole[..1]).is_err());
    for end in 2..whole.len() {
        let error = read(&whole[..end]).expect_err("it is cut off");
        assert!(matches!(error, ReadError::Truncated(_)), "{end}: {error}");
    }
    let mut flipped = whole.clone();
    let checksum = flipped.len() - 8;
    flipped[checksum] ^= 1;
    assert!(matches!(read(&flipped), Err(ReadError::Gzip(_))));
    let trailing = [whole, b"what is no part of it".to_vec()].concat();
    assert!(matches!(read(&trailing), Err(ReadError::Gzip(_))));
}

#[test]
fn no_more_is_decompressed_than_allowed() {
    let limits = Limits {
        bytes: 1 << 20,
        ..Limits::default()
    };
    let text = bytes(6, &vec![b'a'; 64 << 20]);
    let bomb = gzip(&[small().concat(), text.clone()].concat());
    assert!(bomb.len() < limits.bytes / 10);
    for file in [bomb, [small().concat(), text].concat()] {
        let error = pprof::read(&file, limits).expect_err("it is too large");
        assert!(
            matches!(error, ReadError::TooLarge { limit, unit: "bytes" } if limit == 1 << 20),
            "{error}"
        );
    }
    let exact = small().concat();
    let read = |bytes| pprof::read(&gzip(&exact), Limits { bytes, ..limits });
    assert!(read(exact.len()).is_ok());
    assert!(read(exact.len() - 1).is_err());
}

#[test]
fn no_stack_is_deeper_than_allowed() {
    let check = |depth: usize, allowed: bool| {
        let mut fields = small();
        fields[1] = message(2, &[bytes(1, &vec![5; depth]), number(2, 7)]);
        let limits = Limits {
            stack: 100,
            ..Limits::default()
        };
        assert_eq!(
            pprof::read(&fields.concat(), limits).is_ok(),
            allowed,
            "{depth}"
        );
    };
    check(100, true);
    check(101, false);
}

/// Parts of a file that take little space there must not take much in memory.
#[test]
fn memory_is_in_proportion_to_the_file() {
    let check = |part: &dyn Fn(u64) -> Vec<u8>| {
        let parts: Vec<u8> = (1000..101_000).flat_map(part).collect();
        let file = [small().concat(), parts].concat();
        let memory = read(&file).unwrap().memory_bytes();
        assert!(memory < 20 * file.len(), "{memory} of {}", file.len());
    };
    check(&|_| bytes(6, b""));
    check(&|_| message(2, &[number(2, 1)]));
    check(&|_| message(13, &[number(0, 1)]));
    check(&|id| {
        message(
            2,
            &[
                number(1, 5),
                number(2, 1),
                message(3, &[number(1, 5), number(3, id)]),
            ],
        )
    });
    check(&|id| message(3, &[number(1, id), number(2, id)]));
    check(&|id| message(4, &[number(1, id), number(3, id)]));
    check(&|id| message(5, &[number(1, id), number(5, id)]));
}

proptest! {
    #[test]
    fn random_bytes_are_no_profile(file in prop::collection::vec(any::<u8>(), 1..200)) {
        let _ = read(&file);
        let _ = read(&gzip(&file));
    }

    /// What is read of a file with a few wrong bytes can be used like any other.
    #[test]
    fn damage_is_noticed_or_harmless(
        profile in any::profile(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut file = Vec::new();
        let compressed = pprof::write(&profile);
        std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&*compressed), &mut file).unwrap();
        for (at, byte) in changes {
            let at = at.index(file.len());
            file[at] = byte;
        }
        if let Ok(read) = read(&file) {
            let again = pprof::read(&pprof::write(&read), Limits::default()).unwrap();
            prop_assert_eq!(any::content(&read), any::content(&again));
            for value in 0..read.sample_types().len() {
                read.total(value);
                monitoring_profile::top::by_function(&read, value);
            }
        }
    }

    #[test]
    fn a_file_that_is_cut_is_noticed_or_a_profile(profile in any::profile(), end in any::<prop::sample::Index>()) {
        let file = pprof::write(&profile);
        let cut = &file[..end.index(file.len())];
        prop_assert!(panic::catch_unwind(|| read(cut)).expect("it does not panic").is_err());
    }
}
