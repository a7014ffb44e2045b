//! What a process has mapped where, from its `/proc/PID/maps`: the one reader of that list.
//!
//! Owns the text's format, and reads it piece by piece, in bounded memory and without a copy of
//! each line. Knows neither which mappings are of interest nor what is in their files. A list is
//! partly a tenant's work: names are any bytes, and what is no mapping is passed over.

use std::{
    borrow::Cow,
    fs::{File, OpenOptions},
    io::{self, Read},
    ops::{ControlFlow, Range},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

#[cfg(test)]
mod tests;

/// Longest line: the longest path that programs can use, each byte of it a line end, which the
/// kernel writes as four, and what stands before it.
pub const LINE_BYTES: usize = 4 * 4096 + 128;

/// Room for what is read: the kernel gives a page at a time, or one line if that is longer, and the
/// beginning of a line may have been there before.
const BUFFER_BYTES: usize = 2 * LINE_BYTES;

/// What the kernel appends to the path of a file that has been deleted. A file may be called so.
const DELETED: &[u8] = b" (deleted)";

/// How the kernel writes a line end in a path. It is the only byte that it writes otherwise, not
/// even the backslash, so that a file may be called so as well.
const LINE_END: &[u8] = br"\012";

/// A part of a process's memory.
///
/// # Example
///
/// ```
/// use std::ops::ControlFlow;
/// use monitoring_agent::process_maps::Reader;
///
/// let list = "7f10-7f20 r-xp 00002000 fe:00 247 /usr/lib/a.so (deleted)\n7f20-7f30 rw-p 0 00:00 0 \n";
/// let mut names = Vec::new();
/// let mut reader = Reader::new(list.as_bytes());
/// while reader.step(|mapping| {
///     assert!(mapping.is_file() == mapping.is_executed());
///     names.push(mapping.file_name().to_vec());
///     ControlFlow::Continue(())
/// })?.is_continue() {}
/// assert_eq!(names, [&b"a.so"[..], b""]);
/// # std::io::Result::Ok(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Mapping<'a> {
    /// Its addresses; never empty.
    pub range: Range<u64>,
    /// As the kernel writes them: `r`, `w`, `x`, each a hyphen if it is not allowed, and `p` for
    /// private or `s` for shared.
    pub permissions: [u8; 4],
    /// Of its start in the file, in bytes.
    pub offset: u64,
    /// The file's device, as the kernel numbers it to programs; that of the file beneath where file
    /// systems are laid over each other, or of the uppermost: kernels differ. 0 where there is no
    /// file.
    pub device: libc::dev_t,
    /// The file's inode, likewise.
    pub inode: u64,
    /// As the kernel writes it. Of a file its path, with line ends as `\012`, and maybe a remark
    /// that it was deleted; else the kernel's word for it, such as `[heap]`, `[stack]`, `[vdso]` or
    /// `[anon:NAME]`, or nothing.
    pub name: Cow<'a, [u8]>,
    /// Whether the name is longer, by more than paths can be.
    pub is_cut: bool,
}

impl Mapping<'_> {
    /// Whether it is of a file, a deleted one or one of memory included.
    pub fn is_file(&self) -> bool {
        self.inode != 0 && !self.name.is_empty()
    }

    /// Whether what is in it may be executed.
    pub fn is_executed(&self) -> bool {
        self.permissions[2] == b'x'
    }

    /// An address's offset in the file; of one before the mapping, that of its start.
    pub fn offset_of(&self, address: u64) -> u64 {
        let into = address.saturating_sub(self.range.start);
        self.offset.saturating_add(into)
    }

    /// Whether both are of one file, as far as the list tells.
    pub fn is_same_file(&self, other: &Mapping<'_>) -> bool {
        (self.device, self.inode) == (other.device, other.inode)
    }

    /// The name without a remark that the file was deleted.
    pub fn path(&self) -> &[u8] {
        self.name.strip_suffix(DELETED).unwrap_or(&self.name)
    }

    /// The last part of the path.
    pub fn file_name(&self) -> &[u8] {
        let path = self.path();
        let start = path.iter().rposition(|byte| *byte == b'/');
        &path[start.map_or(0, |slash| slash + 1)..]
    }

    /// All paths that the kernel writes so, each once: what looks like its remark, or like its way
    /// to write a line end, may as well be part of the name. In the process's view of the file
    /// system, at the time when it was mapped.
    pub fn paths(&self) -> Vec<Vec<u8>> {
        let mut paths = Vec::with_capacity(1);
        for written in [&self.name[..], self.path()] {
            for path in [written.to_owned(), with_line_ends(written)] {
                if !paths.contains(&path) {
                    paths.push(path);
                }
            }
        }
        paths
    }

    /// The same, to be kept.
    pub fn into_owned(self) -> Mapping<'static> {
        Mapping {
            name: Cow::Owned(self.name.into_owned()),
            ..self
        }
    }
}

fn with_line_ends(path: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path;
    while let Some((&byte, tail)) = rest.split_first() {
        let after = rest.strip_prefix(LINE_END);
        bytes.push(if after.is_some() { b'\n' } else { byte });
        rest = after.unwrap_or(tail);
    }
    bytes
}

/// Opens the list of the process that has this folder in a `/proc`.
///
/// A process that is about to change its mappings makes reading it wait, as everything that does.
///
/// # Errors
///
/// The process has ended, or may not be looked at.
pub fn open(process: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        // What stands there instead, in a folder that is none of the kernel's, is not waited for.
        .custom_flags(libc::O_NONBLOCK)
        .open(process.join("maps"))
}

/// Reads a list from its beginning.
#[derive(Debug)]
pub struct Reader<R> {
    list: R,
    buffer: Box<[u8]>,
    /// Bytes in the buffer: the beginning of a line of which the rest is still to be read.
    begun: usize,
    /// Whether there was more of that line than is kept.
    is_cut: bool,
}

impl<R: Read> Reader<R> {
    /// Nothing of it is read yet.
    pub fn new(list: R) -> Self {
        Self {
            list,
            buffer: vec![0; BUFFER_BYTES].into(),
            begun: 0,
            is_cut: false,
        }
    }

    /// What is read.
    pub fn list(&self) -> &R {
        &self.list
    }

    /// Reads on, by one system call, and passes on what has become known by it, in order of the
    /// addresses. Breaks off at the end of the list, or as soon as `each` does; what was read by
    /// then and not passed on is gone.
    ///
    /// A line without an end is not there yet, and never will be if the list ends with it.
    ///
    /// # Errors
    ///
    /// Those of reading.
    pub fn step(
        &mut self,
        mut each: impl FnMut(Mapping<'_>) -> ControlFlow<()>,
    ) -> io::Result<ControlFlow<()>> {
        let length = loop {
            match self.list.read(&mut self.buffer[self.begun..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => break result?,
            }
        };
        if length == 0 {
            return Ok(ControlFlow::Break(()));
        }
        // What was there before has no line end in it.
        let (mut line, mut from) = (0, self.begun);
        let filled = self.begun + length;
        while let Some(end) = self.buffer[from..filled].iter().position(is_line_end) {
            let end = from + end;
            let whole = &self.buffer[line..end];
            let kept = &whole[..whole.len().min(LINE_BYTES)];
            let is_cut = self.is_cut || whole.len() > LINE_BYTES;
            (line, from, self.is_cut) = (end + 1, end + 1, false);
            if let Some(mapping) = parse(kept, is_cut)
                && each(mapping).is_break()
            {
                return Ok(ControlFlow::Break(()));
            }
        }
        let left = filled - line;
        self.begun = left.min(LINE_BYTES);
        self.is_cut |= left > LINE_BYTES;
        self.buffer.copy_within(line..line + self.begun, 0);
        Ok(ControlFlow::Continue(()))
    }

    /// Reads to the end of the list, or until `each` breaks off.
    ///
    /// # Errors
    ///
    /// Those of reading.
    pub fn for_each(
        &mut self,
        mut each: impl FnMut(Mapping<'_>) -> ControlFlow<()>,
    ) -> io::Result<()> {
        while self.step(&mut each)?.is_continue() {}
        Ok(())
    }
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "as iterators ask")]
fn is_line_end(byte: &u8) -> bool {
    *byte == b'\n'
}

/// `7f00-7f01 r-xp 00002000 fe:00 247030    /usr/bin/cat`.
fn parse(line: &[u8], is_cut: bool) -> Option<Mapping<'_>> {
    let mut rest = line;
    let mut field = |end: u8| {
        let at = rest.iter().position(|byte| *byte == end)?;
        let (field, after) = rest.split_at(at);
        rest = &after[1..];
        Some(field)
    };
    let start = number::<16>(field(b'-')?)?;
    let range = start..number::<16>(field(b' ')?)?;
    let permissions = field(b' ')?.try_into().ok()?;
    let offset = number::<16>(field(b' ')?)?;
    let major = u32::try_from(number::<16>(field(b':')?)?).ok()?;
    let minor = u32::try_from(number::<16>(field(b' ')?)?).ok()?;
    // Behind the inode is a space, and as many as it takes to have the names below each other.
    let (inode, name) = match field(b' ') {
        Some(inode) => (inode, rest.trim_ascii_start()),
        None => (rest, &b""[..]),
    };
    let mapping = Mapping {
        range,
        permissions,
        offset,
        device: libc::makedev(major, minor),
        inode: number::<10>(inode)?,
        name: Cow::Borrowed(name),
        is_cut,
    };
    (!mapping.range.is_empty()).then_some(mapping)
}

/// A number of digits and nothing else.
fn number<const BASE: u64>(digits: &[u8]) -> Option<u64> {
    let mut number = (!digits.is_empty()).then_some(0_u64)?;
    for digit in digits {
        let value = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        if u64::from(value) >= BASE {
            return None;
        }
        number = number.checked_mul(BASE)?.checked_add(value.into())?;
    }
    Some(number)
}
