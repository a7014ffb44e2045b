//! A program's variables of which each thread has its own. Knows nothing of what is in them.

use object::{
    LittleEndian as LE,
    elf::{self, Sym64},
};

use super::{Elf, Fault, SYMBOLS_AT_ONCE, SymbolTable, Window};

/// Bytes between a thread's register and its variables, where these are behind it.
#[cfg(target_arch = "aarch64")]
const CONTROL_BLOCK: u64 = 16;

impl Elf<'_> {
    /// Where in each thread's block of variables the one of this name is, if the table has it.
    pub(crate) fn of_threads(
        &self,
        table: &SymbolTable,
        name: &[u8],
    ) -> Result<Option<u64>, Fault> {
        let mut window = Window::default();
        let mut first = 0;
        while first < table.count {
            let count = SYMBOLS_AT_ONCE.min(table.count - first);
            let offset = table.offset + first * size_of::<Sym64<LE>>() as u64;
            let symbols: Vec<Sym64<LE>> = self.table(offset, count, "its symbols are cut")?;
            let of_threads = symbols.iter().filter(|symbol| {
                symbol.st_type() == elf::STT_TLS && symbol.st_shndx.get(LE) != elf::SHN_UNDEF
            });
            for symbol in of_threads {
                let at = table.names + u64::from(symbol.st_name.get(LE));
                let Some(found) = window.name(self, at, table.names_end)? else {
                    return Err(Fault::Torn("a name is outside of the names"));
                };
                if found == name {
                    return Ok(Some(symbol.st_value.get(LE)));
                }
            }
            first += count;
        }
        Ok(None)
    }

    /// How far from a thread's register a variable is that is so far into the block of variables, of
    /// so many bytes. Only of a program: where a library has its variables is known when it is loaded.
    ///
    /// It is what linkers put into a program's own instructions. `None` if it is outside of the block.
    pub(crate) fn distance_from_register(&self, place: u64, bytes: u64) -> Option<i64> {
        let block = self.of_threads.as_ref()?;
        let size = block.p_memsz.get(LE);
        let is_inside = place.checked_add(bytes).is_some_and(|end| end <= size);
        let mask = block.p_align.get(LE).max(1).checked_sub(1)?;
        if !is_inside || (mask + 1).count_ones() != 1 {
            return None;
        }
        distance(block.p_vaddr.get(LE), size, mask, place)
    }
}

/// The block ends at the register, or before it as its alignment wants it.
#[cfg(target_arch = "x86_64")]
fn distance(address: u64, size: u64, mask: u64, place: u64) -> Option<i64> {
    let unused = address.wrapping_add(size).wrapping_neg() & mask;
    let before = i64::try_from(size.checked_add(unused)?).ok()?;
    i64::try_from(place).ok()?.checked_sub(before)
}

/// The block begins behind the thread's control block, where its alignment wants it.
#[cfg(target_arch = "aarch64")]
fn distance(address: u64, _size: u64, mask: u64, place: u64) -> Option<i64> {
    let unused = address.wrapping_sub(CONTROL_BLOCK) & mask;
    i64::try_from(CONTROL_BLOCK.checked_add(unused)?.checked_add(place)?).ok()
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::distance;

    #[test]
    fn blocks_end_where_their_alignment_lets_them() {
        // 0x30 bytes, aligned to 8, as they are linked.
        assert_eq!(distance(0x1000, 0x30, 7, 0x28), Some(-8));
        // 0x31 bytes, aligned to 16: 15 bytes stay free before the register.
        assert_eq!(distance(0x1000, 0x31, 15, 0), Some(-0x40));
        // Linked to an address that is not a multiple of the alignment, which the block keeps.
        assert_eq!(distance(0x1008, 0x28, 15, 0), Some(-0x28));
        assert_eq!(distance(0, 0, 0, 0), Some(0));
        assert_eq!(distance(0, u64::MAX, 0, 0), None);
    }
}
