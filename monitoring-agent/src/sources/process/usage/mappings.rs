//! Resident memory of a process's heap and stack: where they are, from `/proc/PID/maps`, and which
//! of their pages are there, from `/proc/PID/pagemap`.
//!
//! `smaps` would say the same, but it looks at every page of the process to do so, mapping after
//! mapping, and holds back the process's own changes of its mappings meanwhile: a second for
//! 100 GB. Here only the two mappings are looked at, in short steps that can be stopped and
//! resumed. Reading waits while a process holds its mappings itself.

use std::{
    fs::File,
    io,
    ops::{ControlFlow, Range},
    os::unix::fs::FileExt as _,
    path::Path,
    time::Instant,
};

use crate::process_maps::{self, Mapping, Reader};

/// Bytes of page entries that are read at a time: so many as 32 MiB of memory have, with pages of
/// 4 KiB.
const STEP_BYTES: usize = 64 * 1024;

/// Bytes of a page's entry. See <https://docs.kernel.org/admin-guide/mm/pagemap.html>.
const ENTRY_BYTES: u64 = 8;

/// Bit 63 of a page's entry: it is in memory.
const PRESENT: u64 = 1 << 63;

/// Resident bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Mappings {
    /// Of the brk segment.
    pub(super) heap: u64,
    /// Of the first thread's stack.
    pub(super) stack: u64,
}

/// A look at one process's mappings.
#[derive(Debug)]
pub(super) struct Walk {
    pid: u32,
    list: Option<Reader<File>>,
    found: Vec<(Kind, Range<u64>)>,
    pages: Option<File>,
    resident: Mappings,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Heap,
    Stack,
}

/// The buffer and the page size that all walks share.
#[derive(Debug)]
pub(super) struct Pages {
    buffer: Vec<u8>,
    page_bytes: u64,
}

impl Pages {
    pub(super) fn new() -> Self {
        // SAFETY: no memory is involved.
        let page_bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
        Self {
            buffer: vec![0; STEP_BYTES],
            // Every system has a page size.
            page_bytes: u64::try_from(page_bytes).unwrap_or(4096),
        }
    }
}

impl Walk {
    /// Begins to look.
    pub(super) fn begin(pid: u32) -> io::Result<Self> {
        let list = process_maps::open(Path::new(&format!("/proc/{pid}")))?;
        Ok(Self {
            pid,
            list: Some(Reader::new(list)),
            found: Vec::new(),
            pages: None,
            resident: Mappings::default(),
        })
    }

    /// Looks on until `deadline`, but at least a step; the answer once it is known.
    pub(super) fn advance(
        &mut self,
        pages: &mut Pages,
        deadline: Instant,
    ) -> io::Result<Option<Mappings>> {
        loop {
            let done = if self.list.is_some() {
                self.list_more()?;
                self.list.is_none() && self.found.is_empty()
            } else {
                self.count_more(pages)?;
                self.found.is_empty()
            };
            if done {
                return Ok(Some(self.resident));
            }
            if Instant::now() >= deadline {
                return Ok(None);
            }
        }
    }

    fn list_more(&mut self) -> io::Result<()> {
        let Some(list) = &mut self.list else {
            return Ok(());
        };
        let step = list.step(|mapping| {
            self.found.extend(interesting(&mapping));
            ControlFlow::Continue(())
        })?;
        if step.is_break() {
            self.list = None;
        }
        Ok(())
    }

    /// Counts the pages of a part of the last mapping that is left.
    fn count_more(&mut self, pages: &mut Pages) -> io::Result<()> {
        let Some((kind, range)) = self.found.last_mut() else {
            return Ok(());
        };
        let file = match &self.pages {
            Some(file) => file,
            None => self
                .pages
                .insert(File::open(format!("/proc/{}/pagemap", self.pid))?),
        };
        let size = pages.page_bytes;
        let left = (range.end - range.start) / size * ENTRY_BYTES;
        let wanted = usize::try_from(left).unwrap_or(usize::MAX).min(STEP_BYTES);
        let length = file.read_at(
            &mut pages.buffer[..wanted],
            range.start / size * ENTRY_BYTES,
        )?;
        let entries = &pages.buffer[..length];
        let total = match kind {
            Kind::Heap => &mut self.resident.heap,
            Kind::Stack => &mut self.resident.stack,
        };
        *total += present(entries) * size;
        range.start += (length as u64) / ENTRY_BYTES * size;
        // Nothing more to read: the process has ended, or has other mappings by now.
        if range.is_empty() || length < size_of::<u64>() {
            self.found.pop();
        }
        Ok(())
    }
}

/// How many of the entries are of a page in memory.
fn present(entries: &[u8]) -> u64 {
    let (entries, _) = entries.as_chunks();
    let here = entries
        .iter()
        .filter(|entry| u64::from_ne_bytes(**entry) & PRESENT != 0);
    here.count() as u64
}

/// The mapping, if it is one that counts. Paths begin with a slash, and named anonymous mappings
/// with `[anon`.
fn interesting(mapping: &Mapping<'_>) -> Option<(Kind, Range<u64>)> {
    let kind = match &*mapping.name {
        b"[heap]" => Kind::Heap,
        b"[stack]" => Kind::Stack,
        _ => return None,
    };
    (!mapping.is_file()).then(|| (kind, mapping.range.clone()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of_list(list: &[u8]) -> Vec<(Kind, Range<u64>)> {
        let mut found = Vec::new();
        let each = |mapping: Mapping<'_>| {
            found.extend(interesting(&mapping));
            ControlFlow::Continue(())
        };
        Reader::new(list).for_each(each).unwrap();
        found
    }

    #[test]
    fn lines() {
        let check = |line: &str, want: Option<(Kind, Range<u64>)>| {
            let found = of_list(format!("{line}\n").as_bytes());
            assert_eq!(found, Vec::from_iter(want), "{line}");
        };
        let rest = "rw-p 00000000 00:00 0                   ";
        let heap = Some((Kind::Heap, 0x1000..0x3000));
        check(&format!("1000-3000 {rest} [heap]"), heap);
        let stack = Some((Kind::Stack, 0x7ffe_0000_0000..0x7ffe_0002_0000));
        check(&format!("7ffe00000000-7ffe00020000 {rest} [stack]"), stack);
        for other in ["", " [vdso]", " [anon:[heap]]", " /a [heap]", " /[heap]"] {
            check(&format!("1000-3000 {rest}{other}"), None);
        }
        check("1000-3000 rw-p 00000000 fe:00 12 [heap]", None);
        check(&format!("3000-3000 {rest} [heap]"), None);
        check(&format!("3000-1000 {rest} [heap]"), None);
        check(&format!("1000 {rest} [heap]"), None);
        check(" [heap]", None);
        check("1000-3000 [heap]", None);
    }

    #[test]
    fn this_process_agrees_with_smaps() {
        // Small allocations come from the brk segment, in the main thread's arena at least.
        let memory: Vec<Box<[u8; 1000]>> = (0..1_000).map(|_| Box::new([1; 1000])).collect();
        let mut pages = Pages::new();
        let mut walk = Walk::begin(std::process::id()).unwrap();
        let found = loop {
            if let Some(found) = walk.advance(&mut pages, Instant::now()).unwrap() {
                break found;
            }
        };
        let smaps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let resident = |name: &str| -> u64 {
            let mut lines = smaps.lines().skip_while(|line| !line.ends_with(name));
            let line = lines.find_map(|line| line.strip_prefix("Rss:"));
            let number = line.and_then(|line| line.trim().strip_suffix(" kB"));
            number.unwrap().parse::<u64>().unwrap() * 1024
        };
        drop(memory);
        // Other tests of this process may have used some between the two looks.
        let near = |ours: u64, theirs: u64| assert!(ours.abs_diff(theirs) <= 1 << 20);
        near(found.heap, resident(" [heap]"));
        near(found.stack, resident(" [stack]"));
        assert!(found.stack > 0);
    }

    proptest! {
        #[test]
        fn any_bytes(
            list: Vec<u8>,
            names in "([0-9a-f]{0,20}-[0-9a-f]{0,20}( [a-z0]{0,4}){0,6} \\[(heap|stack)\\]\n){0,3}",
            entries in prop::collection::vec(any::<u8>(), 0..100),
        ) {
            of_list(&list);
            for (_, range) in of_list(names.as_bytes()) {
                prop_assert!(!range.is_empty());
            }
            prop_assert!(present(&entries) <= (entries.len() / 8) as u64);
        }
    }
}
