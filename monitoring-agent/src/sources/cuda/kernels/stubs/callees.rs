//! By which addresses a file's code calls the functions of the CUDA runtime that matter: those that
//! are in the file, and those of libraries, through the table that the dynamic linker fills in; and
//! which functions run when the file is loaded. Knows nothing of what is called with what.

use std::{
    collections::{BTreeMap, HashMap},
    fs::File,
    ops::Range,
};

use memchr::memmem;
use object::{
    Endianness, U64,
    elf::{self, Rela64, Sym64},
    read::elf::{Rela as _, Sym as _},
};

use super::{
    super::elf::{Elf, MAX_TABLE_BYTES, Problem, Table},
    START_BYTES,
    code::{Code, Target},
};

/// Most bytes of one file's tables: with the code of a start no more than a reader may read at once.
const MAX_FILE_BYTES: u64 = 2 * MAX_TABLE_BYTES - START_BYTES;

/// Most functions that run when a file is loaded: a compiler makes one for each source file.
const MAX_FIRST: usize = 65_536;

/// Most tables of them; a linked file has one.
const MAX_ARRAYS: usize = 8;

/// Most symbols of these functions; each is in two tables, and may have versions.
const MAX_SYMBOLS: usize = 64;

/// What matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Callee {
    Register,
    GetKernel,
}

/// What their names begin with.
const PREFIX: &[u8] = b"__cuda";

/// The rest of their names, with the zero that ends them.
const NAMES: [(&[u8], Callee); 2] = [
    (b"RegisterFunction\0", Callee::Register),
    (b"GetKernel\0", Callee::GetKernel),
];

/// Longest of the names.
const NAME_BYTES: usize = 32;

/// Where code calls them.
#[derive(Clone, Debug, Default)]
pub(super) struct Callees {
    functions: HashMap<u64, Callee>,
    /// Where the dynamic linker stores their addresses.
    slots: HashMap<u64, Callee>,
}

/// Symbols of one table.
#[derive(Default)]
struct Symbols {
    by_number: HashMap<u32, Callee>,
}

impl Callees {
    /// Reads a file's tables; with the callees comes what runs when it is loaded. Nothing, if it
    /// registers nothing.
    pub(super) fn read(
        elf: &Elf<'_>,
        file: &File,
        budget: &mut u64,
    ) -> Result<Option<(Self, Vec<u64>)>, Problem> {
        let mut callees = Self::default();
        let mut purse = Purse {
            budget,
            left: MAX_FILE_BYTES,
        };
        let mut imports = Symbols::default();
        let dynamic = elf.table(elf::SHT_DYNSYM);
        if let Some(table) = &dynamic {
            imports = callees.symbols(elf, file, table, &mut purse)?;
        }
        if imports.by_number.is_empty()
            && let Some(table) = elf.table(elf::SHT_SYMTAB)
        {
            callees.symbols(elf, file, &table, &mut purse)?;
        }
        if callees.functions.is_empty() && imports.by_number.is_empty() {
            return Ok(None);
        }
        let mut first = First::new(elf, file, &mut purse)?;
        for table in elf.tables(elf::SHT_RELA) {
            purse.pay(table.part.size)?;
            let linked = dynamic.as_ref();
            let is_dynamic = linked.is_some_and(|all| all.part.offset == table.linked.offset);
            table.part.pieces(file, |entries: &[Rela64<Endianness>]| {
                for entry in entries {
                    let kind = entry.r_type(elf.endian, false);
                    let place = entry.r_offset(elf.endian);
                    if kind == elf::R_X86_64_RELATIVE {
                        first.relocated(place, entry.r_addend(elf.endian).cast_unsigned());
                    } else if is_dynamic
                        && matches!(
                            kind,
                            elf::R_X86_64_JUMP_SLOT | elf::R_X86_64_GLOB_DAT | elf::R_X86_64_64
                        )
                        && let symbol = entry.r_sym(elf.endian, false)
                        && let Some(callee) = imports.by_number.get(&symbol)
                        && callees.slots.len() < MAX_SYMBOLS
                    {
                        callees.slots.insert(place, *callee);
                    }
                }
                true
            });
        }
        Ok(Some((callees, first.functions.into_values().collect())))
    }

    /// Takes in the functions of a table; those that are elsewhere come back by their numbers.
    fn symbols(
        &mut self,
        elf: &Elf<'_>,
        file: &File,
        table: &Table,
        purse: &mut Purse<'_>,
    ) -> Result<Symbols, Problem> {
        purse.pay(table.linked.size)?;
        let names = names(file, table);
        let mut found = Symbols::default();
        if names.is_empty() {
            return Ok(found);
        }
        purse.pay(table.part.size)?;
        let mut number = 0;
        table.part.pieces(file, |symbols: &[Sym64<Endianness>]| {
            for symbol in symbols {
                if let Some(callee) = names.get(&symbol.st_name(elf.endian).into()) {
                    found.by_number.insert(number, *callee);
                    if !symbol.is_undefined(elf.endian) {
                        self.functions.insert(symbol.st_value(elf.endian), *callee);
                    }
                }
                number += 1;
            }
            found.by_number.len() < MAX_SYMBOLS
        });
        Ok(found)
    }

    /// Whether one of these is called at all.
    pub(super) fn has(&self, callee: Callee) -> bool {
        let mut all = self.functions.values().chain(self.slots.values());
        all.any(|each| *each == callee)
    }

    /// Which one a call is of.
    pub(super) fn of(&self, target: Target, code: &mut Code<'_>) -> Option<Callee> {
        match target {
            Target::Slot(slot) => self.slots.get(&slot).copied(),
            Target::Code(address) => self.functions.get(&address).copied().or_else(|| {
                // What the linker puts between a call and the function of a library.
                let slot = code.jump_through(address)?;
                self.slots.get(&slot).copied()
            }),
        }
    }
}

/// What may be read.
struct Purse<'a> {
    budget: &'a mut u64,
    /// Of this file.
    left: u64,
}

impl Purse<'_> {
    /// Takes what is read from what may be, if it is no more than any real file has.
    fn pay(&mut self, size: u64) -> Result<(), Problem> {
        if size > MAX_TABLE_BYTES {
            return Err(Problem::Malformed);
        }
        self.left = self.left.checked_sub(size).ok_or(Problem::Malformed)?;
        *self.budget = self.budget.checked_sub(size).ok_or(Problem::TooMuch)?;
        Ok(())
    }
}

/// Where in a table's texts the wanted names stand: a longer name may end with them.
fn names(file: &File, table: &Table) -> HashMap<u64, Callee> {
    let finder = memmem::Finder::new(PREFIX);
    let mut found = HashMap::new();
    let mut text = Vec::new();
    let mut begin = 0;
    table.linked.pieces(file, |piece: &[u8]| {
        text.extend_from_slice(piece);
        for place in finder.find_iter(&text) {
            let rest = &text[place + PREFIX.len()..];
            let name = NAMES.iter().find(|(name, _)| rest.starts_with(name));
            found.extend(name.map(|(_, callee)| (begin + place as u64, *callee)));
        }
        // A name may go on in the next piece.
        let done = text.len().saturating_sub(NAME_BYTES);
        text.drain(..done);
        begin += done as u64;
        found.len() < MAX_SYMBOLS
    });
    found
}

/// The functions that run when a file is loaded, by the places where their addresses stand.
struct First {
    arrays: Vec<Range<u64>>,
    functions: BTreeMap<u64, u64>,
}

impl First {
    /// Those that stand in the file. What the dynamic linker puts there is told by
    /// [`relocated`](Self::relocated).
    fn new(elf: &Elf<'_>, file: &File, purse: &mut Purse<'_>) -> Result<Self, Problem> {
        let mut first = Self {
            arrays: Vec::new(),
            functions: BTreeMap::new(),
        };
        for table in elf.tables(elf::SHT_INIT_ARRAY) {
            let mut place = table.address;
            let Some(end) = place.checked_add(table.part.size) else {
                continue;
            };
            purse.pay(table.part.size)?;
            if first.arrays.len() == MAX_ARRAYS {
                return Err(Problem::Malformed);
            }
            first.arrays.push(place..end);
            table.part.pieces(file, |addresses: &[U64<Endianness>]| {
                for address in addresses {
                    first.relocated(place, address.get(elf.endian));
                    place += 8;
                }
                first.functions.len() < MAX_FIRST
            });
        }
        Ok(first)
    }

    fn relocated(&mut self, place: u64, function: u64) {
        if !self.arrays.iter().any(|array| array.contains(&place)) {
            return;
        }
        // Neither is an address: that is not known yet, or nothing is to run.
        if function == 0 || function == u64::MAX {
            return;
        }
        if self.functions.len() < MAX_FIRST || self.functions.contains_key(&place) {
            self.functions.insert(place, function);
        }
    }
}
