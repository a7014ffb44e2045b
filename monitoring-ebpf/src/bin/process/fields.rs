//! Where this kernel keeps what the programs read. The loader refuses to load them where a field
//! is missing, so there is no branch for that here.

use aya_ebpf::Global;
use monitoring_common::agents::start_ticks;
use monitoring_ebpf::{ABSENT, object::Object};

/// Declares offsets that the loader fills in.
macro_rules! offsets {
    ($($(#[$doc:meta])* $symbol:ident;)+) => {
        $(
            $(#[$doc])*
            #[unsafe(no_mangle)]
            pub(crate) static $symbol: Global<u32> = Global::new(ABSENT);
        )+
    };
}

offsets! {
    /// `tgid` in `task_struct`.
    TGID;
    /// `pid` in `task_struct`.
    PID;
    /// `start_boottime` in `task_struct`: nanoseconds.
    START_BOOTTIME;
    /// `start_time` in `task_struct`: nanoseconds of the monotonic clock.
    START_TIME;
    /// `real_parent` in `task_struct`.
    REAL_PARENT;
    /// `group_leader` in `task_struct`.
    GROUP_LEADER;
    /// `signal` in `task_struct`.
    SIGNAL;
    /// `exit_code` in `task_struct`.
    EXIT_CODE;
    /// `cgroups` in `task_struct`.
    CGROUPS;
    /// `live.counter` in `signal_struct`.
    LIVE;
    /// `nr_threads` in `signal_struct`.
    NR_THREADS;
    /// `flags` in `signal_struct`.
    SIGNAL_FLAGS;
    /// `group_exit_code` in `signal_struct`.
    GROUP_EXIT_CODE;
    /// `oom_mm` in `signal_struct`.
    OOM_MM;
    /// `file` in `linux_binprm`.
    BPRM_FILE;
    /// `interp` in `linux_binprm`.
    BPRM_INTERP;
    /// `f_inode` in `file`.
    FILE_INODE;
    /// `f_path.dentry` in `file`.
    FILE_DENTRY;
    /// `f_path.mnt` in `file`.
    FILE_MOUNT;
    /// `i_ino` in `inode`.
    INODE_NUMBER;
    /// `i_sb` in `inode`.
    INODE_SUPER_BLOCK;
    /// `s_dev` in `super_block`.
    DEVICE;
    /// `d_name.name` in `dentry`.
    DENTRY_NAME;
}

/// When a thread group's leader started.
#[inline(always)]
pub(crate) fn started_ticks(leader: Object) -> u32 {
    start_ticks(leader.read(START_BOOTTIME.load()))
}
