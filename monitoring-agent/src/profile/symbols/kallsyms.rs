//! The kernel's own symbols, its modules' and those of BPF programs. `/proc/kallsyms` is read past
//! the addresses that are asked for and never kept: it is 10 MB.

use std::{fs, io::Read};

use super::{
    lines::Lines,
    nearest::{Nearest, Symbol},
    notes,
};

/// Longest line: names of functions have up to 512 characters, those of modules 56.
const LINE_BYTES: usize = 1024;

/// Most lines of which notice is taken; a kernel with all modules has some hundred thousand.
const MAX_LINES: usize = 4 * 1024 * 1024;

/// What is known of an address of the kernel's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Known {
    /// All addresses from here, inclusive …
    pub(super) start: u64,
    /// … to here, exclusive, have the same answer.
    pub(super) end: u64,
    /// The symbol; empty if there is none.
    pub(super) name: String,
    /// The module that it is in; empty for the kernel itself.
    pub(super) module: String,
}

/// Looks addresses up, which are in ascending order, in the kernel's list.
pub(super) fn look_up(list: impl Read, addresses: &[u64]) -> Vec<Known> {
    let mut nearest = Nearest::new(addresses);
    // Of each address the last symbol before it, which is all that is kept of the list.
    let mut names: Vec<Option<(u64, String)>> = vec![None; addresses.len()];
    let mut lines = Lines::new(list, LINE_BYTES);
    for _ in 0..MAX_LINES {
        let Some(line) = lines.next() else {
            break;
        };
        let Some((start, name)) = symbol(line) else {
            continue;
        };
        nearest.add(&Symbol {
            start,
            length: 0,
            name: 0,
            rank: 0,
        });
        let behind = addresses.partition_point(|address| *address < start);
        if let Some(best) = names.get_mut(behind)
            && best.as_ref().is_none_or(|(other, _)| *other < start)
        {
            *best = Some((start, name.to_owned()));
        }
    }
    let answers = nearest.answers(0, |_| None);
    let mut before: Option<(u64, String)> = None;
    let each = answers.into_iter().zip(names);
    each.map(|(answer, name)| {
        if let Some(name) = name
            && before.as_ref().is_none_or(|last| last.0 < name.0)
        {
            before = Some(name);
        }
        let found = before.as_ref().filter(|last| last.0 >= answer.start);
        let text = found.map_or("", |found| &found.1);
        let (name, module) = text.split_once('\t').unwrap_or((text, ""));
        let module = module.trim_start_matches('[').trim_end_matches(']');
        Known {
            start: answer.start,
            end: answer.end,
            name: name.to_owned(),
            module: module.to_owned(),
        }
    })
    .collect()
}

/// `ffffffff81000080 T entry_SYSCALL_64`, and behind it `\t[module]`. Of code only; 0 is what those
/// are told that may not know.
fn symbol(line: &[u8]) -> Option<(u64, &str)> {
    let line = std::str::from_utf8(line).ok()?;
    let (address, rest) = line.split_once(' ')?;
    let (kind, name) = rest.split_once(' ')?;
    let address = u64::from_str_radix(address, 16).ok()?;
    let is_code = matches!(kind, "t" | "T" | "w" | "W");
    (is_code && address != 0).then_some((address, name))
}

/// The build id of the kernel, or of a module; empty if it tells none.
pub(super) fn build_id(module: &str) -> String {
    let path = match module {
        "" => "/sys/kernel/notes".to_owned(),
        _ => format!("/sys/module/{module}/notes/.note.gnu.build-id"),
    };
    let notes = fs::read(path).unwrap_or_default();
    notes::build_id(&notes).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn addresses_belong_to_the_code_before_them() {
        let list = b"0000000000000000 A fixed_percpu_data\n\
            0000000000001000 T _text\n0000000000001000 T startup\n0000000000001080 t inner\n\
            0000000000001090 D data\n0000000000009000 t late\t[nvidia]\nnonsense\n\
            0000000000005000 T other\t[ext4]\n0000000000006000 T last\n0000000000005010 T torn";
        let known = look_up(&list[..], &[0x10, 0x1000, 0x1085, 0x1095, 0x5001, 0x9001]);
        let check = |place: usize, want: (u64, u64, &str, &str)| {
            let known = &known[place];
            let found = (known.start, known.end, &*known.name, &*known.module);
            assert_eq!(found, want);
        };
        check(0, (0, 0x1000, "", ""));
        check(1, (0x1000, 0x1080, "_text", ""));
        check(2, (0x1080, 0x5000, "inner", ""));
        check(3, (0x1080, 0x5000, "inner", ""));
        check(4, (0x5000, 0x6000, "other", "ext4"));
        check(5, (0x9000, 0x9000 + 1024 * 1024, "late", "nvidia"));
    }

    #[test]
    fn the_running_kernel_is_known() {
        let list = || fs::File::open("/proc/kallsyms").unwrap();
        let mut text = String::new();
        list().read_to_string(&mut text).unwrap();
        let line = text.lines().find(|line| {
            line.ends_with(" T do_sys_openat2") || line.ends_with(" t do_sys_openat2")
        });
        let address = u64::from_str_radix(line.unwrap().split(' ').next().unwrap(), 16).unwrap();
        assert_ne!(address, 0, "the test needs root");
        let known = look_up(list(), &[address + 3]);
        assert_eq!(
            (&*known[0].name, known[0].start),
            ("do_sys_openat2", address)
        );
        assert!(build_id("").len() >= 16);
        assert_eq!(build_id("no such module"), "");
    }

    proptest! {
        #[test]
        fn any_list_is_survived(list: Vec<u8>, mut addresses: Vec<u64>) {
            addresses.sort_unstable();
            prop_assert_eq!(look_up(&list[..], &addresses).len(), addresses.len());
        }
    }
}
