//! Which files a process has mapped to execute them, from its `maps`. Reads bounded amounts of it,
//! and opens none of the files.

use std::{
    fs::OpenOptions,
    io::{self, Read as _},
    ops::Range,
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use super::events::MappedFile;

/// Bytes read at a time; the kernel gives a page or so at most.
const STEP_BYTES: usize = 32 * 1024;

/// Longest line: the longest path that programs can use, each byte of it a line end, which the
/// kernel writes as four, and what stands before it.
const LINE_BYTES: usize = 4 * 4096 + 128;

/// Most bytes of one list: 65,530 mappings, as many as a process has unless the administrator
/// allows more, of 128 bytes.
const LIST_BYTES: u64 = 8 << 20;

/// Most files of one process. A process of `PyTorch` has some 300.
const MAX_FILES: usize = 2_048;

/// What the kernel appends to the path of a file that has been deleted. A file may be called so.
const DELETED: &[u8] = b" (deleted)";

/// A file that a process executes parts of.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Mapping {
    /// The addresses of one such part.
    pub(super) range: Range<u64>,
    /// The device, as the kernel numbers it to programs; that of the file beneath where file
    /// systems are laid over each other, or of the uppermost: kernels differ.
    pub(super) device: libc::dev_t,
    /// The inode, likewise.
    pub(super) inode: u64,
    /// As the kernel writes it: line ends as `\012`, and maybe a remark that it was deleted.
    pub(super) path: Vec<u8>,
}

/// The files of a process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Mappings {
    /// Each once.
    pub(super) files: Vec<Mapping>,
    /// Whether there was more than is looked at.
    pub(super) cut: bool,
}

impl Mapping {
    /// The path without a remark that the file was deleted.
    pub(super) fn path_alone(&self) -> &[u8] {
        self.path.strip_suffix(DELETED).unwrap_or(&self.path)
    }

    /// The file, as the kernel tells of it when it is mapped.
    pub(super) fn file(&self) -> MappedFile {
        MappedFile {
            device: self.device,
            inode: self.inode,
        }
    }

    /// The last part of the path.
    pub(super) fn file_name(&self) -> &[u8] {
        let path = self.path_alone();
        let start = path.iter().rposition(|byte| *byte == b'/');
        &path[start.map_or(0, |slash| slash + 1)..]
    }
}

/// The files that a process executes.
///
/// A process that is about to change its mappings makes this wait, as everything that reads them.
pub(super) fn read(process: &Path) -> io::Result<Mappings> {
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(process.join("maps"))?;
    parse(file)
}

fn parse(list: impl io::Read) -> io::Result<Mappings> {
    let mut list = list.take(LIST_BYTES);
    let mut found = Mappings::default();
    let mut buffer = vec![0; STEP_BYTES];
    let mut line = Vec::new();
    loop {
        let length = match list.read(&mut buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            result => result?,
        };
        if length == 0 {
            break;
        }
        for piece in buffer[..length].split_inclusive(|byte| *byte == b'\n') {
            let (piece, ends) = match piece.strip_suffix(b"\n") {
                Some(piece) => (piece, true),
                None => (piece, false),
            };
            // One byte more than fits tells that a line was too long.
            let room = LINE_BYTES + 1 - line.len();
            line.extend_from_slice(&piece[..piece.len().min(room)]);
            if ends {
                found.add(&line);
                line.clear();
            }
        }
    }
    found.cut |= list.limit() == 0;
    Ok(found)
}

impl Mappings {
    fn add(&mut self, line: &[u8]) {
        let Some(mapping) = mapping(line) else {
            return;
        };
        // A library's parts follow one another, so that mostly the last one is compared.
        let same = |known: &Mapping| {
            (known.device, known.inode) == (mapping.device, mapping.inode)
                && known.path == mapping.path
        };
        if self.files.iter().rev().any(same) {
            return;
        }
        if line.len() > LINE_BYTES || self.files.len() == MAX_FILES {
            self.cut = true;
        } else {
            self.files.push(mapping);
        }
    }
}

/// `7f00-7f01 r-xp 00002000 fe:00 247030    /usr/bin/cat`, if it is a file that is executed.
fn mapping(line: &[u8]) -> Option<Mapping> {
    let mut rest = line;
    let mut field = || {
        let end = rest.iter().position(|byte| *byte == b' ');
        let (field, after) = rest.split_at(end.unwrap_or(rest.len()));
        rest = after.strip_prefix(b" ").unwrap_or(after);
        str::from_utf8(field).ok()
    };
    let (start, end) = field()?.split_once('-')?;
    if field()?.as_bytes().get(2) != Some(&b'x') {
        return None;
    }
    field()?;
    let (major, minor) = field()?.split_once(':')?;
    let inode = field()?.parse().ok().filter(|inode| *inode != 0)?;
    let hex = |text| u64::from_str_radix(text, 16).ok();
    let part = |text| u32::from_str_radix(text, 16).ok();
    let start = hex(start)?..hex(end)?;
    let path = rest.trim_ascii_start();
    (!path.is_empty()).then(|| Mapping {
        range: start,
        device: libc::makedev(part(major).unwrap_or(0), part(minor).unwrap_or(0)),
        inode,
        path: path.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use proptest::prelude::*;

    use super::*;

    fn names(list: &[u8]) -> (Vec<String>, bool) {
        let mappings = parse(list).unwrap();
        let names = mappings.files.iter();
        let names = names.map(|file| String::from_utf8_lossy(file.file_name()).into_owned());
        (names.collect(), mappings.cut)
    }

    #[test]
    fn executed_files() {
        let check = |list: &str, want: &[&str]| {
            let (found, cut) = names(list.as_bytes());
            assert_eq!(found, want, "{list}");
            assert!(!cut);
        };
        check("", &[]);
        check(
            "7f00-7f01 r-xp 0 fe:00 24  /usr/lib/libcuda.so.1\n",
            &["libcuda.so.1"],
        );
        check("7f00-7f01 r--p 0 fe:00 24  /usr/lib/libcuda.so.1\n", &[]);
        check("7f00-7f01 r-xp 0 00:00 0  [vdso]\n", &[]);
        check("7f00-7f01 r-xp 0 00:00 0 \n", &[]);
        check("7f00-7f01 r-xp 0 fe:00 24  /a (deleted)\n", &["a"]);
        check("7f00-7f01 r-xp 0 fe:00 24  /with space/b c\n", &["b c"]);
        check("7f00-7f01 r-xp 0 fe:00 24  /x/a\\012b\n", &["a\\012b"]);
        // A line end in a name cannot begin a line of its own, as the kernel escapes it; if one
        // did, it would be no mapping.
        check("7f00-7f01 r-xp 0 fe:00 24  /x/a\n/libcuda.so\n", &["a"]);
        // The same file in two parts is one; two files of one name are two.
        check(
            "1-2 r-xp 0 fe:00 24  /a\n2-3 r-xp 0 fe:00 24  /a\n3-4 r-xp 0 fe:00 25  /a\n",
            &["a", "a"],
        );
        // The last line is cut: it is not there yet.
        check("1-2 r-xp 0 fe:00 24  /a", &[]);
        check(
            "1-2 r-xp\nx-y r-xp 0 fe:00 24 /a\n1-2 r-xp 0 fe:00 x /a\n-\n",
            &[],
        );
    }

    #[test]
    fn long_lines_and_lists_are_cut_and_said_to_be() {
        let long = format!("1-2 r-xp 0 fe:00 24  /{}\n", "x".repeat(1 << 20));
        let list = format!("{long}1-2 r-xp 0 fe:00 25  /b\n");
        assert_eq!(names(list.as_bytes()), (vec!["b".to_owned()], true));
        let endless = io::Read::chain(&b"1-2 r-xp 0 fe:00 24  /a\n"[..], io::repeat(b'x'));
        let mappings = parse(endless).unwrap();
        assert_eq!((mappings.files.len(), mappings.cut), (1, true));
        let mut many = String::new();
        for inode in 1..=3_000 {
            writeln!(many, "1-2 r-xp 0 fe:00 {inode} /a").unwrap();
        }
        let mappings = parse(many.as_bytes()).unwrap();
        assert_eq!((mappings.files.len(), mappings.cut), (MAX_FILES, true));
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_list(bytes: Vec<u8>) {
            parse(&bytes[..]).unwrap();
        }

        #[test]
        fn any_fields_are_a_list(fields in "([0-9a-f]{0,17}-?[0-9a-f]{0,17} r-xp [:0-9 /a-f]{0,40}\n){0,5}") {
            parse(fields.as_bytes()).unwrap();
        }
    }
}
