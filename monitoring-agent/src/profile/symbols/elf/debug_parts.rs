//! Which parts of a file its debug information is in. Knows nothing of what that says.

use super::{Elf, MAX_SECTIONS, Problem, SYMBOLS, int};

/// Type of a section of names.
const NAMES: u32 = 3;

/// A part of a file: its place, and how long it is.
pub(in super::super) type Part = (u64, u64);

impl Elf<'_> {
    /// What of the file somebody needs who reads its debug information: the file's own tables, those
    /// of symbols, and the information. Nothing if it has none. What refers to other files is left out.
    pub(in super::super) fn debug_parts(&self) -> Result<Vec<Part>, Problem> {
        let (offset, count) = self.sections;
        let count = count.min(MAX_SECTIONS);
        let size = if self.layout.wide { 64 } else { 40 };
        let mut table = vec![0; size * count];
        let read = self.bytes.exact(offset, &mut table);
        read.map_err(|_| Problem::Torn)?;
        let entries: Vec<&[u8]> = table.chunks_exact(size).collect();
        let names = entries.get(usize::from(self.names)).ok_or(Problem::Torn)?;
        let names = self.layout.section(names);
        let mut parts = vec![self.head, (offset, table.len() as u64)];
        let mut has_information = false;
        for entry in &entries {
            let name = self.name(names, int(entry, 0)).unwrap_or_default();
            let is_debug = name.starts_with(b".debug_");
            if is_debug || matches!(int(entry, 4), SYMBOLS | NAMES) {
                let section = self.layout.section(entry);
                parts.push((section.offset, section.length));
                has_information |= name == b".debug_info";
            }
        }
        if !has_information {
            parts.clear();
        }
        Ok(parts)
    }
}
