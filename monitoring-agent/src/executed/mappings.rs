//! Which files a process has mapped to execute them. Reads bounded amounts of its list of mappings,
//! and opens none of the files.

use std::{
    io::{self, Read},
    ops::ControlFlow,
    path::Path,
};

use crate::process_maps::{self, Mapping, Reader};

/// Most bytes of one list: 65,530 mappings, as many as a process has unless the administrator
/// allows more, of 128 bytes.
const LIST_BYTES: u64 = 8 << 20;

/// Most files of one process. A process of `PyTorch` has some 300.
const MAX_FILES: usize = 2_048;

/// The files of a process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Mappings {
    /// Each once, by the first part of it that is executed.
    pub(crate) files: Vec<Mapping<'static>>,
    /// Whether there was more than is looked at.
    pub(crate) cut: bool,
}

/// The files that a process executes.
pub(crate) fn read(process: &Path) -> io::Result<Mappings> {
    parse(process_maps::open(process)?)
}

fn parse(list: impl Read) -> io::Result<Mappings> {
    let mut reader = Reader::new(list.take(LIST_BYTES));
    let mut found = Mappings::default();
    reader.for_each(|mapping| {
        if mapping.is_file() && mapping.is_executed() {
            found.add(mapping);
        }
        ControlFlow::Continue(())
    })?;
    found.cut |= reader.list().limit() == 0;
    Ok(found)
}

impl Mappings {
    fn add(&mut self, mapping: Mapping<'_>) {
        // A library's parts follow one another, so that mostly the last one is compared.
        let same = |known: &Mapping<'_>| known.is_same_file(&mapping) && known.name == mapping.name;
        if self.files.iter().rev().any(same) {
            return;
        }
        if mapping.is_cut || self.files.len() == MAX_FILES {
            self.cut = true;
        } else {
            self.files.push(mapping.into_owned());
        }
    }
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
        let endless = Read::chain(&b"1-2 r-xp 0 fe:00 24  /a\n"[..], io::repeat(b'x'));
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
