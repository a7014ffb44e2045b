//! An ELF file's headers: where in the file an address lies, and where its tables are. Knows
//! nothing of what is in them.
//!
//! The file is a tenant's: nothing it claims is believed. Tables are read in pieces, so that one of
//! any size costs the memory of a piece.

use std::{fs::File, os::unix::fs::FileExt as _};

use object::{
    Endianness, elf,
    elf::{FileHeader64, ProgramHeader64, SectionHeader64},
    pod::{self, Pod},
    read::{
        ReadCache,
        elf::{FileHeader as _, ProgramHeader as _, SectionHeader as _},
    },
};

/// Largest table that is read: five million symbols, ten times as many as the largest CUDA library
/// has.
pub(super) const MAX_TABLE_BYTES: u64 = 128 << 20;

/// Most parts of a file that are loaded; a linked file has four or five.
const MAX_SEGMENTS: usize = 64;

/// Bytes of a table read at a time.
const PIECE_BYTES: usize = 64 * 1024;

/// The largest page of which a mapping begins with another, on machines for which code is read.
const PAGE_BYTES: u64 = 4_096;

/// Longest text that is read: as the kernel side reads names.
const TEXT_BYTES: usize = monitoring_common::cuda::NAME_BYTES;

/// Why nothing is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Problem {
    /// No ELF file of 64 bits, torn, or with tables of a size that none has.
    Malformed,
    /// More to read than was allowed; another time perhaps.
    TooMuch,
}

/// A text of the file, such as a symbol; `cut` if it is longer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Text {
    pub(super) text: Vec<u8>,
    pub(super) cut: bool,
}

/// What a place in memory is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    Code,
    /// Neither executed nor written.
    Constants,
    Variables,
}

pub(super) struct Elf<'a> {
    pub(super) endian: Endianness,
    pub(super) machine: u16,
    /// Those that are loaded.
    segments: Vec<&'a ProgramHeader64<Endianness>>,
    sections: &'a [SectionHeader64<Endianness>],
}

/// Where in the file a part of it lies.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part {
    pub(super) offset: u64,
    pub(super) size: u64,
}

/// A table that names things by another, such as one of symbols with their names.
#[derive(Clone, Copy, Debug)]
pub(super) struct Table {
    /// Where it lies in memory, if it does.
    pub(super) address: u64,
    pub(super) part: Part,
    pub(super) linked: Part,
}

impl<'a> Elf<'a> {
    pub(super) fn parse(cache: &'a ReadCache<&File>) -> Option<Self> {
        let header = FileHeader64::<Endianness>::parse(cache).ok()?;
        let endian = header.endian().ok()?;
        // Numbers beyond 16 bits stand elsewhere; no real file has so many, and a false one could
        // claim any.
        if header.e_shnum(endian) == 0 || header.e_phnum(endian) == elf::PN_XNUM {
            return None;
        }
        let segments = header.program_headers(endian, cache).ok()?.iter();
        let segments = segments.filter(|segment| segment.p_type(endian) == elf::PT_LOAD);
        let segments: Vec<_> = segments.take(MAX_SEGMENTS + 1).collect();
        if segments.len() > MAX_SEGMENTS {
            return None;
        }
        Some(Self {
            endian,
            machine: header.e_machine(endian),
            segments,
            sections: header.section_headers(endian, cache).ok()?,
        })
    }

    /// How much higher than the file says its addresses are where a part that begins at an offset
    /// in the file is mapped as code.
    pub(super) fn bias_of(file: &File, start: u64, offset: u64) -> Option<u64> {
        let cache = ReadCache::new(file);
        let elf = Elf::parse(&cache)?;
        let endian = elf.endian;
        elf.segments.iter().find_map(|segment| {
            let begin = segment.p_offset(endian);
            let code = segment.p_flags(endian) & elf::PF_X != 0;
            // What is mapped begins with a page, the segment somewhere in it.
            let end = begin.saturating_add(segment.p_filesz(endian));
            let fits = code && offset < end && begin < offset.saturating_add(PAGE_BYTES);
            let address = segment
                .p_vaddr(endian)
                .wrapping_sub(begin)
                .wrapping_add(offset);
            fits.then(|| start.wrapping_sub(address))
        })
    }

    /// The address of code by its offset in the file.
    pub(super) fn address(&self, offset: u64) -> Option<u64> {
        let endian = self.endian;
        self.segments.iter().find_map(|segment| {
            let code = segment.p_flags(endian) & elf::PF_X != 0;
            let within = offset.checked_sub(segment.p_offset(endian))?;
            let fits = code && within < segment.p_filesz(endian);
            fits.then(|| segment.p_vaddr(endian).wrapping_add(within))
        })
    }

    /// What is loaded to an address, and for what: the part of the file from there to the end of
    /// what is loaded together, which is empty where memory begins as zeros.
    pub(super) fn loaded(&self, address: u64) -> Option<(Use, Part)> {
        let endian = self.endian;
        self.segments.iter().find_map(|segment| {
            let within = address.checked_sub(segment.p_vaddr(endian))?;
            if within >= segment.p_memsz(endian) {
                return None;
            }
            let flags = segment.p_flags(endian);
            let what = match (flags & elf::PF_W != 0, flags & elf::PF_X != 0) {
                (true, _) => Use::Variables,
                (false, true) => Use::Code,
                (false, false) => Use::Constants,
            };
            let offset = segment.p_offset(endian).checked_add(within)?;
            let size = segment.p_filesz(endian).saturating_sub(within);
            Some((what, Part { offset, size }))
        })
    }

    /// The first table of a kind, if it is linked to another.
    pub(super) fn table(&self, kind: u32) -> Option<Table> {
        self.tables(kind).next()
    }

    /// The tables of a kind.
    pub(super) fn tables(&self, kind: u32) -> impl Iterator<Item = Table> {
        let endian = self.endian;
        let part = move |section: &SectionHeader64<Endianness>| Part {
            offset: section.sh_offset(endian),
            size: section.sh_size(endian),
        };
        let sections = self.sections.iter();
        let sections = sections.filter(move |section| section.sh_type(endian) == kind);
        sections.filter_map(move |section| {
            let link = usize::try_from(section.sh_link(endian)).ok()?;
            Some(Table {
                address: section.sh_addr(endian),
                part: part(section),
                linked: part(self.sections.get(link)?),
            })
        })
    }
}

impl Part {
    /// Passes its entries on, in pieces, until one of them is not wanted. What cannot be read is not
    /// there.
    pub(super) fn pieces<T: Pod>(self, file: &File, mut look: impl FnMut(&[T]) -> bool) {
        let mut piece = vec![0; PIECE_BYTES - PIECE_BYTES % size_of::<T>()];
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
            let count = wanted / size_of::<T>();
            let Ok((entries, _)) = pod::slice_from_bytes::<T>(&piece, count) else {
                break;
            };
            if !look(entries) {
                break;
            }
        }
    }

    /// The text that begins somewhere in it and ends with a zero, if there is one.
    pub(super) fn text(self, file: &File, at: u64) -> Option<Text> {
        let left = self.size.checked_sub(at)?;
        let room = usize::try_from(left).unwrap_or(usize::MAX).min(TEXT_BYTES);
        let mut text = vec![0; room];
        let place = self.offset.checked_add(at)?;
        let mut length = 0;
        while length < room {
            match file.read_at(&mut text[length..], place.checked_add(length as u64)?) {
                Ok(0) | Err(_) => break,
                Ok(more) => length += more,
            }
        }
        text.truncate(length);
        let end = text.iter().position(|byte| *byte == 0);
        text.truncate(end.unwrap_or(length));
        (!text.is_empty()).then_some(Text {
            text,
            cut: end.is_none(),
        })
    }
}
