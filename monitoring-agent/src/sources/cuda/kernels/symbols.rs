//! Which functions of an ELF file begin at given places, and which kernels those stand for. Knows
//! nothing of processes.
//!
//! The file is a tenant's: nothing it claims is believed. Tables are read in pieces, so that one of
//! any size costs the memory of a piece.

use std::{collections::HashMap, fs::File};

use object::{
    Endianness, elf,
    elf::Sym64,
    read::{ReadCache, elf::Sym as _},
};

use super::elf::{Elf, MAX_TABLE_BYTES, Problem, Table, Text};

/// The symbols of the functions at offsets in the file, of those that have one. Reads tables of no
/// more than `budget` bytes, and takes from it what it reads.
pub(super) fn at(
    file: &File,
    offsets: &[u64],
    budget: &mut u64,
) -> Result<HashMap<u64, Text>, Problem> {
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
        let size = table.part.size;
        if size > MAX_TABLE_BYTES {
            return Err(Problem::Malformed);
        }
        *budget = budget.checked_sub(size).ok_or(Problem::TooMuch)?;
        for (address, best) in best(file, elf.endian, &table, &places) {
            if let Some(symbol) = table.linked.text(file, best.name.into())
                && let Some(offset) = places.remove(&address)
            {
                found.insert(offset, symbol);
            }
        }
    }
    Ok(found)
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

/// The best symbol at each of the places.
fn best(
    file: &File,
    endian: Endianness,
    table: &Table,
    places: &HashMap<u64, u64>,
) -> HashMap<u64, Candidate> {
    let mut best = HashMap::new();
    table.part.pieces(file, |symbols: &[Sym64<Endianness>]| {
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
        true
    });
    best
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
