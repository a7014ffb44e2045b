//! Reads from /proc what rules match on: a process's name, executable, cgroup and environment.

use std::{fs, io::Read as _, path::PathBuf};

use crate::config::{AgentRule, Identity};

/// Most of an environment that is looked at. Beyond it a rule on the environment finds nothing.
const ENVIRONMENT_BYTES: u64 = 128 * 1024;

/// Reads identities into buffers that it keeps.
#[derive(Debug)]
pub struct Identities {
    comm: String,
    exe: String,
    cgroup: String,
    environment: Vec<u8>,
    needs_environment: bool,
}

impl Identities {
    /// A reader for these rules; it reads environments only if one of them asks.
    pub fn new<'a>(mut rules: impl Iterator<Item = &'a AgentRule>) -> Self {
        Self {
            comm: String::new(),
            exe: String::new(),
            cgroup: String::new(),
            environment: Vec::new(),
            needs_environment: rules.any(AgentRule::needs_environment),
        }
    }

    /// The process's identity, or `None` when it has ended.
    pub fn read(&mut self, pid: u32) -> Option<Identity<'_>> {
        let folder = PathBuf::from(format!("/proc/{pid}"));
        let comm = fs::read(folder.join("comm")).ok()?;
        self.comm = lossy(comm.strip_suffix(b"\n").unwrap_or(&comm));
        // Kernel threads have no executable; some processes may not be looked into.
        let exe = fs::read_link(folder.join("exe")).unwrap_or_default();
        self.exe = exe.to_string_lossy().into_owned();
        self.cgroup = cgroup_path(&fs::read(folder.join("cgroup")).unwrap_or_default());
        self.environment.clear();
        if self.needs_environment
            && let Ok(file) = fs::File::open(folder.join("environ"))
        {
            // What could be read is matched; the process may end in between.
            let _ = file
                .take(ENVIRONMENT_BYTES)
                .read_to_end(&mut self.environment);
        }
        Some(Identity {
            comm: &self.comm,
            exe: &self.exe,
            cgroup: &self.cgroup,
            environment: &self.environment,
        })
    }
}

/// The path in the unified hierarchy, or, where that says nothing, the longest in any other.
fn cgroup_path(file: &[u8]) -> String {
    let file = String::from_utf8_lossy(file);
    let paths = || file.lines().filter_map(|line| line.splitn(3, ':').nth(2));
    let unified = file.lines().find_map(|line| line.strip_prefix("0::"));
    let path = unified
        .filter(|path| *path != "/")
        .or_else(|| paths().max_by_key(|path| path.len()));
    path.unwrap_or("/").to_owned()
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::cgroup_path;

    #[test]
    fn cgroup_paths() {
        let check = |file: &str, want: &str| assert_eq!(cgroup_path(file.as_bytes()), want);
        check(
            "0::/system.slice/stratoswarm.service\n",
            "/system.slice/stratoswarm.service",
        );
        check("0::/\n", "/");
        check("", "/");
        check("12:cpu:/a\n1:name=systemd:/a/b\n0::/\n", "/a/b");
        check(
            "12:cpu,cpuacct:/docker/0123\n0::/with:colon\n",
            "/with:colon",
        );
        check("garbage", "/");
    }
}
