//! What /proc says of processes. A thread of its own looks: a process that is stuck in the kernel can
//! hold up a look at it, and may be gone before it is looked at.
//!
//! Knows nothing of spans.

use std::{
    sync::mpsc::{self, Receiver, SyncSender},
    thread,
};

use anyhow::Context as _;
use monitoring_common::agents::start_ticks;
use procfs::process::Process;

use super::process_key::ProcessKey;
use crate::identity::Identities;

/// Looks that may be asked for and not be done yet. One takes 0.1 ms.
const MAX_ASKED: usize = 4_096;

/// What the kernel adds to the path of an executable that is on no disk any more.
const DELETED: &str = " (deleted)";

/// A process as it was when it was looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Facts {
    pub(super) comm: String,
    /// The path of its executable; empty for threads of the kernel's.
    pub(super) executable: String,
    pub(super) container: String,
    pub(super) pod: String,
    pub(super) parent_pid: Option<u32>,
    /// The user that it acts as.
    pub(super) user: Option<u32>,
}

/// Asks the thread that looks. It ends with this, as soon as a running look is over.
#[derive(Debug)]
pub(super) struct Looks {
    wanted: SyncSender<ProcessKey>,
    found: Receiver<(ProcessKey, Option<Facts>)>,
}

impl Looks {
    /// Starts the thread.
    pub(super) fn start() -> anyhow::Result<Self> {
        let (wanted, asked) = mpsc::sync_channel::<ProcessKey>(MAX_ASKED);
        let (answers, found) = mpsc::channel();
        let look = move || {
            let mut identities = Identities::with_containers();
            while let Ok(process) = asked.recv() {
                let facts = Facts::of(process, &mut identities);
                if answers.send((process, facts)).is_err() {
                    return;
                }
            }
        };
        thread::Builder::new()
            .name("trace looks".into())
            .spawn(look)
            .context("start the thread that looks at traced processes")?;
        Ok(Self { wanted, found })
    }

    /// Asks for a look, if there is room. `false` if there will be no answer.
    pub(super) fn ask(&self, process: ProcessKey) -> bool {
        self.wanted.try_send(process).is_ok()
    }

    /// The answers since the last time: `None` for processes that are gone.
    pub(super) fn answers(&self) -> impl Iterator<Item = (ProcessKey, Option<Facts>)> {
        self.found.try_iter()
    }
}

impl Facts {
    /// The process, or `None` when it is gone, and its number maybe another's.
    fn of(process: ProcessKey, identities: &mut Identities) -> Option<Self> {
        let look = identities.read(process.pid)?;
        let is_it = process.start_ns == 0 || look.started_ticks == start_ticks(process.start_ns);
        if !is_it || look.ended {
            return None;
        }
        let facts = Self {
            comm: look.identity.comm.to_owned(),
            executable: look.identity.exe.trim_end_matches(DELETED).to_owned(),
            container: look.identity.container.to_owned(),
            pod: look.identity.pod.to_owned(),
            ..Self::default()
        };
        // What cannot be read is left out.
        let status = i32::try_from(process.pid).ok().and_then(|pid| {
            let process = Process::new(pid).ok()?;
            process.status().ok()
        });
        Some(Self {
            parent_pid: status
                .as_ref()
                .and_then(|status| status.ppid.try_into().ok()),
            user: status.map(|status| status.euid),
            ..facts
        })
    }

    /// What people call the program: its file's name, or what the process calls itself.
    pub(super) fn program(&self) -> &str {
        let file = self.executable.rsplit('/').next().unwrap_or_default();
        if file.is_empty() { &self.comm } else { file }
    }
}

#[cfg(test)]
mod tests {
    use std::{process, time::Duration};

    use super::*;
    use crate::identity;

    #[test]
    fn a_process_is_looked_at_and_not_the_next_one_of_its_number() {
        let looks = Looks::start().unwrap();
        let pid = process::id();
        let ticks = identity::started_ticks(pid).unwrap();
        let process = ProcessKey {
            pid,
            start_ns: u64::from(ticks) * 10_000_000,
        };
        let other = ProcessKey {
            start_ns: process.start_ns + 10_000_000,
            ..process
        };
        let unknown = ProcessKey { pid, start_ns: 0 };
        for process in [process, other, unknown] {
            assert!(looks.ask(process));
        }
        let answer = || looks.found.recv_timeout(Duration::from_secs(10)).unwrap();
        let (key, facts) = answer();
        let facts = facts.unwrap();
        assert_eq!(key, process);
        assert_eq!(facts.parent_pid, Some(std::os::unix::process::parent_id()));
        let file = std::env::current_exe().unwrap();
        assert_eq!(facts.executable, file.to_str().unwrap());
        assert_eq!(facts.program(), file.file_name().unwrap().to_str().unwrap());
        assert_eq!(answer(), (other, None));
        assert_eq!(answer(), (unknown, Some(facts)));
    }

    #[test]
    fn programs_are_files_or_what_processes_call_themselves() {
        let check = |executable: &str, want: &str| {
            let facts = Facts {
                comm: "kworker/0:1".to_owned(),
                executable: executable.to_owned(),
                ..Facts::default()
            };
            assert_eq!(facts.program(), want);
        };
        check("/usr/bin/planner", "planner");
        check("", "kworker/0:1");
        check("/", "kworker/0:1");
    }
}
