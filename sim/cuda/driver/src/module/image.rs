//! What programs load: PTX, a cubin (an ELF file), or a fatbin, which holds several of these.

use cuda_sim_control::In;
use object::{
    Object as _, ObjectSection as _, ObjectSymbol as _, SymbolKind, read::elf::ElfFile64,
};

use super::ptx;
use crate::code::{Code, INVALID_IMAGE, INVALID_PTX};

/// First word of the structure that nvcc makes for `__cudaRegisterFatBinary`: magic, version, and
/// the address of the fatbin.
const WRAPPER_MAGIC: u32 = 0x4662_43b1;
/// First word of a fatbin: magic, version, size of this header, size of what follows.
const FATBIN_MAGIC: u32 = 0xba55_ed50;
const FATBIN_HEADER_BYTES: usize = 16;
/// Kinds of a fatbin's entries.
const ENTRY_PTX: u16 = 1;
const ENTRY_CUBIN: u16 = 2;
/// In an entry's header: its own size, and that of what follows.
const ENTRY_HEADER_SIZE_AT: usize = 4;
const ENTRY_SIZE_AT: usize = 8;
const ENTRY_COMPRESSED_SIZE_AT: usize = 16;
const ENTRY_HEADER_BYTES: usize = 64;

/// Names in an image.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Contents {
    pub(super) kernels: Vec<String>,
    /// Variables, with their sizes.
    pub(super) globals: Vec<(String, usize)>,
}

/// Reads an image of which only the beginning is known, as calls have it.
pub(super) fn from_memory(image: In<u8>) -> Result<Contents, Code> {
    let start = image.get_all(4)?;
    match word(&start, 0) {
        Some(WRAPPER_MAGIC) => {
            let wrapper = image.get_all(16)?;
            let address = word_64(&wrapper, 8).ok_or(INVALID_IMAGE)?;
            let fatbin = usize::try_from(address).map_err(|_| INVALID_IMAGE)?;
            from_memory(In::at(fatbin))
        }
        Some(FATBIN_MAGIC) => {
            let header = image.get_all(FATBIN_HEADER_BYTES)?;
            let size = word_64(&header, 8).and_then(|size| usize::try_from(size).ok());
            let size = size.and_then(|size| size.checked_add(FATBIN_HEADER_BYTES));
            from_bytes(&image.get_all(size.ok_or(INVALID_IMAGE)?)?)
        }
        _ if start == *b"\x7fELF" => from_bytes(&image.get_all(elf_size(image)?)?),
        _ => from_bytes(&text(image)?),
    }
}

/// Reads a whole image.
pub(super) fn from_bytes(bytes: &[u8]) -> Result<Contents, Code> {
    match word(bytes, 0) {
        Some(FATBIN_MAGIC) => from_fatbin(bytes).ok_or(INVALID_IMAGE)?,
        _ if bytes.starts_with(b"\x7fELF") => from_cubin(bytes).ok_or(INVALID_IMAGE),
        _ => {
            let text = str::from_utf8(bytes).map_err(|_| INVALID_IMAGE)?;
            ptx::contents(text.trim_end_matches('\0')).ok_or(INVALID_PTX)
        }
    }
}

/// The text of PTX, which a NUL ends.
fn text(image: In<u8>) -> Result<Vec<u8>, Code> {
    if image.pointer().is_null() {
        return Err(INVALID_IMAGE);
    }
    // SAFETY: what is neither a fatbin nor an ELF file has to be text that a NUL ends; that is the
    // condition of the calls that load it.
    Ok(unsafe { std::ffi::CStr::from_ptr(image.pointer().cast()) }
        .to_bytes()
        .to_vec())
}

/// An ELF file ends with its section headers or its program headers.
fn elf_size(image: In<u8>) -> Result<usize, Code> {
    let header = image.get_all(64)?;
    let table = |offset: usize, size: usize, count: usize| {
        let start = usize::try_from(word_64(&header, offset)?).ok()?;
        let entry = usize::from(half(&header, size)?) * usize::from(half(&header, count)?);
        start.checked_add(entry)
    };
    let ends = [table(0x20, 0x36, 0x38), table(0x28, 0x3a, 0x3c)];
    ends.into_iter().flatten().max().ok_or(INVALID_IMAGE)
}

/// The first entry with kernels is as good as any: all are the same for different devices.
fn from_fatbin(bytes: &[u8]) -> Option<Result<Contents, Code>> {
    let mut rest = bytes.get(FATBIN_HEADER_BYTES..)?;
    while rest.len() >= ENTRY_HEADER_BYTES {
        let header_bytes = usize::try_from(word(rest, ENTRY_HEADER_SIZE_AT)?).ok()?;
        let size = usize::try_from(word_64(rest, ENTRY_SIZE_AT)?).ok()?;
        let entry = rest.get(header_bytes..header_bytes.checked_add(size)?)?;
        let compressed = word(rest, ENTRY_COMPRESSED_SIZE_AT)? != 0;
        if !compressed && matches!(half(rest, 0)?, ENTRY_PTX | ENTRY_CUBIN) {
            return Some(from_bytes(entry));
        }
        // An entry of no size would be found for ever.
        rest = rest.get((header_bytes + size).max(1)..)?;
    }
    None
}

/// Kernels of a cubin have a section each, and its variables are symbols of data.
fn from_cubin(bytes: &[u8]) -> Option<Contents> {
    let file = ElfFile64::<object::Endianness>::parse(bytes).ok()?;
    let kernel = |name: &str| name.strip_prefix(".text.").map(str::to_owned);
    let sections = file.sections();
    let kernels = sections.filter_map(|section| kernel(section.name().ok()?));
    let data = |symbol: &object::read::elf::ElfSymbol64<'_, '_>| symbol.kind() == SymbolKind::Data;
    let global = |symbol: object::read::elf::ElfSymbol64<'_, '_>| {
        let size = usize::try_from(symbol.size()).ok()?;
        Some((symbol.name().ok()?.to_owned(), size))
    };
    Some(Contents {
        kernels: kernels.collect(),
        globals: file.symbols().filter(data).filter_map(global).collect(),
    })
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    let bytes = bytes.get(at..)?.first_chunk()?;
    Some(u16::from_le_bytes(*bytes))
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..)?.first_chunk()?;
    Some(u32::from_le_bytes(*bytes))
}

fn word_64(bytes: &[u8], at: usize) -> Option<u64> {
    let bytes = bytes.get(at..)?.first_chunk()?;
    Some(u64::from_le_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PTX: &str =
        ".version 8.0\n.target sm_90\n.visible .entry add(\n.param .u64 a)\n{ ret; }\n";

    fn fatbin(entry: &[u8], compressed_size: u32) -> Vec<u8> {
        let mut header = vec![0; ENTRY_HEADER_BYTES];
        header[0] = 1;
        header[4] = 64;
        header[8..16].copy_from_slice(&(entry.len() as u64).to_le_bytes());
        header[16..20].copy_from_slice(&compressed_size.to_le_bytes());
        let mut bytes = FATBIN_MAGIC.to_le_bytes().to_vec();
        bytes.extend([1, 0, 16, 0]);
        bytes.extend((header.len() as u64 + entry.len() as u64).to_le_bytes());
        bytes.extend(header);
        bytes.extend(entry);
        bytes
    }

    #[test]
    fn images_are_told_apart() {
        let add = |result: Result<Contents, Code>| result.unwrap().kernels == ["add"];
        assert!(add(from_bytes(PTX.as_bytes())));
        assert!(add(from_bytes(&fatbin(PTX.as_bytes(), 0))));
        let refused = |bytes: &[u8], code| assert_eq!(from_bytes(bytes), Err(code));
        refused(&fatbin(PTX.as_bytes(), 7), INVALID_IMAGE);
        refused(&fatbin(PTX.as_bytes(), 0)[..80], INVALID_IMAGE);
        refused(b"\x7fELF", INVALID_IMAGE);
        refused(b"\xff\xfe", INVALID_IMAGE);
        refused(b"no code at all", INVALID_PTX);
        refused(b"", INVALID_PTX);
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(
            kind in 0..4,
            bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..400),
            header in proptest::collection::vec(proptest::num::u8::ANY, 24),
        ) {
            let image = match kind {
                0 => bytes,
                1 => [b"\x7fELF\x02\x01\x01", &bytes[..]].concat(),
                2 => [b".version 8.0\n.entry ", &bytes[..]].concat(),
                _ => {
                    let mut image = fatbin(&bytes, 0);
                    image[FATBIN_HEADER_BYTES..][..24].copy_from_slice(&header);
                    image
                }
            };
            let read = from_bytes(&image);
            let refused = matches!(read, Err(INVALID_IMAGE | INVALID_PTX));
            proptest::prop_assert!(read.is_ok() || refused);
        }
    }
}
