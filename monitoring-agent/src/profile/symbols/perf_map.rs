//! What a just-in-time compiler says of the code that it wrote: `/tmp/perf-PID.map`, lines of start,
//! length and name. Read past the addresses that are asked for, and never kept. Anyone may write such
//! a file, of any length.

use std::{
    ffi::OsString,
    fs::{self, File},
    io::{self, Read},
    mem,
    os::unix::fs::MetadataExt as _,
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};

use procfs::process::Process;

use super::lines::Lines;
use crate::{clock::since_boot, profile::mappings::opening};

/// Longest line. Names of Java's methods have their parameters' types with them.
const LINE_BYTES: usize = 4096;

/// Most of a file that is read: of what is written last in a longer one, nothing is known.
const MAX_BYTES: u64 = 256 * 1024 * 1024;

/// Most names that are kept on the way, each of which another one may replace. A list may say of each
/// address that it belongs to millions of functions.
const MAX_STEPS: usize = 4 * 1024 * 1024;

/// How much later than a list its process may seem to have started: the clocks that date the two are
/// coarse, and one of them is set to the right time now and then. Where it is set forward by more, a
/// list that nobody has written to since is not believed.
const SLACK: Duration = Duration::from_secs(2);

/// Which file it is, and in what state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct State {
    device: u64,
    inode: u64,
    length: u64,
    /// Whose the process is or was, if it was ever seen alive.
    pub(super) user: Option<u32>,
}

/// Opens the list of a process. Of one that has ended `user` is whose it was; where that is not known,
/// the list is believed whoever wrote it: it is asked for once, soon after the end. May wait without
/// end.
pub(super) fn open(pid: u32, user: Option<u32>) -> io::Result<(File, State)> {
    let process = format!("/proc/{pid}");
    let status = fs::read_to_string(format!("{process}/status"));
    let Ok(status) = status else {
        // It has ended; what it wrote may still be there.
        let path = OsString::from(format!("/tmp/perf-{pid}.map"));
        return stated(opening::in_view_of(std::process::id(), &path)?, user);
    };
    let age = age(pid);
    let (number, user) = inside(&status).ok_or(io::ErrorKind::InvalidData)?;
    let mut error = io::ErrorKind::NotFound.into();
    // In its own view of the file system, by the number that it knows itself by, then by ours.
    for number in [number, pid] {
        let path = OsString::from(format!("/tmp/perf-{number}.map"));
        match opening::in_view_of(pid, &path).and_then(|file| stated(file, Some(user))) {
            // Another process had the number before, and wrote it.
            Ok((list, _)) if age.is_some_and(|age| is_older(&list, age)) => {}
            Ok(found) => return Ok(found),
            Err(other) => error = other,
        }
    }
    Err(error)
}

/// Whether there is such a process.
pub(super) fn is_alive(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

/// How long ago a process has started.
fn age(pid: u32) -> Option<Duration> {
    let process = Process::new(pid.try_into().ok()?).ok()?;
    let ticks = process.stat().ok()?.starttime;
    let per_second = procfs::ticks_per_second().max(1);
    let started = Duration::from_millis(ticks.saturating_mul(1000) / per_second);
    Some(since_boot().saturating_sub(started))
}

/// Whether nothing was written to a file for so long, and some time before.
fn is_older(file: &File, age: Duration) -> bool {
    let modified = file.metadata().and_then(|inode| inode.modified());
    modified.is_ok_and(|modified| {
        let ago = SystemTime::now().duration_since(modified);
        ago.is_ok_and(|ago| ago > age + SLACK)
    })
}

fn stated(file: File, user: Option<u32>) -> io::Result<(File, State)> {
    let inode = file.metadata()?;
    // Other users could lie about a process.
    if user.is_some_and(|user| inode.uid() != user && inode.uid() != 0) {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    let state = State {
        device: inode.dev(),
        inode: inode.ino(),
        length: inode.len(),
        user,
    };
    Ok((file, state))
}

/// The number that a process has in its own namespace, and its user.
fn inside(status: &str) -> Option<(u32, u32)> {
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name));
    let number = field("NSpid:")?.split_whitespace().next_back()?;
    let user = field("Uid:")?.split_whitespace().nth(1)?;
    Some((number.parse().ok()?, user.parse().ok()?))
}

/// What a list says of an address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Said<T> {
    #[default]
    Nothing,
    /// One name for all addresses of a line.
    Name(T),
    /// A name for which there is no room.
    TooMuch,
}

/// Looks addresses up, which are in ascending order. What is written last holds: memory is used again.
/// Names that hold take at most `room` bytes at a time.
pub(super) fn look_up(list: impl Read, addresses: &[u64], room: usize) -> Vec<Said<Arc<[u8]>>> {
    let mut names: Vec<Said<Arc<[u8]>>> = vec![Said::Nothing; addresses.len()];
    let mut taken = 0;
    let mut lines = Lines::new(list.take(MAX_BYTES), LINE_BYTES);
    let mut steps = 0;
    while let Some(line) = lines.next() {
        let Some((start, length, name)) = entry(line) else {
            continue;
        };
        let end = start.saturating_add(length);
        let from = addresses.partition_point(|address| *address < start);
        let to = addresses.partition_point(|address| *address < end);
        let within = names.get_mut(from..to).unwrap_or_default();
        steps += within.len();
        for best in &mut *within {
            if let Said::Name(replaced) = mem::take(best)
                && Arc::strong_count(&replaced) == 1
            {
                taken -= replaced.len();
            }
        }
        if !within.is_empty() {
            let is_room = taken + name.len() <= room;
            taken += if is_room { name.len() } else { 0 };
            within.fill(if is_room {
                Said::Name(name.into())
            } else {
                Said::TooMuch
            });
        }
        if steps > MAX_STEPS {
            break;
        }
    }
    names
}

/// `7f3a00001000 40 LazyCompile:~work file.js:3`.
fn entry(line: &[u8]) -> Option<(u64, u64, &[u8])> {
    let mut parts = line.splitn(3, |byte| *byte == b' ');
    let mut number = || {
        let digits = std::str::from_utf8(parts.next()?).ok()?;
        u64::from_str_radix(digits.trim_start_matches("0x"), 16).ok()
    };
    let (start, length) = (number()?, number()?);
    let name = parts.next()?.trim_ascii();
    (!name.is_empty()).then_some((start, length, name))
}

#[cfg(test)]
mod tests {
    use std::{
        os::unix::fs::chown,
        process::{Command, Stdio},
    };

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lists_of_another_process_are_refused() {
        let mut command = Command::new("cat");
        let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
        let pid = child.id();
        let path = format!("/tmp/perf-{pid}.map");
        fs::write(&path, "1000 100 first\n").unwrap();
        let list = File::options().append(true).open(&path).unwrap();
        let (_, state) = open(pid, None).unwrap();
        // One that had the same number before has written it.
        let hour = Duration::from_hours(1);
        list.set_modified(SystemTime::now() - hour).unwrap();
        assert!(open(pid, None).is_err());
        list.set_modified(SystemTime::now()).unwrap();
        assert_eq!(open(pid, None).unwrap().1, state);
        child.kill().unwrap();
        child.wait().unwrap();
        // Since it has ended, another user has.
        assert_eq!(open(pid, state.user).unwrap().1, state);
        chown(&path, Some(12345), None).unwrap();
        assert!(open(pid, state.user).is_err());
        assert!(open(pid, None).is_ok());
        fs::remove_file(&path).unwrap();
    }

    #[test]
    fn the_last_line_about_an_address_holds() {
        let list = b"1000 10 first one\n0x1010 0x20 second\nnonsense\n1008 10 third\n2000 10 \n2000 10 torn";
        let names = look_up(
            &list[..],
            &[0xfff, 0x1000, 0x1007, 0x1008, 0x1017, 0x1018, 0x2000],
            usize::MAX,
        );
        let nothing = Said::Nothing;
        let [first, second, third] = ["first one", "second", "third"].map(said);
        let want = [&nothing, &first, &first, &third, &third, &second, &nothing];
        assert_eq!(names.iter().collect::<Vec<_>>(), want);
    }

    #[test]
    fn a_name_is_kept_once_and_only_where_there_is_room() {
        let name = "n".repeat(4000);
        // A line for all addresses, one for a part of them, one more for that, and the last for half
        // of that.
        let list = format!("0 400 {name}\n100 200 {name}\n100 200 other\n100 100 {name}\n");
        let addresses: Vec<u64> = (0..0x400).collect();
        let names = look_up(list.as_bytes(), &addresses, 4005);
        let (all, other) = (said(&name), said("other"));
        assert_eq!(names[0], all);
        // For the second there was no room, until the third took its place.
        assert_eq!(names[0x200], other);
        assert_eq!(names[0x100], Said::TooMuch);
        let (Said::Name(lowest), Said::Name(highest)) = (&names[0], &names[0x3ff]) else {
            panic!("{names:?}");
        };
        assert!(Arc::ptr_eq(lowest, highest));
        // What no address has any more gives its room to others.
        let list = format!("0 400 {name}\n0 400 {name}\n0 400 other\n");
        let names = look_up(list.as_bytes(), &addresses, 4000);
        assert!(names.iter().all(|name| *name == other));
    }

    fn said(name: &str) -> Said<Arc<[u8]>> {
        Said::Name(name.as_bytes().into())
    }

    #[test]
    fn processes_have_numbers_of_their_own() {
        let check = |status: &str, want| assert_eq!(inside(status), want);
        check(
            "Name:\tnode\nUid:\t5\t6\t7\t8\nNSpid:\t300\t7\n",
            Some((7, 6)),
        );
        check("Uid:\t0\t0\t0\t0\nNSpid:\t300\n", Some((300, 0)));
        check("Name:\tnode\n", None);
        check("", None);
    }

    proptest! {
        #[test]
        fn any_list_is_survived(list: Vec<u8>, mut addresses: Vec<u64>) {
            addresses.sort_unstable();
            prop_assert_eq!(look_up(&list[..], &addresses, 100).len(), addresses.len());
        }
    }
}
