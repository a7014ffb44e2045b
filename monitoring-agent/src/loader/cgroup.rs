//! Where the cgroup v2 hierarchy is mounted, for programs that attach to its root.

use std::{
    ffi::OsStr,
    fs::{self, File},
    os::unix::ffi::OsStrExt as _,
    path::PathBuf,
};

use crate::mount_table::unescape;

/// The root of the hierarchy, or why there is none. In a container with a cgroup namespace it is
/// the container's own, and its programs see nothing else.
pub(super) fn root() -> Result<File, String> {
    let table = "/proc/self/mountinfo";
    let mounts = fs::read(table).map_err(|error| format!("read {table}: {error}"))?;
    let path = mount_point(&mounts).ok_or("the root of no cgroup v2 hierarchy is mounted")?;
    File::open(&path).map_err(|error| format!("open {}: {error}", path.display()))
}

/// Where the whole hierarchy is mounted. Other mounts of it show a part: one cgroup and those below.
fn mount_point(mounts: &[u8]) -> Option<PathBuf> {
    let mut lines = mounts.split(|byte| *byte == b'\n');
    lines.find_map(|line| {
        // `36 35 98:0 /root /mount/point options optional-fields... - type source options`
        let mut fields = line.split(|byte| *byte == b' ');
        let (root, path) = (fields.nth(3)?, fields.next()?);
        fields.find(|field| *field == b"-")?;
        let whole = root == b"/" && fields.next()? == b"cgroup2";
        whole.then(|| PathBuf::from(OsStr::from_bytes(&unescape(path))))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_points() {
        let check = |mounts: &str, want: Option<&str>| {
            assert_eq!(mount_point(mounts.as_bytes()), want.map(PathBuf::from));
        };
        check(
            "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n\
             32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime shared:9 - cgroup cgroup rw,cpu\n\
             41 31 0:38 / /sys/fs/cgroup/unified rw shared:4 master:2 - cgroup2 cgroup2 rw\n",
            Some("/sys/fs/cgroup/unified"),
        );
        // A part of the hierarchy that is mounted before the whole of it.
        check(
            "30 23 0:27 /machine /mnt/part rw - cgroup2 none rw\n\
             31 23 0:27 / /sys/fs/cgroup rw - cgroup2 none rw\n",
            Some("/sys/fs/cgroup"),
        );
        check("30 23 0:27 /machine /mnt/part rw - cgroup2 none rw\n", None);
        check("30 23 0:27 /.. /sys/fs/cgroup rw - cgroup2 none rw\n", None);
        check("31 23 0:27 / /a\\040b rw - cgroup2 none rw\n", Some("/a b"));
        check("31 23 0:27 / /x rw - tmpfs cgroup2 rw\n", None);
        check("31 23 0:27 / /x rw -", None);
        check("31 23 0:27 /", None);
        check("", None);
    }
}
