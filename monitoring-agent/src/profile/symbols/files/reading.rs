//! Reads from files what is at some of their offsets. Keeps nothing; may wait without end.

use std::{
    fs::{File, Metadata},
    io,
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    sync::Arc,
};

use super::{
    super::{
        Function, NO_ROOM,
        bytes::Bytes,
        demangle::demangled,
        elf::{self, Elf, Problem, Segment},
        source_lines,
    },
    Found, bytes_of,
};
use crate::{printable::printable, profile::mappings::FileRef};

/// Where debug information that was stripped lies, by build id.
const DEBUG_FOLDER: &str = "/usr/lib/debug/.build-id";

/// The state of a file when it was read: another one has other names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct State {
    length: u64,
    modified: (i64, i64),
}

impl State {
    fn of(inode: &Metadata) -> Self {
        Self {
            length: inode.len(),
            modified: (inode.mtime(), inode.mtime_nsec()),
        }
    }
}

/// Addresses with the same function, in the file's own view.
#[derive(Debug)]
pub(super) struct Range {
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) function: Found,
}

/// What was read of a file.
#[derive(Debug, Default)]
pub(super) struct Read {
    pub(super) state: Option<State>,
    pub(super) segments: Vec<Segment>,
    pub(super) build_id: String,
    pub(super) ranges: Vec<Range>,
    pub(super) problem: Option<&'static str>,
}

impl Read {
    /// How much memory its ranges take, about.
    pub(super) fn bytes(&self) -> usize {
        let each = self.ranges.iter().map(|range| bytes_of(&range.function));
        each.sum()
    }
}

/// What came of it.
#[derive(Debug)]
pub(super) enum Outcome {
    /// It is as it was, and nothing was missing.
    Unchanged,
    Read(Read),
    /// It could not be looked at.
    Failed(&'static str),
}

/// Names of what is at some offsets of a file, in ascending order: of all, or of those that are
/// missing if it is in the state in which others were found `before`. Those have none for which the
/// names would take more than `room` bytes. May wait without end.
pub(super) fn read(
    file: &FileRef,
    offsets: &[u64],
    before: Option<&(State, Vec<u64>)>,
    lines: bool,
    room: usize,
) -> Outcome {
    let Ok(state) = file.metadata().map(|inode| State::of(&inode)) else {
        return Outcome::Failed("no_file");
    };
    let offsets = match before {
        Some((known, missing)) if *known == state => missing,
        _ => offsets,
    };
    if offsets.is_empty() {
        return Outcome::Unchanged;
    }
    let Ok(file) = file.open() else {
        return Outcome::Failed("no_file");
    };
    // A change from now on is seen the next time.
    let mut read = Read {
        state: Some(state),
        ..Read::default()
    };
    if let Err(problem) = names(&Bytes::File(file), offsets, lines, room, &mut read) {
        read.problem = Some(reason(problem));
    }
    Outcome::Read(read)
}

pub(super) fn reason(problem: Problem) -> &'static str {
    match problem {
        Problem::Foreign => "no_program",
        Problem::Torn => "torn_file",
    }
}

/// Names of what is at some offsets of a file, and of all that has the same names, as far as they take
/// at most `room` bytes.
pub(super) fn names(
    bytes: &Bytes,
    offsets: &[u64],
    lines: bool,
    mut room: usize,
    read: &mut Read,
) -> Result<(), Problem> {
    let elf = Elf::read(bytes)?;
    read.segments.clone_from(&elf.segments);
    read.build_id.clone_from(&elf.build_id);
    let translated = offsets
        .iter()
        .filter_map(|offset| elf::address(&read.segments, *offset));
    let mut addresses: Vec<u64> = translated.collect();
    addresses.sort_unstable();
    addresses.dedup();
    let mut debug = None;
    if elf.is_stripped() {
        debug = debug_file(&elf.build_id).ok().map(Bytes::File);
    }
    let debug_elf = debug.as_ref().and_then(|debug| Elf::read(debug).ok());
    let (bytes, elf) = match (&debug, &debug_elf) {
        (Some(debug), Some(debug_elf)) => (debug, debug_elf),
        _ => (bytes, &elf),
    };
    let answers = elf.look_up(&addresses, room)?;
    if answers
        .as_ref()
        .is_some_and(|answers| answers.len() < addresses.len())
    {
        read.problem = Some(NO_ROOM);
    }
    let answers = answers.unwrap_or_default();
    addresses.truncate(answers.len());
    let lines = lines.then(|| source_lines::look_up(bytes, elf, &addresses, room).ok());
    let mut lines = lines.flatten().map(Vec::into_iter);
    for (answer, address) in answers.into_iter().zip(addresses) {
        let symbol = |name: Option<Arc<[u8]>>| name.map(|name| function(&name));
        let range = match &mut lines {
            // Each address has a line of its own.
            Some(lines) => Range {
                start: address,
                end: address + 1,
                function: lines.next().flatten().or_else(|| symbol(answer.name)),
            },
            // Addresses of one function have one answer each.
            None if read
                .ranges
                .last()
                .is_some_and(|last| last.start == answer.start) =>
            {
                continue;
            }
            None => Range {
                start: answer.start,
                end: answer.end,
                function: symbol(answer.name),
            },
        };
        let Some(left) = room.checked_sub(bytes_of(&range.function)) else {
            read.problem = Some(NO_ROOM);
            break;
        };
        room = left;
        read.ranges.push(range);
    }
    Ok(())
}

/// A function of which the symbol is known.
pub(in crate::profile::symbols) fn function(symbol: &[u8]) -> Arc<[Function]> {
    let name: Arc<str> = demangled(symbol).into();
    let system_name = match std::str::from_utf8(symbol) {
        Ok(text) if text == &*name => Arc::clone(&name),
        _ => printable(symbol, elf::NAME_BYTES).into(),
    };
    Arc::new([Function {
        name,
        system_name,
        ..Function::default()
    }])
}

fn debug_file(build_id: &str) -> io::Result<File> {
    let (folder, name) = build_id
        .split_at_checked(2)
        .ok_or(io::ErrorKind::NotFound)?;
    let file = File::options()
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(format!("{DEBUG_FOLDER}/{folder}/{name}.debug"))?;
    if !file.metadata()?.is_file() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_end_where_there_is_no_room_for_them() {
        let program = File::open(std::env::current_exe().unwrap()).unwrap();
        let bytes = Bytes::File(program);
        let length = 4 * 1024 * 1024;
        let offsets: Vec<u64> = (0..length).step_by(256).collect();
        let read = |room: usize| {
            let mut read = Read::default();
            names(&bytes, &offsets, false, room, &mut read).unwrap();
            read
        };
        let whole = read(usize::MAX);
        assert_eq!(whole.problem, None);
        let room = whole.bytes() / 2;
        let half = read(room);
        assert_eq!(half.problem, Some(NO_ROOM));
        assert!((room / 2..=room).contains(&half.bytes()), "{room}");
        let last = half.ranges.len() - 1;
        assert_eq!(half.ranges[last].function, whole.ranges[last].function);
    }
}
