//! A suite that is killed in the middle of a request leaves nothing behind.

use std::{
    env, fs,
    path::Path,
    process::{Child, Command},
    thread,
};

use super::disk::{Data, Disk};
use crate::poll::poll_until;

/// In the environment of the suite that is killed: the file for its disk's name.
const NAME_FILE: &str = "KERNEL_SUITE_IS_KILLED";

/// Ends with the test, whatever becomes of it.
struct Suite(Child);

impl Drop for Suite {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_suite_that_is_killed_leaves_nothing_behind() {
    if let Some(name_file) = env::var_os(NAME_FILE) {
        wait_for_a_request(Path::new(&name_file));
    }
    let folder = tempfile::tempdir().unwrap();
    let name_file = folder.path().join("name");
    let mut suite = Command::new(env::current_exe().unwrap());
    suite.args(["--exact", "--test-threads=1"]);
    suite.arg("block::killed::a_suite_that_is_killed_leaves_nothing_behind");
    let mut suite = Suite(suite.env(NAME_FILE, &name_file).spawn().unwrap());
    let name = poll_until("a request of the suite waits", || {
        fs::read_to_string(&name_file).ok()
    });
    let file = format!("/sys/block/{name}/loop/backing_file");
    assert!(Path::new(&file).exists(), "{file}");
    suite.0.kill().unwrap();
    // All of its threads have ended, also the one that waited for the disk.
    poll_until("the suite ends", || suite.0.try_wait().unwrap());
    poll_until("its disk is over nothing", || {
        (!Path::new(&file).exists()).then_some(())
    });
    // What is left of the disk is removed as every suite does it.
    drop(Disk::new());
    poll_until("its disk is gone", || {
        (!Path::new("/sys/block").join(&name).exists()).then_some(())
    });
}

/// Never returns: the other suite ends here.
fn wait_for_a_request(name_file: &Path) {
    let disk = Disk::new();
    let _held_up = disk.backing.hold();
    thread::scope(|scope| {
        scope.spawn(|| disk.read(&mut Data::new(), 4096, 0));
        disk.backing.wait_until_held();
        let written = name_file.with_extension("new");
        fs::write(&written, disk.name()).unwrap();
        fs::rename(&written, name_file).unwrap();
        loop {
            thread::park();
        }
    });
}
