//! Where the cgroup v2 hierarchy is mounted, for programs that attach to its root.

use std::{
    fs::{self, File},
    path::Path,
};

use anyhow::Context as _;

/// The root of the hierarchy; `None` where none is mounted. In a container with a cgroup namespace
/// it is the container's own, and its programs see nothing else.
pub(super) fn root() -> anyhow::Result<Option<File>> {
    let mounts = fs::read_to_string("/proc/mounts").context("read /proc/mounts")?;
    let Some(path) = mount_point(&mounts) else {
        return Ok(None);
    };
    let root = File::open(Path::new(path));
    root.map(Some).with_context(|| format!("open {path}"))
}

fn mount_point(mounts: &str) -> Option<&str> {
    mounts.lines().find_map(|line| {
        let mut fields = line.split(' ');
        let path = fields.nth(1)?;
        (fields.next()? == "cgroup2").then_some(path)
    })
}

#[cfg(test)]
mod tests {
    use super::mount_point;

    #[test]
    fn the_second_version_beside_the_first() {
        let mounts = "tmpfs /sys/fs/cgroup tmpfs rw 0 0\n\
                      cgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0\n\
                      cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n";
        assert_eq!(mount_point(mounts), Some("/sys/fs/cgroup/unified"));
        assert_eq!(mount_point("cgroup2 /x tmpfs rw 0 0\n"), None);
        assert_eq!(mount_point(""), None);
    }
}
