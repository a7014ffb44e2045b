//! What a record of the kernel's says of a mapping. Knows nothing of rings.

use super::MappedFile;

/// `PERF_RECORD_LOST` and `PERF_RECORD_MMAP2` of the kernel's `include/uapi/linux/perf_event.h`.
pub(super) const LOST: u32 = 2;
pub(super) const MAPPED: u32 = 10;

/// Where the path begins; what is before it has always the same places.
const PATH: usize = 64;

/// What a file name is marked with that is deleted.
const DELETED: &[u8] = b" (deleted)";

/// A file that a process has mapped to execute it.
#[derive(Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// The process.
    pub pid: u32,
    /// The file.
    pub file: MappedFile,
    /// When, on the monotonic clock.
    pub at_ns: u64,
    /// As the process sees it, maybe with the kernel's remark that it was deleted.
    pub path: &'a [u8],
}

impl<'a> Record<'a> {
    /// The last part of the path, without the remark.
    pub fn file_name(&self) -> &'a [u8] {
        let path = self.path.strip_suffix(DELETED).unwrap_or(self.path);
        let start = path.iter().rposition(|byte| *byte == b'/');
        &path[start.map_or(0, |slash| slash + 1)..]
    }
}

/// The mapping that a record tells of, which is here without its head. `None` if it is of no file.
pub(super) fn mapped(body: &[u8]) -> Option<Record<'_>> {
    let inode = number(body, 40)?;
    if inode == 0 {
        return None;
    }
    let half = |at| u32::try_from(number(body, at)? & u64::from(u32::MAX)).ok();
    // Behind the path, and zeros up to a multiple of eight bytes, is the time.
    let (path, time) = body.get(PATH..)?.split_last_chunk::<8>()?;
    let end = path.iter().position(|byte| *byte == 0);
    Some(Record {
        pid: half(0)?,
        file: MappedFile {
            device: libc::makedev(half(32)?, half(36)?),
            inode,
        },
        at_ns: u64::from_ne_bytes(*time),
        path: &path[..end.unwrap_or(path.len())],
    })
}

/// How many records there was no room for.
pub(super) fn lost(body: &[u8]) -> u64 {
    // At least one, whatever it says.
    number(body, 8).unwrap_or(1).max(1)
}

fn number(body: &[u8], at: usize) -> Option<u64> {
    let bytes = body.get(at..)?.first_chunk::<8>()?;
    Some(u64::from_ne_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn body(inode: u64, path: &[u8]) -> Vec<u8> {
        let mut body = Vec::new();
        for half in [7_u32, 8] {
            body.extend(half.to_ne_bytes());
        }
        body.extend([0; 24]);
        for half in [8_u32, 3] {
            body.extend(half.to_ne_bytes());
        }
        body.extend(inode.to_ne_bytes());
        body.extend([0; 16]);
        body.extend(path);
        body.push(0);
        body.resize(body.len().next_multiple_of(8), 0);
        body.extend(99_u64.to_ne_bytes());
        body
    }

    #[test]
    fn records_of_mappings() {
        let check = |path: &[u8], name: &[u8]| {
            let body = body(12, path);
            let want = Record {
                pid: 7,
                file: MappedFile {
                    device: libc::makedev(8, 3),
                    inode: 12,
                },
                at_ns: 99,
                path,
            };
            let record = mapped(&body).unwrap();
            assert_eq!(record, want);
            assert_eq!(record.file_name(), name);
        };
        check(b"/usr/lib/libcuda.so.1", b"libcuda.so.1");
        check(b"/a/libcuda.so.1 (deleted)", b"libcuda.so.1");
        check(b"/a/b\nc\xff", b"b\nc\xff");
        check(b"name", b"name");
        check(b"", b"");
        assert_eq!(mapped(&body(0, b"//anon")), None);
        assert_eq!(mapped(&[1; 70]), None);
        assert_eq!(lost(&[5; 16]), u64::from_ne_bytes([5; 8]));
        assert_eq!(lost(&[0; 16]), 1);
        assert_eq!(lost(&[]), 1);
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_record_or_none(bytes: Vec<u8>) {
            mapped(&bytes);
            lost(&bytes);
        }
    }
}
