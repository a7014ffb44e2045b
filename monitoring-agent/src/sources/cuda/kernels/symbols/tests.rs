//! Stubs by name, and files that are not what they claim.

use std::{io::Write as _, os::unix::fs::FileExt as _};

use proptest::prelude::*;

use super::*;

#[test]
fn stubs_stand_for_kernels() {
    let check = |host: &str, kernel: &str| {
        let got = kernel_of(host.as_bytes());
        assert_eq!(str::from_utf8(&got).unwrap(), kernel, "{host}");
    };
    // The function itself.
    check("_Z6matmulPfS_i", "_Z6matmulPfS_i");
    check("saxpy", "saxpy");
    // nvcc's stubs, also mangled once more.
    check("__device_stub__Z6matmulPfS_i", "_Z6matmulPfS_i");
    check("_Z28__device_stub__Z6matmulPfS_iPfS_i", "_Z6matmulPfS_i");
    check("_ZL28__device_stub__Z6matmulPfS_iPfS_i", "_Z6matmulPfS_i");
    // clang's.
    check("_Z21__device_stub__matmulPfS_i", "_Z6matmulPfS_i");
    check(
        "_ZN2ns21__device_stub__matmulIfEEvPT_",
        "_ZN2ns6matmulIfEEvPT_",
    );
    check("__device_stub__saxpy", "saxpy");
    // Lengths that cannot be.
    check("_Z3__device_stub__matmul", "_Z3__device_stub__matmul");
    check("_Z999__device_stub__Z6mat", "_Z999__device_stub__Z6mat");
}

fn file_of(bytes: &[u8]) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file
}

/// The beginning of this very test: a file torn before its code.
fn own() -> Vec<u8> {
    let mut bytes = vec![0; 4_096];
    let file = File::open("/proc/self/exe").unwrap();
    file.read_exact_at(&mut bytes, 0).unwrap();
    bytes
}

#[test]
fn what_is_no_elf_file_is_malformed() {
    let check = |bytes: &[u8]| {
        let answer = at(&file_of(bytes), &[0x1000], &mut u64::MAX.clone());
        assert_eq!(answer, Err(Problem::Malformed));
    };
    check(b"");
    check(b"\x7fELF");
    check(&[0; 4_096]);
    // Torn: the table of sections stands at the end.
    check(&own());
}

#[test]
fn a_table_that_claims_gigabytes_is_not_read() {
    let mut file = tempfile::tempfile().unwrap();
    let size = 64;
    let mut header = own()[..size].to_vec();
    let sections = 4_096_u64;
    header[32..40].copy_from_slice(&64_u64.to_ne_bytes());
    header[40..48].copy_from_slice(&sections.to_ne_bytes());
    header[56..58].copy_from_slice(&1_u16.to_ne_bytes());
    header[60..62].copy_from_slice(&2_u16.to_ne_bytes());
    header[62..64].copy_from_slice(&0_u16.to_ne_bytes());
    let code = [1_u64 | 5 << 32, 0, 0, 0, 1 << 20, 1 << 20, 4_096];
    let table = |claimed: u64| -> [u64; 8] { [2 << 32, 0, 0, 4_096, claimed, 0, 0, 24] };
    let words = |words: &[u64]| {
        words
            .iter()
            .flat_map(|word| word.to_ne_bytes())
            .collect::<Vec<_>>()
    };
    file.write_all(&header).unwrap();
    file.write_all(&words(&code)).unwrap();
    file.set_len(8 << 30).unwrap();
    let claim = |claimed| {
        file.write_all_at(&words(&table(claimed)), sections + 64)
            .unwrap();
        let mut budget = 100 << 20;
        (at(&file, &[0x1000], &mut budget), budget)
    };
    assert_eq!(claim(4 << 30), (Err(Problem::Malformed), 100 << 20));
    assert_eq!(claim(MAX_TABLE_BYTES), (Err(Problem::TooMuch), 100 << 20));
    assert_eq!(
        claim(24 * 1_000),
        (Ok(HashMap::new()), (100 << 20) - 24_000)
    );
    // A number of sections that stands elsewhere, where any could stand.
    file.write_all_at(&[0, 0], 60).unwrap();
    assert_eq!(claim(24).0, Err(Problem::Malformed));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn changed_bytes_do_no_harm(changes in proptest::collection::vec((0_usize..1_024, any::<u8>()), 1..40)) {
        let mut bytes = own();
        // A table of sections where it is read.
        bytes[40..48].copy_from_slice(&512_u64.to_ne_bytes());
        for (place, byte) in changes {
            bytes[16 + place] = byte;
        }
        let mut budget = 1 << 20;
        let _ = at(&file_of(&bytes), &[0, 64, 0x1000, u64::MAX], &mut budget);
        prop_assert!(budget <= 1 << 20);
    }

    #[test]
    fn any_stub_stands_for_something(host in "(_ZL?|_ZN[0-9]{0,3})?[0-9]{0,22}__device_stub__Z?[a-zé0-9]{0,9}") {
        kernel_of(host.as_bytes());
    }
}
