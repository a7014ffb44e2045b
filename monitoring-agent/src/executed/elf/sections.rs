//! A file's sections, by their names. Knows nothing of what is in them.

use object::{LittleEndian as LE, elf::SectionHeader64};

use super::{Elf, Fault};

/// Most sections; a linked file has some forty.
const MAX_SECTIONS: u16 = 16_384;

/// Most bytes of their names. Those of a linked file are some hundred, of one with each function in a
/// section of its own some hundred thousand.
const MAX_NAMES: u64 = 4 << 20;

/// A section.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Section {
    /// Where it is in memory, as the file was linked.
    pub(crate) address: u64,
    offset: u64,
    size: u64,
}

impl Elf<'_> {
    /// All sections' headers.
    pub(super) fn sections(&self) -> Result<Vec<SectionHeader64<LE>>, Fault> {
        let (offset, count) = (self.header.e_shoff.get(LE), self.header.e_shnum.get(LE));
        if offset == 0 {
            return Ok(Vec::new());
        }
        if count > MAX_SECTIONS || count == 0 {
            return Err(Fault::Excessive("sections"));
        }
        if usize::from(self.header.e_shentsize.get(LE)) != size_of::<SectionHeader64<LE>>() {
            return Err(Fault::Torn("its section headers have another size"));
        }
        self.table(offset, count.into(), "its section headers are cut")
    }

    /// The first section of each of these names.
    pub(crate) fn named<const N: usize>(
        &self,
        names: [&[u8]; N],
    ) -> Result<[Option<Section>; N], Fault> {
        let sections = self.sections()?;
        let mut found = [None; N];
        let Some(table) = sections.get(usize::from(self.header.e_shstrndx.get(LE))) else {
            return Ok(found);
        };
        if table.sh_size.get(LE) > MAX_NAMES {
            return Err(Fault::Excessive("names of sections"));
        }
        let size = table.sh_size.get(LE);
        let text: Vec<u8> =
            self.table(table.sh_offset.get(LE), size, "its sections' names are cut")?;
        for section in &sections {
            let start = usize::try_from(section.sh_name.get(LE)).ok();
            let Some(rest) = start.and_then(|start| text.get(start..)) else {
                continue;
            };
            let name = rest.split(|byte| *byte == 0).next().unwrap_or_default();
            if let Some(at) = names.iter().position(|wanted| *wanted == name) {
                found[at].get_or_insert(Section {
                    address: section.sh_addr.get(LE),
                    offset: section.sh_offset.get(LE),
                    size: section.sh_size.get(LE),
                });
            }
        }
        Ok(found)
    }

    /// What is in a section, if it is no more than so many bytes.
    pub(crate) fn contents(&self, section: Section, most: u64) -> Result<Vec<u8>, Fault> {
        if section.size > most {
            return Err(Fault::Excessive("bytes in a section"));
        }
        self.table(section.offset, section.size, "one of its sections is cut")
    }
}
