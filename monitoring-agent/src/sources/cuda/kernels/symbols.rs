//! Which functions of an ELF file begin at given places, and which kernels those stand for. Knows
//! nothing of processes.
//!
//! The file is a tenant's: nothing it claims is believed. Tables are read in pieces, so that one of
//! any size costs the memory of a piece.

use std::{collections::HashMap, fs::File, os::unix::fs::FileExt as _};

use object::{
    Endianness, elf,
    elf::{FileHeader64, ProgramHeader64, SectionHeader64, Sym64},
    pod,
    read::{
        ReadCache,
        elf::{FileHeader as _, ProgramHeader as _, SectionHeader as _, Sym as _},
    },
};

/// Largest table of symbols that is read: five million symbols, ten times as many as the largest
/// CUDA library has.
pub(super) const MAX_TABLE_BYTES: u64 = 128 << 20;

/// Bytes of a table read at a time.
const PIECE_BYTES: usize = 64 * 1024;

/// Longest symbol that is read: as the kernel side reads names.
const SYMBOL_BYTES: usize = monitoring_common::cuda::NAME_BYTES;

const ENTRY_BYTES: usize = size_of::<Sym64<Endianness>>();

/// Why nothing is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Problem {
    /// No ELF file of 64 bits, torn, or with tables of a size that none has.
    Malformed,
    /// More to read than was allowed; another time perhaps.
    TooMuch,
}

/// A symbol's text; `cut` if it is longer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Symbol {
    pub(super) text: Vec<u8>,
    pub(super) cut: bool,
}

/// The symbols of the functions at offsets in the file, of those that have one. Reads tables of no
/// more than `budget` bytes, and takes from it what it reads.
pub(super) fn at(
    file: &File,
    offsets: &[u64],
    budget: &mut u64,
) -> Result<HashMap<u64, Symbol>, Problem> {
    let cache = ReadCache::new(file);
    let elf = Elf::parse(&cache).ok_or(Problem::Malformed)?;
    let places = offsets.iter();
    let mut places: HashMap<u64, u64> = places
        .filter_map(|offset| Some((elf.address(*offset)?, *offset)))
        .collect();
    let mut found = HashMap::new();
    // The table for linking is what `strip` leaves.
    for kind in [elf::SHT_SYMTAB, elf::SHT_DYNSYM] {
        if places.is_empty() {
            break;
        }
        let Some(table) = elf.table(kind) else {
            continue;
        };
        if table.size > MAX_TABLE_BYTES {
            return Err(Problem::Malformed);
        }
        *budget = budget.checked_sub(table.size).ok_or(Problem::TooMuch)?;
        for (address, best) in table.best(file, elf.endian, &places) {
            if let Some(symbol) = table.text(file, best.name)
                && let Some(offset) = places.remove(&address)
            {
                found.insert(offset, symbol);
            }
        }
    }
    Ok(found)
}

struct Elf<'a> {
    endian: Endianness,
    segments: &'a [ProgramHeader64<Endianness>],
    sections: &'a [SectionHeader64<Endianness>],
}

impl<'a> Elf<'a> {
    fn parse(cache: &'a ReadCache<&File>) -> Option<Self> {
        let header = FileHeader64::<Endianness>::parse(cache).ok()?;
        let endian = header.endian().ok()?;
        // Numbers beyond 16 bits stand elsewhere; no real file has so many, and a false one could
        // claim any.
        if header.e_shnum(endian) == 0 || header.e_phnum(endian) == elf::PN_XNUM {
            return None;
        }
        Some(Self {
            endian,
            segments: header.program_headers(endian, cache).ok()?,
            sections: header.section_headers(endian, cache).ok()?,
        })
    }

    /// The address of code by its offset in the file.
    fn address(&self, offset: u64) -> Option<u64> {
        let endian = self.endian;
        self.segments.iter().find_map(|segment| {
            let code =
                segment.p_type(endian) == elf::PT_LOAD && segment.p_flags(endian) & elf::PF_X != 0;
            let within = offset.checked_sub(segment.p_offset(endian))?;
            let fits = code && within < segment.p_filesz(endian);
            fits.then(|| segment.p_vaddr(endian).wrapping_add(within))
        })
    }

    fn table(&self, kind: u32) -> Option<Table> {
        let endian = self.endian;
        let mut sections = self.sections.iter();
        let section = sections.find(|section| section.sh_type(endian) == kind)?;
        let link = usize::try_from(section.sh_link(endian)).ok()?;
        let strings = self.sections.get(link)?;
        Some(Table {
            offset: section.sh_offset(endian),
            size: section.sh_size(endian),
            strings_offset: strings.sh_offset(endian),
            strings_size: strings.sh_size(endian),
        })
    }
}

/// Where a table of symbols lies, and its texts.
struct Table {
    offset: u64,
    size: u64,
    strings_offset: u64,
    strings_size: u64,
}

/// Of several symbols of one place, the least is taken.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Candidate {
    /// Not marked as a function.
    vague: bool,
    /// Not seen by other files: parts that a compiler made are not.
    local: bool,
    name: u32,
}

impl Table {
    /// The best symbol at each of the places. What cannot be read is not there.
    fn best(
        &self,
        file: &File,
        endian: Endianness,
        places: &HashMap<u64, u64>,
    ) -> HashMap<u64, Candidate> {
        let mut best = HashMap::new();
        let mut piece = vec![0; PIECE_BYTES - PIECE_BYTES % ENTRY_BYTES];
        let mut done = 0;
        while done < self.size {
            let left = usize::try_from(self.size - done).unwrap_or(usize::MAX);
            let wanted = left.min(piece.len());
            let Some(place) = self.offset.checked_add(done) else {
                break;
            };
            if file.read_exact_at(&mut piece[..wanted], place).is_err() {
                break;
            }
            done += wanted as u64;
            let count = wanted / ENTRY_BYTES;
            let Ok((symbols, _)) = pod::slice_from_bytes::<Sym64<Endianness>>(&piece, count) else {
                break;
            };
            for symbol in symbols {
                let address = symbol.st_value(endian);
                if !places.contains_key(&address) || symbol.is_undefined(endian) {
                    continue;
                }
                let kind = symbol.st_type();
                if !matches!(kind, elf::STT_FUNC | elf::STT_GNU_IFUNC | elf::STT_NOTYPE) {
                    continue;
                }
                let candidate = Candidate {
                    vague: kind == elf::STT_NOTYPE,
                    local: symbol.st_bind() == elf::STB_LOCAL,
                    name: symbol.st_name(endian),
                };
                let known = best.entry(address).or_insert(candidate);
                *known = candidate.min(*known);
            }
        }
        best
    }

    /// A symbol's text, if it has one.
    fn text(&self, file: &File, name: u32) -> Option<Symbol> {
        let left = self.strings_size.checked_sub(name.into())?;
        let room = usize::try_from(left)
            .unwrap_or(usize::MAX)
            .min(SYMBOL_BYTES);
        let mut text = vec![0; room];
        let place = self.strings_offset.checked_add(name.into())?;
        let mut length = 0;
        while length < room {
            match file.read_at(&mut text[length..], place + length as u64) {
                Ok(0) | Err(_) => break,
                Ok(more) => length += more,
            }
        }
        text.truncate(length);
        let end = text.iter().position(|byte| *byte == 0);
        text.truncate(end.unwrap_or(length));
        (!text.is_empty()).then_some(Symbol {
            text,
            cut: end.is_none(),
        })
    }
}

/// The kernel's own symbol, by that of the host's function that stands for it.
///
/// That is the same, where the function's address is taken by its name. The part that launches it
/// has a name of its own, made from the kernel's: by nvcc, `__device_stub_` before the whole symbol,
/// which C++ may have mangled once more; by clang, `__device_stub__` before the name within the
/// symbol.
pub(super) fn kernel_of(host: &[u8]) -> Vec<u8> {
    const MARK: &str = "__device_stub__";
    let Some((before, after)) = str::from_utf8(host)
        .ok()
        .and_then(|host| host.split_once(MARK))
    else {
        return host.to_vec();
    };
    let name = before.trim_end_matches(|character: char| character.is_ascii_digit());
    let length = before[name.len()..].parse::<usize>().ok();
    let kernel = match (length, after.starts_with('Z')) {
        (None, true) => Some(format!("_{after}")),
        (None, false) => before.is_empty().then(|| after.to_owned()),
        (Some(length), nvcc) => length.checked_sub(MARK.len()).and_then(|rest| {
            if nvcc {
                after.get(..rest).map(|symbol| format!("_{symbol}"))
            } else {
                Some(format!("{name}{rest}{after}"))
            }
        }),
    };
    kernel.map_or_else(|| host.to_vec(), String::into_bytes)
}

#[cfg(test)]
mod tests;
