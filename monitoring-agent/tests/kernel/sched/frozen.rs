//! Tasks in a cgroup that is frozen.

use std::{fs, path::PathBuf};

use super::{
    HELD, Look, assert_grew, node, wait_for,
    worker::{Task, Worker},
};
use crate::poll::poll_until;

/// A cgroup of version 2; removed with the test, after its tasks have gone on.
struct Cgroup(PathBuf);

impl Cgroup {
    fn new() -> Self {
        let roots = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"].map(PathBuf::from);
        let root = roots
            .into_iter()
            .find(|root| root.join("cgroup.controllers").exists());
        let root = root.expect("a mounted hierarchy of version 2");
        let path = root.join(format!("monitoring-suite-frozen-{}", std::process::id()));
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn write(&self, file: &str, text: &str) {
        fs::write(self.0.join(file), text).unwrap();
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let _ = fs::write(self.0.join("cgroup.freeze"), "0");
        // The worker in it was ended; the kernel may still be about to notice.
        let removed = (0..100).any(|_| {
            wait_for(HELD / 100);
            fs::remove_dir(&self.0).is_ok()
        });
        assert!(removed || std::thread::panicking(), "{}", self.0.display());
    }
}

#[test]
fn frozen_is_stopped() {
    let mut node = node();
    let cgroup = Cgroup::new();
    let mut worker = Worker::labelled(&node, None);
    // It is stopped in the middle of computing, and so outside of any call.
    worker.begins(Task::Spin);
    worker.computes();
    cgroup.write("cgroup.procs", &worker.pid().to_string());
    cgroup.write("cgroup.freeze", "1");
    poll_until("the cgroup is frozen", || {
        let events = fs::read_to_string(cgroup.0.join("cgroup.events")).unwrap();
        events.contains("frozen 1").then_some(())
    });
    let first = Look::at(&mut node);
    wait_for(HELD);
    let last = Look::at(&mut node);
    let grew = last.seconds("stopped") - first.seconds("stopped");
    assert_grew("stopped", grew, last.since(&first), 1.0);
    drop(worker);
}
