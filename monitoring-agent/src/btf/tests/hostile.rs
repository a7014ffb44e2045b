//! Bytes that lie: none may panic, loop or allocate without bound.

use std::fs;

use proptest::prelude::*;

use super::build::{Builder, bits};
use crate::btf::{Btf, BtfError, KERNEL_BTF, raw::kind};

/// Asks all there is to ask, and how long the answers are is of no interest.
fn ask(bytes: &[u8]) {
    let Ok(btf) = Btf::parse(bytes) else { return };
    for found in btf.structs() {
        let _ = (found.id(), found.size(), found.name());
        let _ = found.field("no such field");
    }
    for path in [
        "tgid",
        "thread_info.status",
        "se.sum_exec_runtime",
        "in_execve",
        "comm",
        "pids",
    ] {
        let _ = btf.field("task_struct", path);
    }
    let _ = btf.enum_value("pid_type", "PIDTYPE_TGID");
}

/// Every kind of type, and every way to nest them.
fn sample(big_endian: bool) -> Vec<u8> {
    let mut b = Builder::new(big_endian);
    let int = b.int(4);
    let pointer = b.add(kind::PTR, "", 0, int, &[]);
    let alias = b.add(kind::TYPEDEF, "pid_t", 0, int, &[]);
    let array = b.add(kind::ARRAY, "", 0, 0, &[alias, int, 4]);
    let inner = b.composite(
        kind::UNION,
        "",
        16,
        &[("comm", array, 0), ("tgid", alias, 0)],
    );
    b.composite(
        kind::STRUCT,
        "task_struct",
        32,
        &[
            ("", inner, 0),
            ("pids", pointer, 128),
            ("in_execve", int, bits(192, 1)),
        ],
    );
    b.flag(3 + 9);
    b.add(kind::ENUM, "pid_type", 1, 4, &[1, 2]);
    b.add(kind::FUNC_PROTO, "", 1, int, &[0, int]);
    b.add(kind::VAR, "v", 0, int, &[0]);
    b.add(kind::DATASEC, "d", 1, 4, &[9, 0, 4]);
    b.add(kind::DECL_TAG, "tag", 0, int, &[0]);
    b.add(kind::ENUM64, "e", 1, 8, &[1, 2, 3]);
    b.finish()
}

#[test]
fn cycles_end_in_an_error() {
    let check = |build: &dyn Fn(&mut Builder) -> u32, want: &str| {
        let mut b = Builder::new(false);
        let member = build(&mut b);
        b.composite(kind::STRUCT, "s", 8, &[("", member, 0), ("m", member, 0)]);
        let bytes = b.finish();
        match Btf::parse(&bytes).unwrap().field("s", "m") {
            Err(BtfError::Malformed { what, .. }) => assert_eq!(what, want),
            other => panic!("{other:?} instead of: {want}"),
        }
    };
    let endless = "typedefs and qualifiers without end";
    check(&|b| b.add(kind::TYPEDEF, "t", 0, b.next_id(), &[]), endless);
    check(
        &|b| {
            b.add(kind::CONST, "", 0, b.next_id() + 1, &[]);
            b.add(kind::VOLATILE, "", 0, b.next_id() - 1, &[])
        },
        endless,
    );
    check(
        &|b| b.add(kind::ARRAY, "", 0, 0, &[b.next_id(), 1, 1]),
        "arrays without end",
    );
    check(
        &|b| b.composite(kind::STRUCT, "", 8, &[("", b.next_id(), 0)]),
        "structs without end",
    );
    // Wide rather than deep: 9 to the power of 32 visits, if they were not counted.
    check(
        &|b| {
            let own = b.next_id();
            b.composite(kind::UNION, "", 8, &[("", own, 0); 9])
        },
        "structs without end",
    );
    check(&|b| b.next_id() + 77, "a type number beyond the types");
    check(&|_| 0, "a type number beyond the types");
}

#[test]
fn every_truncation_is_noticed_or_harmless() {
    for big_endian in [false, true] {
        let whole = sample(big_endian);
        assert!(Btf::parse(&whole).is_ok());
        for length in 0..whole.len() {
            assert!(
                Btf::parse(&whole[..length]).is_err(),
                "{length} of {} bytes",
                whole.len()
            );
        }
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        ask(&bytes);
    }

    #[test]
    fn arbitrary_types(words in prop::collection::vec(any::<u32>(), 0..200), kinds: Vec<u8>) {
        let mut bytes = sample(false);
        let start = 24;
        let types = words.iter().zip(kinds.iter().cycle().chain([&0]));
        for (index, (word, kind)) in types.enumerate() {
            // Every third word is one that names a kind and few members.
            let info = u32::from(kind % 20) << 24 | word & 3;
            let word = if index % 3 == 1 { info } else { word % 64 };
            if let Some(place) = bytes.get_mut(start + index * 4..start + index * 4 + 4) {
                place.copy_from_slice(&word.to_le_bytes());
            }
        }
        ask(&bytes);
    }

    #[test]
    fn flipped_bits(
        big_endian: bool,
        flips in prop::collection::vec((any::<prop::sample::Index>(), 0..8_u32), 1..12),
    ) {
        let mut bytes = sample(big_endian);
        for (place, bit) in flips {
            let place = place.index(bytes.len());
            bytes[place] ^= 1 << bit;
        }
        ask(&bytes);
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 48,
        max_shrink_iters: 20,
        ..ProptestConfig::default()
    })]
    #[test]
    fn flipped_bits_of_the_running_kernel(
        flips in prop::collection::vec((any::<prop::sample::Index>(), 0..8_u32), 1..300),
    ) {
        let mut bytes = kernel();
        for (place, bit) in flips {
            let place = 8 + place.index(bytes.len() - 8);
            bytes[place] ^= 1 << bit;
        }
        ask(&bytes);
    }
}

fn kernel() -> Vec<u8> {
    fs::read(KERNEL_BTF).expect("this test needs a kernel with CONFIG_DEBUG_INFO_BTF")
}
