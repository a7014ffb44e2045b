//! A file's ELF tables, read in steps of bounded size. Knows nothing of what is looked for.
//!
//! The file may be a tenant's, torn, made up, or change while it is read. Every number in it is
//! checked against a limit before memory is taken for it, and what is read in all is limited too.

mod sections;
mod variables;

use std::{cell::Cell, fs::File, io, mem, os::unix::fs::FileExt as _};

use object::{
    LittleEndian as LE,
    elf::{self, FileHeader64, ProgramHeader64, SectionHeader64, Sym64},
    pod::{Pod, bytes_of_slice_mut},
};

/// Most program headers. The kernel starts no program with more than 64 KiB of them.
const MAX_SEGMENTS: u16 = 1_170;

/// Most symbols in a table. The largest debug build of a browser has two millions.
const MAX_SYMBOLS: u64 = 8 << 20;

/// Symbols looked at in one go: 1.5 MiB.
const SYMBOLS_AT_ONCE: u64 = 1 << 16;

/// Bytes of names read in one go.
const NAMES_AT_ONCE: usize = 64 << 10;

/// Longest name that is told apart. The longest function that is looked for has half of that.
const MAX_NAME: usize = 96;

/// Most bytes read from one file. The tables of the largest libraries have a tenth of it.
const MAX_READ: u64 = 1 << 30;

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    /// It is something else.
    #[error("not an ELF file")]
    NotElf,
    /// Probes in it would be of no use here.
    #[error("{0}")]
    Foreign(&'static str),
    /// Its tables contradict its length or each other.
    #[error("torn ELF file: {0}")]
    Torn(&'static str),
    /// More than is read of any file.
    #[error("more {0} than any real file has")]
    Excessive(&'static str),
    /// The system refused.
    #[error("read it: {0}")]
    Read(#[from] io::Error),
}

/// An ELF file.
pub(crate) struct Elf<'file> {
    file: &'file File,
    length: u64,
    read: Cell<u64>,
    header: FileHeader64<LE>,
    /// What is loaded to be executed.
    code: Vec<ProgramHeader64<LE>>,
    /// What each thread has a copy of.
    of_threads: Option<ProgramHeader64<LE>>,
}

/// Where a table of symbols is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SymbolTable {
    /// Whether it is the table of all symbols, not only of those for the dynamic linker.
    pub(crate) whole: bool,
    offset: u64,
    count: u64,
    names: u64,
    names_end: u64,
}

/// A function that is in the file.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Function {
    /// Where its name is; the first field, so that names are read in their order.
    name: u64,
    address: u64,
}

impl<'file> Elf<'file> {
    /// Reads the headers.
    pub(crate) fn open(file: &'file File) -> Result<Self, Fault> {
        let length = file.metadata()?.len();
        let read = Cell::new(0);
        let mut ident = [0; 16];
        if length < 16 {
            return Err(Fault::NotElf);
        }
        file.read_exact_at(&mut ident, 0)?;
        check_ident(ident)?;
        let mut elf = Self {
            file,
            length,
            read,
            // SAFETY: a plain structure of integers.
            header: unsafe { mem::zeroed() },
            code: Vec::new(),
            of_threads: None,
        };
        elf.header = elf.table(0, 1, "its header is cut")?[0];
        check_header(&elf.header)?;
        let count = elf.header.e_phnum.get(LE);
        if count > MAX_SEGMENTS {
            return Err(Fault::Excessive("program headers"));
        }
        let offset = elf.header.e_phoff.get(LE);
        elf.code = elf.table(offset, count.into(), "its program headers are cut")?;
        let is_of_threads = |segment: &&ProgramHeader64<LE>| segment.p_type.get(LE) == elf::PT_TLS;
        elf.of_threads = elf.code.iter().find(is_of_threads).copied();
        elf.code.retain(|segment| {
            segment.p_type.get(LE) == elf::PT_LOAD && segment.p_flags.get(LE) & elf::PF_X != 0
        });
        Ok(elf)
    }

    /// The tables of symbols, that for the dynamic linker first.
    pub(crate) fn symbol_tables(&self) -> Result<Vec<SymbolTable>, Fault> {
        let sections = self.sections()?;
        let of_kind = |kind| {
            sections
                .iter()
                .filter(move |each| each.sh_type.get(LE) == kind)
        };
        // A linked file has at most one of each; more would only be more to read.
        let both = [elf::SHT_DYNSYM, elf::SHT_SYMTAB].map(|kind| of_kind(kind).next());
        let tables = both.into_iter().flatten();
        tables
            .map(|table| self.symbol_table(table, &sections))
            .collect()
    }

    fn symbol_table(
        &self,
        section: &SectionHeader64<LE>,
        sections: &[SectionHeader64<LE>],
    ) -> Result<SymbolTable, Fault> {
        let offset = section.sh_offset.get(LE);
        let size = section.sh_size.get(LE);
        let names = usize::try_from(section.sh_link.get(LE)).ok();
        let names = names
            .and_then(|link| sections.get(link))
            .filter(|names| names.sh_type.get(LE) == elf::SHT_STRTAB)
            .ok_or(Fault::Torn("its symbols have no names"))?;
        let start = names.sh_offset.get(LE);
        let within = |start: u64, size| start.checked_add(size).filter(|end| *end <= self.length);
        within(offset, size).ok_or(Fault::Torn("its symbols are cut"))?;
        let names_end = within(start, names.sh_size.get(LE))
            .ok_or(Fault::Torn("its symbols' names are cut"))?;
        let entry = size_of::<Sym64<LE>>() as u64;
        if section.sh_entsize.get(LE) != entry {
            return Err(Fault::Torn("its symbols have another size"));
        }
        let count = size / entry;
        if count > MAX_SYMBOLS {
            return Err(Fault::Excessive("symbols"));
        }
        Ok(SymbolTable {
            whole: section.sh_type.get(LE) == elf::SHT_SYMTAB,
            offset,
            count,
            names: start,
            names_end,
        })
    }

    /// Calls `found` with name and place in the file of each function whose name is wanted.
    ///
    /// Not among them: imports, which are names without a place; indirect functions, at whose
    /// place is what chooses the function; and what is in no segment that is executed, where a
    /// probe would never be hit.
    pub(crate) fn functions(
        &mut self,
        table: &SymbolTable,
        wanted: impl Fn(&[u8]) -> bool,
        found: &mut impl FnMut(&[u8], u64) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let mut window = Window::default();
        let mut first = 0;
        while first < table.count {
            let count = SYMBOLS_AT_ONCE.min(table.count - first);
            let offset = table.offset + first * size_of::<Sym64<LE>>() as u64;
            let symbols: Vec<Sym64<LE>> = self.table(offset, count, "its symbols are cut")?;
            let mut functions: Vec<_> = symbols.iter().filter_map(defined).collect();
            functions.sort_unstable();
            for function in functions {
                let Some(place) = self.place(function.address)? else {
                    continue;
                };
                let at = table.names + function.name;
                let Some(name) = window.name(self, at, table.names_end)? else {
                    return Err(Fault::Torn("a name is outside of the names"));
                };
                if wanted(name) {
                    found(name, place)?;
                }
            }
            first += count;
        }
        Ok(())
    }

    /// Where in the file the code of an address is, if it is there.
    pub(crate) fn place(&self, address: u64) -> Result<Option<u64>, Fault> {
        for segment in &self.code {
            let Some(within) = address.checked_sub(segment.p_vaddr.get(LE)) else {
                continue;
            };
            if within < segment.p_filesz.get(LE) {
                let place = segment.p_offset.get(LE).checked_add(within);
                return match place.filter(|place| *place < self.length) {
                    Some(place) => Ok(Some(place)),
                    None => Err(Fault::Torn("its code is cut")),
                };
            }
        }
        Ok(None)
    }

    /// Reads a table of `count` entries, a number that the caller has limited.
    fn table<T: Pod>(&self, offset: u64, count: u64, torn: &'static str) -> Result<Vec<T>, Fault> {
        let size = count * size_of::<T>() as u64;
        if offset.checked_add(size).is_none_or(|end| end > self.length) {
            return Err(Fault::Torn(torn));
        }
        let count = usize::try_from(count).map_err(|_| Fault::Torn(torn))?;
        // SAFETY: `Pod` types are valid whatever their bytes are.
        let empty = || unsafe { mem::zeroed::<T>() };
        let mut table: Vec<T> = std::iter::repeat_with(empty).take(count).collect();
        self.fill(bytes_of_slice_mut(&mut table), offset)?;
        Ok(table)
    }

    fn fill(&self, buffer: &mut [u8], offset: u64) -> Result<(), Fault> {
        let read = self.read.get() + buffer.len() as u64;
        if read > MAX_READ {
            return Err(Fault::Excessive("bytes of tables"));
        }
        self.read.set(read);
        match self.file.read_exact_at(buffer, offset) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Err(Fault::Torn("it was cut while it was read"))
            }
            result => Ok(result?),
        }
    }
}

fn check_ident(ident: [u8; 16]) -> Result<(), Fault> {
    match ident {
        [
            0x7f,
            b'E',
            b'L',
            b'F',
            elf::ELFCLASS64,
            elf::ELFDATA2LSB,
            ..,
        ] => Ok(()),
        [0x7f, b'E', b'L', b'F', elf::ELFCLASS32, ..] => Err(Fault::Foreign("a 32-bit ELF file")),
        [0x7f, b'E', b'L', b'F', ..] => Err(Fault::Foreign("an ELF file of another byte order")),
        _ => Err(Fault::NotElf),
    }
}

fn check_header(header: &FileHeader64<LE>) -> Result<(), Fault> {
    let here = if cfg!(target_arch = "x86_64") {
        elf::EM_X86_64
    } else {
        elf::EM_AARCH64
    };
    if header.e_machine.get(LE) != here {
        return Err(Fault::Foreign("an ELF file for another processor"));
    }
    if !matches!(header.e_type.get(LE), elf::ET_DYN | elf::ET_EXEC) {
        return Err(Fault::Foreign(
            "an ELF file that is neither program nor library",
        ));
    }
    if usize::from(header.e_phentsize.get(LE)) != size_of::<ProgramHeader64<LE>>() {
        return Err(Fault::Torn("its program headers have another size"));
    }
    Ok(())
}

fn defined(symbol: &Sym64<LE>) -> Option<Function> {
    let section = symbol.st_shndx.get(LE);
    // An absolute value is no place; an index in another table, `SHN_XINDEX`, is one.
    let placed =
        section != elf::SHN_UNDEF && (section < elf::SHN_LORESERVE || section == elf::SHN_XINDEX);
    (placed && symbol.st_type() == elf::STT_FUNC).then(|| Function {
        name: symbol.st_name.get(LE).into(),
        address: symbol.st_value.get(LE),
    })
}

/// The part of the names that was read last.
#[derive(Default)]
struct Window {
    start: u64,
    bytes: Vec<u8>,
}

impl Window {
    /// The name that begins `at`, up to [`MAX_NAME`] bytes of it; `None` if that is outside.
    fn name(&mut self, elf: &Elf<'_>, at: u64, end: u64) -> Result<Option<&[u8]>, Fault> {
        if at >= end {
            return Ok(None);
        }
        let most = usize::try_from(end - at).unwrap_or(usize::MAX);
        let needed = at..at + most.min(MAX_NAME) as u64;
        let have = self.start..self.start + self.bytes.len() as u64;
        if needed.start < have.start || needed.end > have.end {
            self.bytes.resize(most.min(NAMES_AT_ONCE), 0);
            self.start = at;
            elf.fill(&mut self.bytes, at)?;
        }
        let begin = usize::try_from(at - self.start).expect("within the window");
        let rest = &self.bytes[begin..];
        let rest = &rest[..rest.len().min(MAX_NAME)];
        let length = rest.iter().position(|byte| *byte == 0);
        Ok(Some(&rest[..length.unwrap_or(rest.len())]))
    }
}
