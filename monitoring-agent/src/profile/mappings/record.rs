//! What the kernel's records say of mappings and of processes' lives. Knows nothing of rings.

/// `PERF_RECORD_*` of the kernel's `include/uapi/linux/perf_event.h`.
const LOST: u32 = 2;
const COMM: u32 = 3;
const EXIT: u32 = 4;
const FORK: u32 = 7;
const MAPPED: u32 = 10;

/// `PERF_RECORD_MISC_COMM_EXEC`: the name is a new program's, not one that a thread gave itself.
const MISC_EXEC: u16 = 1 << 13;

/// Where the path begins; what is before it has always the same places.
const PATH: usize = 64;

/// What is told. Processes are numbered as the initial pid namespace does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told<'a> {
    /// A process has mapped something that may be executed.
    Mapped(Mapped<'a>),
    /// A process has begun another program: all its mappings are gone.
    Executed { pid: u32 },
    /// A process has started another one, which has what it had mapped itself.
    Forked { pid: u32, parent: u32 },
    /// A process has ended.
    Ended { pid: u32 },
    /// There was no room for so many records.
    Lost(u64),
}

/// A mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mapped<'a> {
    pub(super) pid: u32,
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) offset: u64,
    pub(super) device: libc::dev_t,
    pub(super) inode: u64,
    pub(super) generation: u64,
    /// As the kernel writes it: a path, or its word for what is no file.
    pub(super) name: &'a [u8],
}

/// A record without its head, and when it was written (monotonic clock); `None` for one that is not
/// of interest, or that is none.
pub(super) fn parse(kind: u32, misc: u16, body: &[u8]) -> Option<(u64, Told<'_>)> {
    // Behind everything is the time.
    let (rest, time) = body.split_last_chunk::<8>()?;
    let time = u64::from_ne_bytes(*time);
    let told = match kind {
        // At least one, whatever it says.
        LOST => Told::Lost(long(rest, 8).unwrap_or(1).max(1)),
        COMM if misc & MISC_EXEC != 0 => Told::Executed { pid: int(rest, 0)? },
        FORK => {
            let (pid, parent) = (int(rest, 0)?, int(rest, 4)?);
            (pid != parent).then_some(Told::Forked { pid, parent })?
        }
        // Of the thread that gave the process its number. Others may go on without it; see what
        // hears of them.
        EXIT => {
            let (pid, thread) = (int(rest, 0)?, int(rest, 8)?);
            (pid == thread).then_some(Told::Ended { pid })?
        }
        MAPPED => Told::Mapped(mapped(rest)?),
        _ => return None,
    };
    Some((time, told))
}

fn mapped(rest: &[u8]) -> Option<Mapped<'_>> {
    let name = rest.get(PATH..)?;
    // Zeros up to a multiple of eight bytes follow it.
    let end = name.iter().position(|byte| *byte == 0);
    let start = long(rest, 8)?;
    let mapped = Mapped {
        pid: int(rest, 0)?,
        start,
        end: start.checked_add(long(rest, 16)?)?,
        offset: long(rest, 24)?,
        device: libc::makedev(int(rest, 32)?, int(rest, 36)?),
        inode: long(rest, 40)?,
        generation: long(rest, 48)?,
        name: &name[..end.unwrap_or(name.len())],
    };
    (mapped.start < mapped.end).then_some(mapped)
}

fn long(body: &[u8], at: usize) -> Option<u64> {
    let bytes = body.get(at..)?.first_chunk::<8>()?;
    Some(u64::from_ne_bytes(*bytes))
}

fn int(body: &[u8], at: usize) -> Option<u32> {
    let bytes = body.get(at..)?.first_chunk::<4>()?;
    Some(u32::from_ne_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn body(ints: &[u32], rest: &[u8]) -> Vec<u8> {
        let mut body: Vec<u8> = ints.iter().flat_map(|int| int.to_ne_bytes()).collect();
        body.extend(rest);
        body.resize(body.len().next_multiple_of(8), 0);
        body.extend(99_u64.to_ne_bytes());
        body
    }

    #[test]
    fn records_of_lives() {
        let check = |kind, misc, body: Vec<u8>, want: Option<Told<'_>>| {
            let want = want.map(|told| (99, told));
            assert_eq!(parse(kind, misc, &body), want);
        };
        let comm = body(&[7, 8], b"name\0");
        check(
            COMM,
            MISC_EXEC,
            comm.clone(),
            Some(Told::Executed { pid: 7 }),
        );
        check(COMM, 0, comm, None);
        let time = 5_u64.to_ne_bytes();
        let forked = Told::Forked { pid: 8, parent: 7 };
        check(FORK, 0, body(&[8, 7, 8, 7], &time), Some(forked));
        check(FORK, 0, body(&[7, 7, 8, 7], &time), None);
        check(
            EXIT,
            0,
            body(&[7, 1, 7, 1], &time),
            Some(Told::Ended { pid: 7 }),
        );
        check(EXIT, 0, body(&[7, 1, 8, 1], &time), None);
        check(LOST, 0, body(&[0, 0, 3, 0], &[]), Some(Told::Lost(3)));
        check(LOST, 0, body(&[], &[]), Some(Told::Lost(1)));
        check(77, 0, body(&[7, 7, 7, 7], &time), None);
    }

    #[test]
    fn records_of_mappings() {
        let record = |length: u32, name: &[u8]| {
            let head = [
                7, 8, 0x1000, 0, length, 0, 0x200, 0, 8, 3, 12, 0, 4, 0, 5, 2,
            ];
            body(&head, name)
        };
        let check = |name: &[u8]| {
            let want = Mapped {
                pid: 7,
                start: 0x1000,
                end: 0x1000 + 0x500,
                offset: 0x200,
                device: libc::makedev(8, 3),
                inode: 12,
                generation: 4,
                name,
            };
            let ended = [name, b"\0"].concat();
            let record = record(0x500, &ended);
            assert_eq!(parse(MAPPED, 0, &record), Some((99, Told::Mapped(want))));
        };
        check(b"/usr/lib/libc.so.6");
        check(b"/a/b\nc\xff (deleted)");
        check(b"[vdso]");
        check(b"");
        assert_eq!(parse(MAPPED, 0, &record(0, b"/empty")), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_record_or_none(kind in 0_u32..24, misc: u16, bytes: Vec<u8>) {
            parse(kind, misc, &bytes);
        }
    }
}
