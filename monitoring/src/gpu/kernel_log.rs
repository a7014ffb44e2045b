//! The lines of the kernel's log in which NVIDIA's driver tells of critical errors, and of the
//! processes that caused them. NVML tells everything but the process.
//!
//! Knows nothing of NVML. Where the log may not be read, there is none.

use std::{
    fs::{File, OpenOptions},
    io::{ErrorKind, Read, Seek, SeekFrom},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

/// The kernel's records are at most so long.
const MOST_RECORD: usize = 8192;
/// As many records are read at once: what is left is read next time.
const MOST_RECORDS: usize = 1024;

/// A line about a critical error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct KernelLine {
    /// Domain, bus and device of the PCI address.
    pub(super) pci: (u32, u8, u8),
    /// The GPU instance, and the compute instance if it is told.
    pub(super) mig: Option<(u32, Option<u32>)>,
    pub(super) xid: u64,
    pub(super) pid: Option<u32>,
    pub(super) process: Option<String>,
}

/// The log from when it was opened.
#[derive(Debug)]
pub(super) struct KernelLog(File);

impl KernelLog {
    /// `None` where it may not be read.
    pub(super) fn open() -> Option<Self> {
        Self::open_at(Path::new("/dev/kmsg"))
    }

    fn open_at(path: &Path) -> Option<Self> {
        let mut options = OpenOptions::new();
        let mut file = options
            .read(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(path)
            .ok()?;
        file.seek(SeekFrom::End(0)).ok()?;
        Some(Self(file))
    }

    /// The lines about critical errors that have come. Does not wait. One read is one record.
    pub(super) fn read(&mut self) -> Vec<KernelLine> {
        let mut record = [0; MOST_RECORD];
        let mut lines = Vec::new();
        for _ in 0..MOST_RECORDS {
            match self.0.read(&mut record) {
                Ok(0) => break,
                Ok(length) => {
                    let text = String::from_utf8_lossy(&record[..length]);
                    lines.extend(text.lines().filter_map(parse));
                }
                // Records that were overwritten before they were read: the next one is there.
                Err(error) if error.raw_os_error() == Some(libc::EPIPE) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        lines
    }
}

/// Reads `NVRM: Xid (PCI:0000:3b:00): 31, pid=1234, name=python3, …`. Older drivers have no name,
/// or no pid, or say that it is unknown. On a divided GPU ` GPU-I:03 GPU-CI:00`, or the first of
/// the two alone, stands behind the address.
fn parse(line: &str) -> Option<KernelLine> {
    let (_, rest) = line.split_once("NVRM: Xid (PCI:")?;
    let (place, rest) = rest.split_once("): ")?;
    let mut place = place.split(' ');
    let address = place.next()?;
    let mut instance = |prefix| place.next()?.strip_prefix(prefix)?.parse().ok();
    let gpu_instance = instance("GPU-I:");
    let compute_instance = instance("GPU-CI:");
    let end = rest
        .find(|character: char| !character.is_ascii_digit())
        .unwrap_or(rest.len());
    let (xid, rest) = rest.split_at(end);
    let mut words = rest.split(',').map(str::trim);
    let pid = words.clone().find_map(|word| word.strip_prefix("pid="));
    let process = words.find_map(|word| word.strip_prefix("name="));
    let known = |text: &&str| !text.is_empty() && !text.contains("<unknown>");
    Some(KernelLine {
        pci: pci_address(address)?,
        mig: gpu_instance.map(|id| (id, compute_instance)),
        xid: xid.parse().ok()?,
        pid: pid.and_then(|pid| pid.trim_matches('\'').parse().ok()),
        process: process.filter(known).map(str::to_owned),
    })
}

/// Domain, bus and device of `00000000:3B:00.0`, `0000:3b:00` or `0000:3b:00.0`.
pub(super) fn pci_address(text: &str) -> Option<(u32, u8, u8)> {
    let mut parts = text.split(':');
    let domain = u32::from_str_radix(parts.next()?, 16).ok()?;
    let bus = u8::from_str_radix(parts.next()?, 16).ok()?;
    let device = parts.next()?.split('.').next()?;
    let device = u8::from_str_radix(device, 16).ok()?;
    parts.next().is_none().then_some((domain, bus, device))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lines_of_several_drivers() {
        let check = |line: &str, want: Option<(u64, Option<u32>, Option<&str>)>| {
            let want = want.map(|(xid, pid, process)| KernelLine {
                pci: (0, 0x3b, 0),
                mig: None,
                xid,
                pid,
                process: process.map(Into::into),
            });
            assert_eq!(parse(line), want, "{line}");
        };
        let named = "4,1,2,-;NVRM: Xid (PCI:0000:3b:00): 31, pid=1234, name=python3, Ch 00000008";
        check(named, Some((31, Some(1234), Some("python3"))));
        check(
            "NVRM: Xid (PCI:0000:3b:00): 13, pid=77, Graphics SM",
            Some((13, Some(77), None)),
        );
        check(
            "NVRM: Xid (PCI:0000:3b:00): 79, GPU has fallen off",
            Some((79, None, None)),
        );
        let unknown = "NVRM: Xid (PCI:0000:3b:00): 79, pid='<unknown>', name=<unknown>, GPU";
        check(unknown, Some((79, None, None)));
        check(
            "NVRM: Xid (PCI:0000:3b:00): 45, pid='12', name=a b",
            Some((45, Some(12), Some("a b"))),
        );
        check("NVRM: Xid (PCI:0000:3b:00): 8", Some((8, None, None)));
        for line in [
            "",
            "NVRM: GPU at PCI:0000:3b:00: GPU-1",
            "NVRM: Xid (PCI:0000:3b:00): none",
            "NVRM: Xid (PCI:0000:3b): 31, pid=1",
            "NVRM: Xid (PCI:0000:3b:00",
            "NVRM: Xid (PCI:0000:3b:00): 99999999999999999999999",
        ] {
            check(line, None);
        }
    }

    #[test]
    fn instances_of_a_divided_gpu() {
        let check = |place: &str, mig| {
            let line = format!("NVRM: Xid (PCI:0000:3b:00{place}): 31, pid=7, name=python3, Ch 8");
            let want = KernelLine {
                pci: (0, 0x3b, 0),
                mig,
                xid: 31,
                pid: Some(7),
                process: Some("python3".into()),
            };
            assert_eq!(parse(&line), Some(want), "{line}");
        };
        check(" GPU-I:03 GPU-CI:01", Some((3, Some(1))));
        check(" GPU-I:12 GPU-CI:00", Some((12, Some(0))));
        check(" GPU-I:03", Some((3, None)));
        check("", None);
        check(" GPU-I:", None);
        check(" something else", None);
    }

    #[test]
    fn addresses() {
        for text in ["00000000:3B:00.0", "0000:3b:00", "0000:3b:00.0"] {
            assert_eq!(pci_address(text), Some((0, 0x3b, 0)));
        }
        assert_eq!(pci_address("00010000:0A:1f.0"), Some((0x10000, 0x0a, 0x1f)));
        for text in ["", "0", "0:1", "0:1:2:3", "0:100:0", "x:y:z", "::"] {
            assert_eq!(pci_address(text), None, "{text}");
        }
    }

    #[test]
    fn only_what_comes_after_the_opening_is_read() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        writeln!(file, "NVRM: Xid (PCI:0000:3b:00): 1, pid=1").unwrap();
        let mut log = KernelLog::open_at(file.path()).unwrap();
        assert_eq!(log.read(), []);
        writeln!(file, "hello\nNVRM: Xid (PCI:0000:3b:00): 2, pid=5").unwrap();
        let lines = log.read();
        assert_eq!((lines.len(), lines[0].xid, lines[0].pid), (1, 2, Some(5)));
        assert_eq!(log.read(), []);
        assert!(KernelLog::open_at(Path::new("/does/not/exist")).is_none());
    }

    proptest! {
        #[test]
        fn any_text_is_read(line in "\\PC*") {
            parse(&line);
            pci_address(&line);
        }

        #[test]
        fn anything_behind_the_beginning_is_read(rest in "[0-9a-f:,)(= pidnameGPUCI'<>-]*") {
            parse(&format!("NVRM: Xid (PCI:{rest}"));
        }

        #[test]
        fn what_is_written_is_read(
            domain in 0_u32..0xffff, bus: u8, device in 0_u8..32, xid: u32, pid: u32,
            name in "[a-z][a-z0-9 _.:-]{0,13}[a-z]",
            mig in proptest::option::of((0_u32..15, proptest::option::of(0_u32..8))),
        ) {
            let place = match mig {
                Some((id, Some(part))) => format!(" GPU-I:{id:02} GPU-CI:{part:02}"),
                Some((id, None)) => format!(" GPU-I:{id:02}"),
                None => String::new(),
            };
            let line = format!(
                "NVRM: Xid (PCI:{domain:04x}:{bus:02x}:{device:02x}{place}): {xid}, pid={pid}, \
                 name={name}, x"
            );
            let want = KernelLine {
                pci: (domain, bus, device),
                mig,
                xid: xid.into(),
                pid: Some(pid),
                process: Some(name),
            };
            prop_assert_eq!(parse(&line), Some(want));
        }
    }
}
