//! A network that only one test sees.

use std::{process::Command, thread};

/// Runs a test on a thread whose network is new and has nothing but itself.
pub(crate) fn of_its_own(test: impl FnOnce() + Send) {
    thread::scope(|scope| {
        let done = scope.spawn(|| {
            // SAFETY: no memory is involved, and the thread ends with the test.
            let result = unsafe { libc::unshare(libc::CLONE_NEWNET) };
            let error = std::io::Error::last_os_error();
            assert_eq!(result, 0, "{error}: this test needs root");
            let arguments = ["link", "set", "lo", "up"];
            let status = Command::new("ip").args(arguments).status();
            assert!(status.expect("ip, of the package iproute2").success());
            test();
        });
        done.join().expect("the test");
    });
}
