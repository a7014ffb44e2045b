//! Lists as the kernel writes them, torn ones, and hostile ones.

use std::{collections::VecDeque, fs};

use proptest::prelude::*;

use super::*;

/// Gives a list in pieces of these sizes, over and over, as long as there is any of it.
struct Torn<'a> {
    list: &'a [u8],
    pieces: VecDeque<usize>,
}

impl<'a> Torn<'a> {
    fn new(list: &'a [u8], pieces: &[usize]) -> Self {
        let pieces = pieces.iter().map(|piece| *piece.max(&1)).collect();
        Self { list, pieces }
    }
}

impl Read for Torn<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.pieces.rotate_left(1);
        let most = self.pieces.back().copied().unwrap_or(usize::MAX);
        let length = most.min(buffer.len()).min(self.list.len());
        let (piece, rest) = self.list.split_at(length);
        buffer[..length].copy_from_slice(piece);
        self.list = rest;
        Ok(length)
    }
}

fn all(list: impl Read) -> Vec<Mapping<'static>> {
    let mut found = Vec::new();
    let each = |mapping: Mapping<'_>| {
        found.push(mapping.into_owned());
        ControlFlow::Continue(())
    };
    Reader::new(list).for_each(each).unwrap();
    found
}

fn mapping(name: &str) -> Mapping<'static> {
    Mapping {
        range: 0x1000..0x3000,
        permissions: *b"r-xp",
        offset: 0x2000,
        device: libc::makedev(0xfe, 1),
        inode: 24,
        name: Cow::Owned(name.as_bytes().to_vec()),
        is_cut: false,
    }
}

#[test]
fn lines() {
    let check = |line: &str, want: Option<Mapping<'_>>| {
        assert_eq!(all(format!("{line}\n").as_bytes()).pop(), want, "{line}");
    };
    let of_file = mapping("/usr/bin/cat");
    check(
        "1000-3000 r-xp 00002000 fe:01 24                         /usr/bin/cat",
        Some(of_file.clone()),
    );
    check(
        "1000-3000 r-xp 2000 fe:01 24 /usr/bin/cat",
        Some(of_file.clone()),
    );
    check(
        "ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0                  [vsyscall]",
        Some(Mapping {
            range: 0xffff_ffff_ff60_0000..0xffff_ffff_ff60_1000,
            permissions: *b"--xp",
            offset: 0,
            device: 0,
            inode: 0,
            ..mapping("[vsyscall]")
        }),
    );
    for name in ["", "[heap]", "[stack]", "[vdso]", "[anon:a b]"] {
        let want = Mapping {
            permissions: *b"rw-p",
            offset: 0,
            device: 0,
            inode: 0,
            ..mapping(name)
        };
        assert!(!want.is_file() && !want.is_executed());
        check(
            &format!("1000-3000 rw-p 00000000 00:00 0 {name}"),
            Some(want),
        );
    }
    check("1000-3000 rw-s 0 00:01 7", {
        let device = libc::makedev(0, 1);
        let (permissions, offset, inode) = (*b"rw-s", 0, 7);
        Some(Mapping {
            permissions,
            offset,
            device,
            inode,
            ..mapping("")
        })
    });
}

#[test]
fn no_lines() {
    for other in [
        "",
        "-",
        "1000",
        " [heap]",
        "1000-3000 [heap]",
        "3000-3000 r-xp 2000 fe:01 24 /a",
        "3000-1000 r-xp 2000 fe:01 24 /a",
        "x-3000 r-xp 2000 fe:01 24 /a",
        "+1000-3000 r-xp 2000 fe:01 24 /a",
        "10000000000001000-3000 r-xp 2000 fe:01 24 /a",
        "1000-3000 r-x 2000 fe:01 24 /a",
        "1000-3000 r-xpp 2000 fe:01 24 /a",
        "1000-3000 r-xp  2000 fe:01 24 /a",
        "1000-3000 r-xp 2000 fe01 24 /a",
        "1000-3000 r-xp 2000 fe:100000000 24 /a",
        "1000-3000 r-xp 2000 fe:01 2a /a",
        "1000-3000 r-xp 2000 fe:01 18446744073709551616 /a",
    ] {
        let found = all(format!("{other}\n").as_bytes());
        assert!(found.is_empty(), "{other}: {found:?}");
    }
}

#[test]
fn names_of_files() {
    let check = |name: &str, file_name: &str, paths: &[&str]| {
        let mapping = mapping(name);
        assert_eq!(mapping.file_name(), file_name.as_bytes(), "{name}");
        let paths: Vec<&[u8]> = paths.iter().map(|path| path.as_bytes()).collect();
        assert_eq!(mapping.paths(), paths, "{name}");
    };
    check("/usr/lib/libc.so.6", "libc.so.6", &["/usr/lib/libc.so.6"]);
    check("/with space/b c", "b c", &["/with space/b c"]);
    check("/a (deleted)", "a", &["/a (deleted)", "/a"]);
    // The kernel's remark, and a name that is the same.
    check(
        "/a (deleted) (deleted)",
        "a (deleted)",
        &["/a (deleted) (deleted)", "/a (deleted)"],
    );
    check("/x/a\\012b", "a\\012b", &["/x/a\\012b", "/x/a\nb"]);
    check(
        "/\\012 (deleted)",
        "\\012",
        &["/\\012 (deleted)", "/\n (deleted)", "/\\012", "/\n"],
    );
    check("/\\01\\0122", "\\01\\0122", &["/\\01\\0122", "/\\01\n2"]);
    check(
        "/memfd:x (deleted)",
        "memfd:x",
        &["/memfd:x (deleted)", "/memfd:x"],
    );
}

#[test]
fn offsets_in_files() {
    let one = mapping("/a");
    assert_eq!(one.offset_of(0x1000), 0x2000);
    assert_eq!(one.offset_of(0x2fff), 0x3fff);
    assert_eq!(one.offset_of(0), 0x2000);
    let last = Mapping {
        offset: u64::MAX,
        ..one.clone()
    };
    assert_eq!(last.offset_of(0x1001), u64::MAX);
    assert!(one.is_same_file(&last));
    assert!(!one.is_same_file(&Mapping { inode: 25, ..last }));
}

#[test]
fn a_line_without_an_end_is_not_there_yet() {
    let list = b"1000-2000 r-xp 0 fe:01 24 /a\n2000-3000 r-xp 0 fe:01 25 /b";
    assert_eq!(all(&list[..]).len(), 1);
    let ended = [&list[..], b"\n"].concat();
    assert_eq!(all(&ended[..]).len(), 2);
}

#[test]
fn long_lines_are_cut_and_lists_without_end_take_no_more_memory() {
    for length in [LINE_BYTES - 100, LINE_BYTES, BUFFER_BYTES, 5 * BUFFER_BYTES] {
        let line = format!("1000-2000 r-xp 0 fe:01 24 /{}", "x".repeat(length));
        let list = format!("{line}\n2000-3000 r-xp 0 fe:01 25 /b\n");
        for pieces in [&[usize::MAX][..], &[1_000], &[BUFFER_BYTES - 7, 3]] {
            let found = all(Torn::new(list.as_bytes(), pieces));
            let is_cut = line.len() > LINE_BYTES;
            assert_eq!(found[0].is_cut, is_cut, "{length}");
            let kept = line.len().min(LINE_BYTES) - "1000-2000 r-xp 0 fe:01 24 ".len();
            assert_eq!(found[0].name.len(), kept, "{length}");
            assert_eq!((&*found[1].name, found[1].is_cut), (&b"/b"[..], false));
            assert_eq!(found.len(), 2);
        }
    }
    let mut endless = Reader::new(io::repeat(b'x').take(1 << 24));
    endless.for_each(|mapping| panic!("{mapping:?}")).unwrap();
    assert_eq!(endless.buffer.len(), BUFFER_BYTES);
}

#[test]
fn breaking_off_ends_it() {
    let list = b"1000-2000 r-xp 0 fe:01 24 /a\n2000-3000 r-xp 0 fe:01 25 /b\n";
    let mut seen = Vec::new();
    let mut reader = Reader::new(&list[..]);
    let step = reader.step(|mapping| {
        seen.push(mapping.inode);
        ControlFlow::Break(())
    });
    assert!(step.unwrap().is_break());
    assert_eq!(seen, [24]);
}

/// The kernel's own list of this process, against what the process itself knows.
#[test]
fn this_process() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a\nb (deleted)");
    fs::write(&path, [1; 3 * 4096]).unwrap();
    let file = File::open(&path).unwrap();
    let map = || {
        let (length, offset) = (2 * 4096, 4096);
        let (protection, flags) = (libc::PROT_READ | libc::PROT_EXEC, libc::MAP_SHARED);
        let (anywhere, file) = (std::ptr::null_mut(), std::os::fd::AsRawFd::as_raw_fd(&file));
        // SAFETY: a fresh mapping that nothing else knows of.
        let start = unsafe { libc::mmap(anywhere, length, protection, flags, file, offset) };
        assert_ne!(start, libc::MAP_FAILED);
        start
    };
    let start = map();
    let address = start.expose_provenance() as u64;
    let own = || {
        let found = all(open(Path::new("/proc/self")).unwrap());
        let found = found.into_iter().find(|each| each.range.contains(&address));
        found.unwrap()
    };
    let found = own();
    assert_eq!(found.range, address..address + 2 * 4096);
    assert_eq!((&found.permissions, found.offset), (b"r-xs", 4096));
    assert_eq!(found.offset_of(address + 5), 4096 + 5);
    let metadata = std::os::unix::fs::MetadataExt::ino(&file.metadata().unwrap());
    assert_eq!(found.inode, metadata);
    let is_its = |mapping: &Mapping<'_>| {
        let path = path.as_os_str().as_encoded_bytes();
        mapping.paths().iter().any(|each| each == path)
    };
    assert!(is_its(&found), "{found:?}");
    fs::remove_file(&path).unwrap();
    let found = own();
    assert!(is_its(&found), "{found:?}");
    assert_eq!(found.file_name(), b"a\\012b (deleted)");
    // SAFETY: the mapping made above, which nobody uses.
    unsafe { libc::munmap(start, 2 * 4096) };
    let names: Vec<_> = all(open(Path::new("/proc/self")).unwrap())
        .into_iter()
        .map(|mapping| mapping.name)
        .collect();
    for name in [&b"[heap]"[..], b"[stack]", b"[vdso]"] {
        assert!(names.iter().any(|each| **each == *name), "{names:?}");
    }
}

proptest! {
    #[test]
    fn any_bytes_are_a_list(bytes: Vec<u8>, pieces in prop::collection::vec(1..300_usize, 1..5)) {
        let whole = all(&bytes[..]);
        prop_assert_eq!(&whole, &all(Torn::new(&bytes, &pieces)));
        for mapping in whole {
            prop_assert!(!mapping.range.is_empty());
        }
    }

    #[test]
    fn any_fields_are_a_list(
        fields in "([0-9a-f]{0,17}-?[0-9a-f]{0,17} r-xp [:0-9 /a-f\\\\()]{0,40}\n){0,5}",
    ) {
        for mapping in all(fields.as_bytes()) {
            prop_assert!(!mapping.range.is_empty());
            prop_assert!(mapping.paths().len() <= 4);
            prop_assert!(mapping.name.ends_with(mapping.file_name()) || mapping.name.ends_with(DELETED));
        }
    }

    /// What is written as the kernel writes it is read, however it is torn.
    #[test]
    fn what_the_kernel_writes_is_read(
        list in prop::collection::vec(any_mapping(), 0..20),
        pieces in prop::collection::vec(1..5_000_usize, 1..5),
    ) {
        let text: Vec<u8> = list.iter().flat_map(written).collect();
        prop_assert_eq!(all(Torn::new(&text, &pieces)), list);
    }

    #[test]
    fn a_path_is_among_those_that_its_text_stands_for(
        path in "/[a\n\\\\012 ]{0,12}( \\(deleted\\)){0,2}",
        is_deleted: bool,
    ) {
        let mut name = path.replace('\n', "\\012");
        if is_deleted {
            name.push_str(" (deleted)");
        }
        // Unless the name has both what stands for a line end and one: that is not told apart.
        prop_assume!(!(path.contains('\n') && path.contains("\\012")));
        prop_assert!(mapping(&name).paths().contains(&path.into_bytes()));
    }
}

fn any_mapping() -> impl Strategy<Value = Mapping<'static>> {
    let name = prop_oneof![
        Just(Vec::new()),
        "\\[(heap|stack|vdso|anon:[a-z ]{1,9})\\]".prop_map(String::into_bytes),
        prop::collection::vec(any::<u8>(), 0..200).prop_map(|mut path| {
            path.retain(|byte| *byte != b'\n');
            path.insert(0, b'/');
            path
        }),
    ];
    let range = (any::<u64>(), 1..=u64::MAX).prop_map(|(start, length)| {
        let end = start.saturating_add(length);
        start.min(end - 1)..end
    });
    let file = (any::<u64>(), 0..1_u32 << 12, 0..1_u32 << 20, any::<u64>());
    (range, "[r-][w-][x-][ps]", file, name).prop_map(|(range, permissions, file, name)| Mapping {
        range,
        permissions: permissions.into_bytes().try_into().unwrap(),
        offset: file.0,
        device: libc::makedev(file.1, file.2),
        inode: file.3,
        name: Cow::Owned(name),
        is_cut: false,
    })
}

/// As in the kernel's `show_map_vma`.
fn written(mapping: &Mapping<'_>) -> Vec<u8> {
    let Range { start, end } = mapping.range;
    let permissions = str::from_utf8(&mapping.permissions).unwrap();
    let (major, minor) = (libc::major(mapping.device), libc::minor(mapping.device));
    let (offset, inode) = (mapping.offset, mapping.inode);
    let head = format!(
        "{start:08x}-{end:08x} {permissions} {offset:08x} {major:02x}:{minor:02x} {inode} "
    );
    let mut line = head.into_bytes();
    if !mapping.name.is_empty() {
        line.resize(line.len().max(73), b' ');
        line.extend_from_slice(&mapping.name);
    }
    line.push(b'\n');
    line
}
