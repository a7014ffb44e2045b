//! The program's kernels: PTX that does nothing, and host stubs, as nvcc makes them.

use std::{
    ffi::{CStr, CString},
    hint,
};

use anyhow::{Context as _, Result, bail};

use crate::options::{Api, Options};

/// A kernel by its mangled name, with the host's function that stands for it.
#[derive(Debug, Clone)]
pub(crate) struct Kernel {
    pub(crate) name: CString,
    /// 0 where there is none, which the driver API does not need.
    pub(crate) stub: usize,
}

/// Host stubs. They are there for their addresses and names, in the symbol table; each has a body
/// of its own, so that none has another's address.
macro_rules! stubs {
    ($($function:ident = $name:literal)*) => {
        $(
            #[unsafe(export_name = $name)]
            #[inline(never)]
            extern "C" fn $function() {
                hint::black_box($name);
            }
        )*

        fn stubs() -> Vec<(&'static str, usize)> {
            vec![$(($name, ($function as *const ()).expose_provenance()),)*]
        }
    };
}

stubs! {
    vector_add = "_Z9vectorAddPKfS0_Pfi"
    matrix_multiply = "_Z6matmulPKfS0_Pfiii"
    reduce = "_Z6reducePKfPfi"
    softmax = "_Z7softmaxILi128EEvPKfPfi"
    convolution = "_ZN6layers4convEPKfS1_Pfii"
    attention = "_ZN6layers9attentionILb1EEEvPKfS2_S2_Pff"
    transpose = "_Z9transposePKfPfii"
    scale = "scale_by_constant"
}

/// The kernels that the command line names. Through the driver API any name will do.
pub(crate) fn chosen(options: &Options) -> Result<Vec<Kernel>> {
    let all = stubs();
    let kernel = |(name, stub): (&str, usize)| {
        let name = CString::new(name).context("a kernel's name has a NUL")?;
        Ok(Kernel { name, stub })
    };
    if options.kernels.is_empty() {
        return all.into_iter().map(kernel).collect();
    }
    let named = options.kernels.iter().map(|name| {
        let known = all.iter().find(|(known, _)| known == name);
        match (known, options.api) {
            (Some(known), _) => kernel(*known),
            (None, Api::Driver) => kernel((name, 0)),
            (None, Api::Runtime) => bail!("no kernel `{name}`; there are {all:?}"),
        }
    });
    named.collect()
}

/// The kernels as text that a driver can load.
pub(crate) fn ptx(kernels: &[Kernel]) -> CString {
    let entry = |kernel: &Kernel| {
        let name = kernel.name.to_string_lossy();
        format!(".visible .entry {name}()\n{{\n\tret;\n}}\n")
    };
    let entries: String = kernels.iter().map(entry).collect();
    let text = format!(".version 8.0\n.target sm_80\n.address_size 64\n{entries}");
    CString::new(text).expect("names of C strings have no NUL")
}

/// What `__cudaRegisterFatBinary` takes.
#[repr(C)]
struct Wrapper {
    magic: u32,
    version: u32,
    data: usize,
    file: usize,
}

/// The kernels as a registered image: a fatbin of one entry, which is PTX. It stays for ever.
pub(crate) fn image(kernels: &[Kernel]) -> usize {
    let fatbin = fatbin(&ptx(kernels)).leak();
    let wrapper = Box::leak(Box::new(Wrapper {
        magic: 0x4662_43b1,
        version: 1,
        data: fatbin.as_ptr().expose_provenance(),
        file: 0,
    }));
    (&raw const *wrapper).expose_provenance()
}

/// A fatbin's header, an entry's header, and the entry.
fn fatbin(ptx: &CStr) -> Vec<u8> {
    let mut text = ptx.to_bytes_with_nul().to_vec();
    text.resize(text.len().next_multiple_of(8), 0);
    let size = text.len() as u64;
    let mut bytes = Vec::new();
    let mut put = |part: &[u8]| bytes.extend_from_slice(part);
    // Magic, version, size of this header, size of the rest.
    put(&0xba55_ed50_u32.to_le_bytes());
    put(&1_u16.to_le_bytes());
    put(&16_u16.to_le_bytes());
    put(&(64 + size).to_le_bytes());
    // Kind (PTX), version, size of this header, size of the text; not compressed.
    put(&1_u16.to_le_bytes());
    put(&0x101_u16.to_le_bytes());
    put(&64_u32.to_le_bytes());
    put(&size.to_le_bytes());
    put(&0_u64.to_le_bytes());
    // Version of PTX, and the device's, 8.0; a 64-bit image; no name, no flags.
    put(&[0, 0, 8, 0]);
    put(&80_u32.to_le_bytes());
    put(&0_u64.to_le_bytes());
    put(&0x11_u64.to_le_bytes());
    put(&0_u64.to_le_bytes());
    put(&0_u64.to_le_bytes());
    put(&text);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stubs_are_apart() {
        let mut addresses: Vec<usize> = stubs().into_iter().map(|(_, stub)| stub).collect();
        addresses.sort_unstable();
        addresses.dedup();
        assert_eq!(addresses.len(), stubs().len());
    }

    #[test]
    fn a_fatbin_has_the_sizes_that_it_says() {
        let kernel = Kernel {
            name: c"a".into(),
            stub: 0,
        };
        let bytes = fatbin(&ptx(&[kernel]));
        let size = u64::from_le_bytes(bytes[8..16].try_into().unwrap());
        assert_eq!(bytes.len() as u64, 16 + size);
        let entry = u64::from_le_bytes(bytes[24..32].try_into().unwrap());
        assert_eq!(size, 64 + entry);
        assert!(bytes[80..].starts_with(b".version"));
    }
}
