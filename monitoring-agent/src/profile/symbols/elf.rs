//! What is in an executable file: where it wants to be in memory, its build id, and its symbol table,
//! which is read past the addresses that are asked for and never kept.
//!
//! Of the ELF format only what that takes. A file is anybody's work: what it claims is bounded here,
//! whatever its size, and what is torn is an error. Knows neither processes nor what names mean.

mod debug_parts;

use super::{
    bytes::Bytes,
    nearest::{Answer, Nearest, Symbol},
    notes::build_id,
};

/// Of the ELF format: types of segments, sections and symbols.
const LOAD: u32 = 1;
const NOTE: u32 = 4;
const SYMBOLS: u32 = 2;
const DYNAMIC_SYMBOLS: u32 = 11;
const NO_TYPE: u8 = 0;
const FUNCTION: u8 = 2;
const INDIRECT_FUNCTION: u8 = 10;
const LOCAL: u8 = 0;
const GLOBAL: u8 = 1;
/// Most segments; programs have a dozen.
const MAX_SEGMENTS: usize = 256;

/// Most sections: all that a plain header can count. Programs have some forty.
const MAX_SECTIONS: usize = 64 * 1024;

/// Most symbols of which notice is taken. The largest libraries have some millions.
const MAX_SYMBOLS: u64 = 16 * 1024 * 1024;

/// Most of a note that is read. A build id takes 36 bytes, others of the same segment some hundred.
const MAX_NOTE_BYTES: u64 = 4096;

/// How much is read at a time. A multiple of the size of each record.
const PIECE_BYTES: usize = 48 * 1024;

/// Longest name that is read. What is longer is cut.
pub(super) const NAME_BYTES: usize = 4096;

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Problem {
    /// It is no executable file.
    Foreign,
    /// It is one, but what it says of itself cannot be.
    Torn,
}

/// A part of the file that wants to be in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    offset: u64,
    length: u64,
    address: u64,
}

/// A file's head.
#[derive(Debug)]
pub(super) struct Elf<'a> {
    bytes: &'a Bytes,
    layout: Layout,
    sections: (u64, usize),
    /// The section with their names.
    names: u16,
    /// From the file's beginning to the end of the table of segments.
    head: debug_parts::Part,
    pub(super) segments: Vec<Segment>,
    /// Hexadecimal; empty if there is none.
    pub(super) build_id: String,
}

/// Sizes of the format's records and places of their fields: of 64 or of 32 bits.
#[derive(Clone, Copy, Debug)]
struct Layout {
    wide: bool,
}

#[derive(Clone, Copy, Debug)]
struct Section {
    offset: u64,
    length: u64,
    /// Of the section with its names.
    link: u32,
}

impl<'a> Elf<'a> {
    /// Reads the head.
    pub(super) fn read(bytes: &'a Bytes) -> Result<Self, Problem> {
        let mut head = [0; 64];
        let length = bytes.some(0, &mut head).map_err(|_| Problem::Torn)?;
        let little = if cfg!(target_endian = "little") { 1 } else { 2 };
        let wide = match head[..6] {
            [0x7f, b'E', b'L', b'F', 2, order] if order == little => true,
            [0x7f, b'E', b'L', b'F', 1, order] if order == little => false,
            _ => return Err(Problem::Foreign),
        };
        if length < if wide { 64 } else { 52 } {
            return Err(Problem::Torn);
        }
        let layout = Layout { wide };
        let (segments, sections, counts) = if wide { (32, 40, 56) } else { (28, 32, 44) };
        let count = usize::from(short(&head, counts));
        let mut elf = Self {
            bytes,
            layout,
            sections: (
                layout.word(&head, sections),
                usize::from(short(&head, counts + 4)),
            ),
            names: short(&head, counts + 6),
            head: (0, 64),
            segments: Vec::new(),
            build_id: String::new(),
        };
        elf.read_segments(layout.word(&head, segments), count)?;
        Ok(elf)
    }

    fn read_segments(&mut self, offset: u64, count: usize) -> Result<(), Problem> {
        let size = if self.layout.wide { 56 } else { 32 };
        let mut table = vec![0; size * count.min(MAX_SEGMENTS)];
        let read = self.bytes.exact(offset, &mut table);
        read.map_err(|_| Problem::Torn)?;
        self.head.1 = offset.saturating_add(table.len() as u64);
        for entry in table.chunks_exact(size) {
            let segment = self.layout.segment(entry);
            match int(entry, 0) {
                LOAD => self.segments.push(segment),
                NOTE if self.build_id.is_empty() => {
                    let length = segment.length.min(MAX_NOTE_BYTES);
                    let mut notes = vec![0; usize::try_from(length).unwrap_or(0)];
                    if self.bytes.exact(segment.offset, &mut notes).is_ok() {
                        self.build_id = build_id(&notes).unwrap_or_default();
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Looks addresses up, in the table of all symbols, or that of the exported ones in a file that
    /// was stripped of the other. `None` if it has neither. The answers end where the names would take
    /// more than `room` bytes.
    pub(super) fn look_up(
        &self,
        addresses: &[u64],
        room: usize,
    ) -> Result<Option<Vec<Answer>>, Problem> {
        let Some((symbols, names)) = self.symbols()? else {
            return Ok(None);
        };
        let mut nearest = Nearest::new(addresses);
        let size = if self.layout.wide { 24 } else { 16 };
        let count = (symbols.length / size).min(MAX_SYMBOLS);
        let mut piece = vec![0; PIECE_BYTES];
        let (mut at, end) = (symbols.offset, symbols.offset.saturating_add(count * size));
        while at < end {
            let length =
                usize::try_from(end - at).map_or(PIECE_BYTES, |left| left.min(PIECE_BYTES));
            let piece = &mut piece[..length];
            self.bytes.exact(at, piece).map_err(|_| Problem::Torn)?;
            for entry in piece.chunks_exact(usize::try_from(size).unwrap_or(PIECE_BYTES)) {
                if let Some(symbol) = self.layout.symbol(entry) {
                    nearest.add(&symbol);
                }
            }
            at += length as u64;
        }
        // Labels that begin so tell code from data, on arm64.
        let is_name = |name: &Vec<u8>| !name.starts_with(b"$");
        let name = |place| self.name(names, place).filter(is_name);
        Ok(Some(nearest.answers(room, name)))
    }

    /// The table of symbols, and that of their names.
    fn symbols(&self) -> Result<Option<(Section, Section)>, Problem> {
        let (offset, count) = self.sections;
        let size = if self.layout.wide { 64 } else { 40 };
        let (mut all, mut exported) = (None, None);
        let mut piece = vec![0; size * 64];
        let mut at = 0;
        while at < count.min(MAX_SECTIONS) {
            let entries = (count - at).min(64);
            let piece = &mut piece[..entries * size];
            let place = offset.saturating_add((at * size) as u64);
            self.bytes.exact(place, piece).map_err(|_| Problem::Torn)?;
            for entry in piece.chunks_exact(size) {
                match int(entry, 4) {
                    SYMBOLS => all = all.or(Some(self.layout.section(entry))),
                    DYNAMIC_SYMBOLS => exported = exported.or(Some(self.layout.section(entry))),
                    _ => {}
                }
            }
            at += entries;
        }
        let Some(symbols) = all.or(exported) else {
            return Ok(None);
        };
        let link = u64::from(symbols.link);
        if link >= count as u64 {
            return Err(Problem::Torn);
        }
        let mut entry = vec![0; size];
        let place = offset.saturating_add(link * size as u64);
        self.bytes
            .exact(place, &mut entry)
            .map_err(|_| Problem::Torn)?;
        Ok(Some((symbols, self.layout.section(&entry))))
    }

    /// Whether there is a table of all symbols.
    pub(super) fn is_stripped(&self) -> bool {
        let (offset, count) = self.sections;
        let size = if self.layout.wide { 64 } else { 40 };
        let mut entry = vec![0; size];
        (0..count.min(MAX_SECTIONS)).all(|at| {
            let place = offset.saturating_add((at * size) as u64);
            self.bytes.exact(place, &mut entry).is_err() || int(&entry, 4) != SYMBOLS
        })
    }

    fn name(&self, names: Section, place: u32) -> Option<Vec<u8>> {
        let left = names.length.checked_sub(place.into())?;
        let length = usize::try_from(left).unwrap_or(usize::MAX).min(NAME_BYTES);
        let offset = names.offset.checked_add(place.into())?;
        let mut name = vec![0; length.min(256)];
        loop {
            let read = self.bytes.some(offset, &mut name).ok()?;
            if let Some(end) = name[..read].iter().position(|byte| *byte == 0) {
                name.truncate(end);
                break;
            }
            if read < name.len() || name.len() == length {
                name.truncate(read);
                break;
            }
            name.resize(length, 0);
        }
        (!name.is_empty()).then_some(name)
    }
}

/// The address of a place in a file, where the file says that it wants to be.
pub(super) fn address(segments: &[Segment], offset: u64) -> Option<u64> {
    let within = |segment: &&Segment| {
        offset
            .checked_sub(segment.offset)
            .is_some_and(|into| into < segment.length)
    };
    let segment = segments.iter().find(within)?;
    segment.address.checked_add(offset - segment.offset)
}

impl Layout {
    fn word(self, bytes: &[u8], at: usize) -> u64 {
        if self.wide {
            long(bytes, at)
        } else {
            int(bytes, at).into()
        }
    }

    fn segment(self, entry: &[u8]) -> Segment {
        let (offset, address, length) = if self.wide { (8, 16, 32) } else { (4, 8, 16) };
        Segment {
            offset: self.word(entry, offset),
            length: self.word(entry, length),
            address: self.word(entry, address),
        }
    }

    fn section(self, entry: &[u8]) -> Section {
        let (offset, length, link) = if self.wide {
            (24, 32, 40)
        } else {
            (16, 20, 24)
        };
        Section {
            offset: self.word(entry, offset),
            length: self.word(entry, length),
            link: int(entry, link),
        }
    }

    /// A symbol, if it may be that of code.
    fn symbol(self, entry: &[u8]) -> Option<Symbol> {
        let (info, section, value, size) = if self.wide {
            (4, 6, 8, 16)
        } else {
            (12, 14, 4, 8)
        };
        let (kind, binding) = (entry[info] & 15, entry[info] >> 4);
        let is_function = matches!(kind, FUNCTION | INDIRECT_FUNCTION);
        let is_defined = short(entry, section) != 0;
        // Assemblers give no type to what is not marked as a function.
        if !is_defined || !is_function && kind != NO_TYPE {
            return None;
        }
        let binding = match binding {
            LOCAL => 0,
            GLOBAL => 2,
            // Weak, and whatever else there may be.
            _ => 1,
        };
        Some(Symbol {
            start: self.word(entry, value),
            length: self.word(entry, size),
            name: int(entry, 0),
            rank: u8::from(is_function) * 4 + binding,
        })
    }
}

fn long(bytes: &[u8], at: usize) -> u64 {
    let bytes = bytes.get(at..).and_then(<[u8]>::first_chunk);
    bytes.map_or(0, |bytes| u64::from_ne_bytes(*bytes))
}

pub(super) fn int(bytes: &[u8], at: usize) -> u32 {
    let bytes = bytes.get(at..).and_then(<[u8]>::first_chunk);
    bytes.map_or(0, |bytes| u32::from_ne_bytes(*bytes))
}

fn short(bytes: &[u8], at: usize) -> u16 {
    let bytes = bytes.get(at..).and_then(<[u8]>::first_chunk);
    bytes.map_or(0, |bytes| u16::from_ne_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn own_file_is_read() {
        let file = File::open(std::env::current_exe().unwrap()).unwrap();
        let bytes = Bytes::File(file);
        let elf = Elf::read(&bytes).unwrap();
        assert!(!elf.is_stripped());
        assert!(elf.build_id.len() >= 16, "{}", elf.build_id);
        assert_eq!(address(&elf.segments, 0), Some(elf.segments[0].address));
        assert_eq!(address(&elf.segments, u64::MAX), None);
    }

    #[test]
    fn what_is_torn_is_an_error() {
        let whole = fs::read("/proc/self/exe").unwrap();
        let look = |length: usize| {
            let bytes = Bytes::Memory(whole[..length].to_vec());
            let elf = Elf::read(&bytes)?;
            elf.look_up(&[0x1000], usize::MAX)
                .map(|answers| answers.is_some())
        };
        assert_eq!(look(whole.len()), Ok(true));
        assert_eq!(look(whole.len() - 1), Err(Problem::Torn));
        assert_eq!(look(100), Err(Problem::Torn));
        assert_eq!(look(20), Err(Problem::Torn));
        assert_eq!(look(3), Err(Problem::Foreign));
        assert_eq!(look(0), Err(Problem::Foreign));
    }

    proptest! {
        #[test]
        fn any_change_is_survived(at in 0_usize..4096, bytes: Vec<u8>, address in 0_u64..0x10_0000) {
            // The head is where everything is told that the rest is found by.
            let mut whole = fs::read("/bin/true").unwrap();
            for (place, byte) in whole[at..].iter_mut().zip(bytes) {
                *place = byte;
            }
            let bytes = Bytes::Memory(whole);
            if let Ok(elf) = Elf::read(&bytes) {
                let _ = elf.look_up(&[address], usize::MAX);
                elf.is_stripped();
            }
        }
    }
}
