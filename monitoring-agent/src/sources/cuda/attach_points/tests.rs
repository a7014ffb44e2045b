//! Real files that the compiler made, and what becomes of them when they are torn.

use std::{
    fs,
    io::{Seek as _, Write as _},
    process::Command,
    sync::LazyLock,
};

use proptest::prelude::*;

use super::*;
use crate::sources::cuda::functions::names;

/// Stands at each function instead of code, before a number that tells which it is.
const MARK: &[u8] = b"\x90\x90here";

/// A library with functions of all sorts.
const LIBRARY: &str = r#"
#define AT(name, number) __asm__(".text\n.balign 16\n.globl " name "\n.type " name \
    ", %function\n" name ":\n.byte 0x90, 0x90\n.ascii \"here\"\n.byte " number "\n.size " name ", .-" name);
AT("cudaLaunchKernel", "1")
AT("cudaLaunchKernel_ptsz", "2")
AT("cuMemAlloc_v2", "3")
AT("cudaNobodyCountsThis", "4")
__asm__(".globl cudaMemcpy\n.set cudaMemcpy, cudaLaunchKernel\n.type cudaMemcpy, %function");
/* Local, as in a program that has the runtime in it. */
__asm__(".text\n.balign 16\n.type cuMemFree_v2, %function\ncuMemFree_v2:\n"
    ".byte 0x90, 0x90\n.ascii \"here\"\n.byte 5");
/* Not functions, or not here. */
int cudaFree = 1;
extern int cudaMalloc(void);
int calls(void) { return cudaMalloc(); }
static int chosen(void) { return 0; }
static void *choose(void) { return chosen; }
int cudaMallocAsync(void) __attribute__((ifunc("choose")));
__asm__(".section .data\n.globl cudaMemcpyAsync\n.type cudaMemcpyAsync, %function\ncudaMemcpyAsync: .byte 1");
__asm__(".globl cudaFreeAsync\n.type cudaFreeAsync, %function\n.set cudaFreeAsync, 4096");
__asm__(".text");
"#;

static BUILT: LazyLock<Vec<u8>> = LazyLock::new(|| build(LIBRARY, &[]));

fn build(source: &str, flags: &[&str]) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a.c"), source).unwrap();
    let status = Command::new("cc")
        .args(["-shared", "-fPIC", "-nostdlib", "-o", "a.so", "a.c"])
        .args(flags)
        .current_dir(&folder)
        .status()
        .expect("a C compiler: install gcc");
    assert!(status.success());
    fs::read(folder.path().join("a.so")).unwrap()
}

fn file(bytes: &[u8]) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file.rewind().unwrap();
    file
}

fn read(bytes: &[u8]) -> Result<Content, Fault> {
    content(&file(bytes))
}

/// Which of the marked functions the points are, and what is counted there.
fn marks(bytes: &[u8], points: &[AttachPoint]) -> Vec<(u8, &'static str)> {
    let names = names();
    let mark = |point: &AttachPoint| {
        let at = &bytes[usize::try_from(point.offset).unwrap()..];
        assert!(at.starts_with(MARK), "{point:?} is no function");
        (at[MARK.len()], names[usize::from(point.hook.call())])
    };
    points.iter().map(mark).collect()
}

#[test]
fn each_function_is_found_once_where_its_code_is() {
    let content = read(&BUILT).unwrap();
    let mut found = marks(&BUILT, &content.points);
    found.sort_unstable();
    let want = [(2, "cudaLaunchKernel"), (3, "cuMemAlloc"), (5, "cuMemFree")];
    // The first has two names; which of them counts is the same each time.
    assert_eq!(found[0].0, 1);
    assert!(["cudaLaunchKernel", "cudaMemcpy"].contains(&found[0].1));
    assert_eq!(found[1..], want);
    assert!(content.runtime && content.symbols);
    let mut offsets: Vec<_> = content.points.iter().map(|point| point.offset).collect();
    assert!(offsets.is_sorted());
    offsets.dedup();
    assert_eq!(offsets.len(), 4);
    assert_eq!(read(&BUILT).unwrap(), content);
}

#[test]
fn a_stripped_library_has_its_exports() {
    let bytes = build(LIBRARY, &["-s"]);
    let content = read(&bytes).unwrap();
    let mut found: Vec<_> = marks(&bytes, &content.points);
    found.sort_unstable();
    let numbers: Vec<_> = found.iter().map(|(number, _)| *number).collect();
    assert_eq!(numbers, [1, 2, 3]);
    assert!(content.runtime && !content.symbols);
    let driver = build(
        "int cuNoCall(void) { return 0; } int cuMemAlloc_v2(void) { return 0; }",
        &[],
    );
    let content = read(&driver).unwrap();
    assert!(!content.runtime);
    assert_eq!(content.points.len(), 1);
}

#[test]
fn what_cannot_be_used_is_said() {
    let check = |change: &dyn Fn(&mut Vec<u8>), want: &str| {
        let mut bytes = BUILT.clone();
        change(&mut bytes);
        let error = attach_points(&file(&bytes), Path::new("/lib/a.so")).unwrap_err();
        let error = format!("{error:#}");
        assert!(
            error.starts_with("read /lib/a.so: ") && error.contains(want),
            "{error}"
        );
    };
    check(&|bytes| bytes.clear(), "not an ELF file");
    check(&|bytes| bytes[0] = 0, "not an ELF file");
    check(&|bytes| bytes[4] = 1, "32-bit");
    check(&|bytes| bytes[5] = 2, "byte order");
    check(&|bytes| bytes[18] ^= 0xff, "another processor");
    check(&|bytes| bytes[16] = 4, "neither program nor library");
    check(&|bytes| bytes.truncate(40), "header is cut");
    check(&|bytes| bytes.truncate(100), "program headers are cut");
    check(
        &|bytes| bytes.truncate(bytes.len() - 1),
        "section headers are cut",
    );
    check(&|bytes| bytes[56..58].fill(0xff), "program headers than");
    check(&|bytes| bytes[60..62].fill(0xff), "sections than");
}

/// Where the section header of the table for the dynamic linker is.
fn dynamic_symbols(bytes: &[u8]) -> usize {
    let number = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
    let start = usize::try_from(number(40)).unwrap();
    (start..bytes.len())
        .step_by(64)
        .find(|at| bytes[at + 4] == 11)
        .unwrap()
}

#[test]
fn tables_that_claim_to_be_huge_cost_nothing() {
    let at = dynamic_symbols(&BUILT);
    let check = |length: u64, offset: u64, size: u64, want: &str| {
        let mut bytes = BUILT.clone();
        bytes[at + 24..at + 32].copy_from_slice(&offset.to_le_bytes());
        bytes[at + 32..at + 40].copy_from_slice(&size.to_le_bytes());
        let file = file(&bytes);
        file.set_len(length).unwrap();
        let error = content(&file).unwrap_err().to_string();
        assert!(error.contains(want), "{error}");
    };
    let length = BUILT.len() as u64;
    check(length, 0, 4 << 30, "its symbols are cut");
    check(length, u64::MAX, 2, "its symbols are cut");
    check(8 << 30, 4096, 6 << 30, "more symbols");
}

#[test]
fn whatever_is_cut_off_is_missed() {
    for length in (0..BUILT.len()).step_by(61) {
        // Its section headers are the end of the file.
        read(&BUILT[..length]).unwrap_err();
    }
}

proptest! {
    #[test]
    fn any_bytes_are_no_library(bytes: Vec<u8>) {
        read(&bytes).unwrap_err();
    }

    #[test]
    fn a_library_with_wrong_bytes_has_only_places_in_it(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..40),
        headers in prop::collection::vec((0_usize..1_200, any::<u8>()), 0..3),
    ) {
        let mut bytes = BUILT.clone();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        // Behind the first bytes, most of which are checked.
        for (at, byte) in headers {
            bytes[24 + at] = byte;
        }
        if let Ok(content) = read(&bytes) {
            for point in content.points {
                prop_assert!(point.offset < bytes.len() as u64);
            }
        }
    }

    #[test]
    fn symbols_with_wrong_bytes_have_only_places_in_the_file(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..10),
    ) {
        let mut bytes = BUILT.clone();
        let at = dynamic_symbols(&bytes);
        let number = |at: usize| {
            usize::try_from(u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())).unwrap()
        };
        let (start, size) = (number(at + 24), number(at + 32));
        for (at, byte) in changes {
            bytes[start + at.index(size)] = byte;
        }
        if let Ok(content) = read(&bytes) {
            for point in content.points {
                prop_assert!(point.offset < bytes.len() as u64);
            }
        }
    }
}
