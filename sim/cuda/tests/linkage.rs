//! The C workload in the three ways in which programs have the runtime.

use std::{fs, process::Command};

use cuda_sim::{Linkage, build_program};
use object::{Object as _, ObjectSymbol as _, read::elf::ElfFile64};

const KERNEL: &str = "_Z9vectorAddPKfS0_Pfi";

/// Names in a program's symbol tables: its own, and the dynamic one.
fn names(program: &std::path::Path) -> [Vec<String>; 2] {
    let bytes = fs::read(program).unwrap();
    let file = ElfFile64::<object::Endianness>::parse(&bytes[..]).unwrap();
    let defined = |symbols: object::read::elf::ElfSymbolIterator64<'_, '_>| {
        let defined = symbols.filter(object::ObjectSymbol::is_definition);
        defined
            .map(|symbol| symbol.name().unwrap().to_owned())
            .collect()
    };
    [defined(file.symbols()), defined(file.dynamic_symbols())]
}

fn check(linkage: Linkage, has_stub: bool, has_runtime: bool) {
    let folder = tempfile::tempdir().unwrap();
    cuda_sim::install(folder.path()).unwrap();
    let program = build_program(folder.path(), linkage).unwrap();
    let [own, dynamic] = names(&program);
    let has = |name: &str| own.iter().any(|known| known == name);
    assert_eq!(has(KERNEL), has_stub, "{linkage:?}");
    assert_eq!(has("cudaLaunchKernel"), has_runtime, "{linkage:?}");
    assert!(
        !dynamic.iter().any(|known| known == "cudaLaunchKernel"),
        "{linkage:?}"
    );

    let counts = folder.path().join("counts");
    let output = Command::new(program)
        .args(["4", "1000", "10", "6"])
        .env("LD_LIBRARY_PATH", folder.path())
        .env("CUDA_SIM_COUNTS", &counts)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success() && said.contains("\"failures\":0"),
        "{linkage:?} {output:?}"
    );
    let libraries = cuda_sim::read_counts(&counts).unwrap();
    let count = |library: &str, call: &str| {
        let library = libraries
            .iter()
            .find(|known| known.library == library)
            .unwrap();
        library.calls[call].count
    };
    for (call, want) in [
        ("cudaLaunchKernel", 4000),
        ("cudaMalloc", 44),
        ("cudaFree", 44),
        ("cudaMemcpy", 24),
        ("cudaDeviceSynchronize", 4),
    ] {
        assert_eq!(count("libcudart.so.12", call), want, "{linkage:?} {call}");
        assert!(
            said.contains(&format!("\"{call}\":{want}")),
            "{linkage:?} {said}"
        );
    }
    assert_eq!(count("libcuda.so.1", "cuLaunchKernel"), 4000, "{linkage:?}");
}

#[test]
fn dynamic() {
    check(Linkage::Dynamic, true, false);
}

#[test]
fn static_runtime() {
    check(Linkage::Static, true, true);
}

#[test]
fn stripped() {
    check(Linkage::Stripped, false, false);
}
