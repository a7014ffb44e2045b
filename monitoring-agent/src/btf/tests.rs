//! Small BTF written by hand.

mod build;
mod generated;
mod hostile;

use std::fs;

use build::{Builder, bits};

use super::*;

/// A struct `s`: `int a`, `struct { long b; union { int c; const pid_t d; }; }`,
/// `struct inner { int x; char y[3]; } e`, `unsigned f: 3` at bit 261, `g: 20` across a word.
fn sample(big_endian: bool) -> Vec<u8> {
    let mut b = Builder::new(big_endian);
    let int = b.int(4);
    let long = b.int(8);
    let char = b.int(1);
    let pid = b.add(kind::TYPEDEF, "pid_t", 0, int, &[]);
    let pid = b.add(kind::CONST, "", 0, pid, &[]);
    let union = b.composite(kind::UNION, "", 8, &[("c", int, 0), ("d", pid, 0)]);
    let nested = b.composite(kind::STRUCT, "", 16, &[("b", long, 0), ("", union, 64)]);
    let chars = b.add(kind::ARRAY, "", 0, 0, &[char, int, 3]);
    let inner = b.composite(kind::STRUCT, "inner", 8, &[("x", int, 0), ("y", chars, 32)]);
    b.add(kind::FWD, "s", 0, 0, &[]);
    let pointer = b.add(kind::PTR, "", 0, inner, &[]);
    b.composite(
        kind::STRUCT,
        "s",
        48,
        &[
            ("a", int, 0),
            ("", nested, 64),
            ("e", inner, 192),
            ("f", int, bits(261, 3)),
            ("g", int, bits(276, 20)),
            ("p", pointer, 320),
        ],
    );
    b.flag(3 + 6 * 3);
    b.composite(kind::STRUCT, "s", 4, &[("other", int, 0)]);
    b.composite(kind::STRUCT, "empty", 0, &[]);
    b.finish()
}

#[test]
fn fields() {
    let bytes = sample(false);
    let btf = Btf::parse(&bytes).unwrap();
    let check = |path: &str, offset: u32, size: u32| {
        assert_eq!(
            btf.field("s", path).unwrap(),
            Field {
                offset,
                size,
                bits: None
            },
            "{path}"
        );
    };
    check("a", 0, 4);
    check("b", 8, 8);
    check("c", 16, 4);
    check("d", 16, 4);
    check("e", 24, 8);
    check("e.x", 24, 4);
    check("e.y", 28, 3);
    check("p", 40, 8);
    assert_eq!(btf.size_of("s").unwrap(), 48);
    assert_eq!(btf.size_of("empty").unwrap(), 0);
}

#[test]
fn bit_fields() {
    let check = |big_endian: bool, path: &str, offset: u32, size: u32, shift: u8, width: u8| {
        let bytes = sample(big_endian);
        let field = Btf::parse(&bytes).unwrap().field("s", path).unwrap();
        assert_eq!(
            field,
            Field {
                offset,
                size,
                bits: Some(Bits { shift, width })
            },
            "{path}"
        );
    };
    check(false, "f", 32, 4, 5, 3);
    check(true, "f", 32, 4, 24, 3);
    // From bit 276 to 296: no 4-byte word holds it.
    check(false, "g", 32, 8, 20, 20);
    check(true, "g", 32, 8, 24, 20);
}

#[test]
fn what_is_not_there() {
    let bytes = sample(false);
    let btf = Btf::parse(&bytes).unwrap();
    let check = |of: &str, path: &str, want: &str| {
        assert_eq!(btf.field(of, path).unwrap_err().to_string(), want);
    };
    check("t", "a", "this kernel has no type `t`");
    check("s", "z", "this kernel's `s` has no `z`");
    check("s", "", "this kernel's `s` has no ``");
    check("s", "e.z", "this kernel's `s` has no `e.z`");
    check("s", "a.x", "this kernel's `s` has no `a.x`");
    check("s", "p.x", "this kernel's `s` has no `p.x`");
    check("s", "e.", "this kernel's `s` has no `e.`");
    check("s", ".x", "this kernel's `s` has no `.x`");
    check("s", "other", "this kernel's `s` has no `other`");
    check("empty", "a", "this kernel's `empty` has no `a`");
    assert!(btf.size_of("pid_t").is_err());
}

#[test]
fn types_and_values() {
    for big_endian in [false, true] {
        let mut b = Builder::new(big_endian);
        b.add(kind::FUNC, "function", 1, 1, &[]);
        b.add(kind::FWD, "forward", 0, 0, &[]);
        b.add(kind::TYPEDEF, "alias", 0, 1, &[]);
        // Offsets of strings: the builder wrote function, forward and alias, then the enum's name.
        b.add(kind::ENUM, "signed", 2, 4, &[10, u32::MAX, 18, 7]);
        b.flag(3 + 4);
        b.add(kind::ENUM, "plain", 1, 4, &[10, u32::MAX]);
        b.add(kind::ENUM64, "wide", 1, 8, &[10, 1, 2]);
        let bytes = b.finish();
        let btf = Btf::parse(&bytes).unwrap();
        let value = |of: &str, name: &str| btf.enum_value(of, name).ok();
        assert_eq!(value("signed", "forward"), Some(-1));
        assert_eq!(value("signed", "alias"), Some(7));
        assert_eq!(value("plain", "forward"), Some(u32::MAX.into()));
        assert_eq!(value("wide", "forward"), Some(2 << 32 | 1));
        assert_eq!(value("wide", "alias"), None);
        assert_eq!(value("narrow", "alias"), None);
    }
}

#[test]
fn newer_kinds_hide_only_what_is_behind_them() {
    let build = |with_layout: bool| {
        let mut b = Builder::new(false);
        let int = b.int(4);
        b.composite(kind::STRUCT, "before", 8, &[("a", int, 32)]);
        let later = b.next_id() + 2;
        b.composite(kind::STRUCT, "across", 8, &[("", later, 32)]);
        b.add(21, "new", 2, 0, &[1, 2, 3]);
        b.composite(kind::STRUCT, "behind", 8, &[("b", int, 32)]);
        if with_layout {
            b.layout(21, 4, 4);
        }
        b.finish()
    };
    let offset = |bytes: &[u8], of: &str, path: &str| {
        Btf::parse(bytes)
            .unwrap()
            .field(of, path)
            .map(|field| field.offset)
    };
    let hidden = build(false);
    assert_eq!(offset(&hidden, "before", "a").unwrap(), 4);
    for (of, path) in [("behind", "b"), ("across", "b"), ("none", "b")] {
        let answer = offset(&hidden, of, path);
        assert!(
            matches!(answer, Err(BtfError::NewerKind { kind: 21 })),
            "{answer:?}"
        );
    }
    assert!(matches!(
        offset(&hidden, "before", "b"),
        Err(BtfError::NoMember { .. })
    ));

    let told = build(true);
    assert_eq!(offset(&told, "behind", "b").unwrap(), 4);
    assert_eq!(offset(&told, "across", "b").unwrap(), 8);
    assert!(matches!(
        offset(&told, "none", "b"),
        Err(BtfError::NoType { .. })
    ));
}

#[test]
fn headers() {
    let check = |change: &dyn Fn(&mut Vec<u8>), want: &str| {
        let mut bytes = sample(false);
        change(&mut bytes);
        let error = Btf::parse(&bytes).err().expect(want).to_string();
        assert!(error.ends_with(want), "{error}");
    };
    check(&Vec::clear, "magic number with version 1");
    check(&|b| b[0] = 0, "magic number with version 1");
    check(&|b| b[2] = 2, "magic number with version 1");
    check(&|b| b[4] = 23, "a header of less than 24 bytes");
    check(&|b| b[11] = 0xff, "a section beyond the end");
    check(&|b| b[23] = 0xff, "a section beyond the end");
    check(&|b| b[24 + 7] = 0, "a type of kind 0");
    check(
        &|b| b[24 + 5..24 + 8].copy_from_slice(&[0x80, 0, kind::STRUCT]),
        "a type beyond the end of the types",
    );
}

#[test]
fn the_kernels_file_and_a_copy_of_it_answer_alike() {
    let bytes = fs::read(KERNEL_BTF).expect("this test needs a kernel with CONFIG_DEBUG_INFO_BTF");
    let copy = tempfile::NamedTempFile::new().unwrap();
    fs::write(copy.path(), &bytes).unwrap();
    let tgid = Btf::from_kernel()
        .unwrap()
        .field("task_struct", "tgid")
        .unwrap();
    assert_eq!(tgid.size, 4);
    assert_eq!(
        Btf::open(copy.path())
            .unwrap()
            .field("task_struct", "tgid")
            .unwrap(),
        tgid
    );
    assert_eq!(
        Btf::parse(&bytes)
            .unwrap()
            .field("task_struct", "tgid")
            .unwrap(),
        tgid
    );
}

#[test]
fn files_that_are_not_there_or_empty() {
    let folder = tempfile::tempdir().unwrap();
    let missing = Btf::open(&folder.path().join("none"));
    assert!(matches!(missing.err(), Some(BtfError::Missing)));
    let empty = folder.path().join("empty");
    fs::write(&empty, []).unwrap();
    assert!(matches!(
        Btf::open(&empty).err(),
        Some(BtfError::Unreadable(_))
    ));
}
