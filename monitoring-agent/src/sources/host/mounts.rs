//! The kernel's mount table: which mounts there are, and which are worth asking for their space.
//! Asks none of them.

use std::{collections::HashSet, ffi::OsStr, os::unix::ffi::OsStrExt as _, path::PathBuf};

use crate::mount_table::unescape;

/// A mount, with the labels under which it is exported.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Mount {
    /// As the kernel writes it, octal escapes included: `node_exporter`'s label is the same.
    pub(super) device: String,
    pub(super) fstype: String,
    /// For people: not a path where it is not UTF-8.
    pub(super) mountpoint: String,
    /// Absolute, in the mount namespace of the table.
    pub(super) path: PathBuf,
}

/// The mounts that are exported, and the first line that cannot be read.
///
/// Each combination of labels comes once: a file system mounted twice at one place has the same
/// space in both lines, since only the upper one can be reached.
pub(super) fn parse(table: &[u8]) -> (Vec<Mount>, anyhow::Result<()>) {
    let (mut mounts, mut seen, mut result) = (Vec::new(), HashSet::new(), Ok(()));
    for line in table
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
    {
        let Some(mount) = parse_mount(line) else {
            let line = String::from_utf8_lossy(line);
            result = result.and(Err(anyhow::anyhow!("mounts: {line:?}")));
            continue;
        };
        if !is_excluded(&mount) && seen.insert(labels(&mount)) {
            mounts.push(mount);
        }
    }
    (mounts, result)
}

/// Mount points that differ in bytes that are not UTF-8 have the same label.
fn labels(mount: &Mount) -> (String, String, String) {
    (
        mount.device.clone(),
        mount.fstype.clone(),
        mount.mountpoint.clone(),
    )
}

fn parse_mount(line: &[u8]) -> Option<Mount> {
    // Split at each space: the device may be empty.
    let mut fields = line.split(|byte| *byte == b' ');
    let (device, path, fstype) = (fields.next()?, unescape(fields.next()?), fields.next()?);
    // A torn line ends within the type or before the options.
    fields.next()?;
    if path.first() != Some(&b'/') || fstype.is_empty() {
        return None;
    }
    Some(Mount {
        device: String::from_utf8_lossy(device).into_owned(),
        fstype: String::from_utf8_lossy(fstype).into_owned(),
        mountpoint: String::from_utf8_lossy(&path).into_owned(),
        path: OsStr::from_bytes(&path).into(),
    })
}

/// Types that hold no data of their own, and container layers; `node_exporter` 1.5's default.
const EXCLUDED_TYPES: [&str; 24] = [
    "autofs",
    "binfmt_misc",
    "bpf",
    "cgroup",
    "cgroup2",
    "configfs",
    "debugfs",
    "devpts",
    "devtmpfs",
    "fusectl",
    "hugetlbfs",
    "iso9660",
    "mqueue",
    "nsfs",
    "overlay",
    "proc",
    "procfs",
    "pstore",
    "rpc_pipefs",
    "securityfs",
    "selinuxfs",
    "squashfs",
    "sysfs",
    "tracefs",
];

/// Everything at and below these.
const EXCLUDED_TREES: [&str; 3] = ["/dev", "/proc", "/sys"];

/// Everything below these, but not what is mounted there itself.
const EXCLUDED_CONTENTS: [&str; 3] = [
    "/run/credentials/",
    "/var/lib/docker/",
    "/var/lib/containers/storage/",
];

/// By type or place, as by `node_exporter` 1.5's default.
fn is_excluded(mount: &Mount) -> bool {
    let place = mount.mountpoint.as_str();
    let in_tree = |tree: &&str| {
        place
            .strip_prefix(*tree)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    let in_contents = |parent: &&str| {
        place
            .strip_prefix(*parent)
            .is_some_and(|rest| !rest.is_empty())
    };
    EXCLUDED_TYPES.contains(&mount.fstype.as_str())
        || EXCLUDED_TREES.iter().any(in_tree)
        || EXCLUDED_CONTENTS.iter().any(in_contents)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lines() {
        let check = |table: &[u8], want: &[(&str, &str, &str)], whole: bool| {
            let (mounts, result) = parse(table);
            let read: Vec<_> = mounts
                .iter()
                .map(|mount| (&*mount.device, &*mount.fstype, &*mount.mountpoint))
                .collect();
            assert_eq!(read, want, "{}", table.escape_ascii());
            assert_eq!(
                result.is_ok(),
                whole,
                "{}: {result:?}",
                table.escape_ascii()
            );
        };
        let root = ("/dev/vda", "ext4", "/");
        check(b"/dev/vda / ext4 rw,relatime 0 0\n", &[root], true);
        check(
            b"/dev/vda / ext4 rw 0 0\n/dev/vda / ext4 ro 0 0\n",
            &[root],
            true,
        );
        check(b"/dev/vda / ext4 rw 0 0\n/dev/vd", &[root], false);
        check(b"/dev/vda / ext", &[], false);
        check(b"/dev/vda relative ext4 rw 0 0\n", &[], false);
        check(b" / tmpfs rw 0 0\n", &[("", "tmpfs", "/")], true);
        check(
            b"a\\040b /m\\040n\\011\\012\\134x tmpfs rw 0 0",
            &[("a\\040b", "tmpfs", "/m n\t\n\\x")],
            true,
        );
        check(b"a /\"{} tmpfs rw 0 0", &[("a", "tmpfs", "/\"{}")], true);
        // Two names, one label.
        check(
            b"a /\xff tmpfs rw 0 0\na /\xfe tmpfs rw 0 0",
            &[("a", "tmpfs", "/\u{fffd}")],
            true,
        );
        check(b"", &[], true);
    }

    #[test]
    fn a_path_keeps_its_bytes() {
        let (mounts, _) = parse(b"a /\xff\\040x tmpfs rw 0 0");
        assert_eq!(mounts[0].path.as_os_str().as_bytes(), b"/\xff x");
    }

    #[test]
    fn exclusion() {
        let check = |fstype, place, want| {
            let table = format!("none {place} {fstype} rw 0 0\n");
            assert_eq!(parse(table.as_bytes()).0.is_empty(), want, "{table}");
        };
        check("ext4", "/", false);
        check("tmpfs", "/run", false);
        check("tmpfs", "/mnt/data", false);
        check("fuse.sshfs", "/home", false);
        check("nfs4", "/data", false);
        check("cgroup", "/x", true);
        check("cgroup2", "/x", true);
        check("cgroup3", "/x", false);
        check("overlay", "/x", true);
        check("overlayfs", "/x", false);
        check("tmpfs", "/dev", true);
        check("tmpfs", "/dev/shm", true);
        check("tmpfs", "/devices", false);
        check("tmpfs", "/a/dev", false);
        check("ext4", "/sys/x", true);
        check("ext4", "/var/lib/docker", false);
        check("ext4", "/var/lib/docker/volumes", true);
        check("ext4", "/run/credentials/a.service", true);
        check("ext4", "/var/lib/containers/storage/overlay", true);
        check("ext4", "/var/lib/containers", false);
    }

    proptest! {
        #[test]
        fn never_panics(table: Vec<u8>) {
            let _ = parse(&table);
        }

        #[test]
        fn never_panics_on_lines(table in "(/?[a-z\\\\0-9]* /[a-z\\\\0-9]* [a-z]* rw 0 0\n)*") {
            let (mounts, _) = parse(table.as_bytes());
            let distinct: HashSet<_> = mounts.iter().map(labels).collect();
            prop_assert_eq!(distinct.len(), mounts.len());
        }
    }
}
