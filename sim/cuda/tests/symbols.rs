//! What probes rely on: real names, each at an address of its own, with a prologue that the kernel
//! knows how to emulate.

use std::{collections::BTreeMap, fs, path::Path};

use object::{
    Object as _, ObjectSection as _, ObjectSymbol as _, SymbolKind, read::elf::ElfFile64,
};

/// Functions that go on in another one at once.
const JUMPS: [&str; 2] = ["__cudaLaunchKernel", "__cudaLaunchKernel_ptsz"];

/// `push %rbp; mov %rsp,%rbp`, and on arm64 `stp x29,x30,[sp,#-16]!; mov x29,sp`.
const PROLOGUE: &[u8] = if cfg!(target_arch = "aarch64") {
    &[0xfd, 0x7b, 0xbf, 0xa9, 0xfd, 0x03, 0x00, 0x91]
} else {
    &[0x55, 0x48, 0x89, 0xe5]
};

/// What the runtime has to have.
const RUNTIME: &str = "\
    cudaLaunchKernel cudaLaunchKernel_ptsz cudaLaunchKernelExC cudaLaunchKernelExC_ptsz \
    cudaLaunchCooperativeKernel cudaLaunchCooperativeKernel_ptsz cudaGraphLaunch \
    cudaGraphLaunch_ptsz __cudaLaunchKernel __cudaGetKernel __cudaRegisterFunction \
    __cudaRegisterFatBinary __cudaPushCallConfiguration cudaMalloc cudaMallocManaged \
    cudaMallocAsync cudaMallocPitch cudaMallocHost cudaFree cudaFreeAsync cudaMemcpy \
    cudaMemcpy_ptds cudaMemcpyAsync cudaMemcpyAsync_ptsz cudaMemcpy2D cudaMemcpy3D \
    cudaMemcpyPeer cudaMemcpyToSymbol cudaMemset cudaMemsetAsync cudaDeviceSynchronize \
    cudaStreamSynchronize cudaEventSynchronize cudaEventQuery cudaStreamQuery cudaSetDevice \
    cudaStreamBeginCapture cudaGraphInstantiate cudaGetLastError";

/// What the driver has to have.
const DRIVER: &str = "\
    cuLaunchKernel cuLaunchKernel_ptsz cuLaunchKernelEx cuLaunchKernelEx_ptsz \
    cuLaunchCooperativeKernel cuLaunchCooperativeKernel_ptsz cuGraphLaunch \
    cuGraphLaunch_ptsz cuMemAlloc_v2 cuMemAllocAsync cuMemAllocManaged cuMemCreate cuMemMap \
    cuMemUnmap cuMemFree_v2 cuMemcpyHtoD_v2 cuMemcpyHtoDAsync_v2 cuMemcpyDtoHAsync_v2_ptsz \
    cuMemcpyAsync cuMemsetD32_v2 cuCtxSynchronize cuStreamSynchronize cuEventSynchronize \
    cuCtxSetCurrent cuModuleLoadData cuModuleGetFunction cuLibraryGetKernel cuKernelGetName \
    cuGetProcAddress cuGetProcAddress_v2";

struct Exports {
    /// Name to address.
    functions: BTreeMap<String, u64>,
    name: String,
}

fn exports(library: &Path, prefixes: &[&str]) -> Exports {
    let bytes = fs::read(library).unwrap();
    let file = ElfFile64::<object::Endianness>::parse(&bytes[..]).unwrap();
    assert_eq!(
        file.symbols().count(),
        0,
        "there is a symbol table besides the dynamic one"
    );
    let text = file.section_by_name(".text").unwrap();
    let mut functions = BTreeMap::new();
    for symbol in file.dynamic_symbols() {
        let name = symbol.name().unwrap();
        if symbol.is_undefined() || !prefixes.iter().any(|prefix| name.starts_with(prefix)) {
            continue;
        }
        assert_eq!(symbol.kind(), SymbolKind::Text, "{name}");
        let code = text
            .data_range(symbol.address(), PROLOGUE.len() as u64)
            .unwrap()
            .unwrap();
        assert!(
            JUMPS.contains(&name) || code == PROLOGUE,
            "{name} begins with {code:x?}"
        );
        functions.insert(name.to_owned(), symbol.address());
    }
    Exports {
        functions,
        name: soname(&file),
    }
}

/// The library's name: entry 14 of its dynamic table.
fn soname(file: &ElfFile64<'_>) -> String {
    let dynamic = file.section_by_name(".dynamic").unwrap().data().unwrap();
    let strings = file.section_by_name(".dynstr").unwrap().data().unwrap();
    let word = |at: usize| u64::from_ne_bytes(dynamic[at..at + 8].try_into().unwrap());
    let entry = (0..dynamic.len())
        .step_by(16)
        .find(|at| word(*at) == 14)
        .unwrap();
    let name = &strings[usize::try_from(word(entry + 8)).unwrap()..];
    let end = name.iter().position(|byte| *byte == 0).unwrap();
    String::from_utf8(name[..end].to_vec()).unwrap()
}

fn check(exports: &Exports, name: &str, wanted: &str, at_least: usize) {
    assert_eq!(exports.name, name);
    for wanted in wanted.split_whitespace() {
        assert!(
            exports.functions.contains_key(wanted),
            "{name} has no {wanted}"
        );
    }
    let mut addresses: Vec<u64> = exports.functions.values().copied().collect();
    addresses.sort_unstable();
    addresses.dedup();
    assert_eq!(
        addresses.len(),
        exports.functions.len(),
        "two functions have one address"
    );
    assert!(
        addresses.len() >= at_least,
        "{name} has {} functions",
        addresses.len()
    );
}

#[test]
fn functions_are_exported_apart() {
    let folder = tempfile::tempdir().unwrap();
    let libraries = cuda_sim::install(folder.path()).unwrap();
    let runtime = exports(&libraries.runtime, &["cuda", "__cuda"]);
    check(&runtime, "libcudart.so.12", RUNTIME, 150);
    let driver = exports(&libraries.driver, &["cu"]);
    check(&driver, "libcuda.so.1", DRIVER, 480);
}
