//! Loss on a node's way in: a tc classifier in BPF that drops every so-manieth packet.
//!
//! On the way out it would be no loss: TCP is told of a drop on its own node, and takes the packet
//! for one that it has not sent yet.

use std::{
    ffi::CStr,
    io,
    os::{fd::AsRawFd as _, unix::process::CommandExt as _},
    ptr,
};

use super::{
    Namespace,
    bpf::{self, Instruction, Numbers},
    namespace::{check, printed},
    wire::DEVICE,
};

/// Where the program is pinned while `tc` picks it up, in a file system that only that process sees.
const PINS: &CStr = c"/sys/fs/bpf";
const PIN: &CStr = c"/sys/fs/bpf/loss";

/// Packets that came to a node, and those of them that were dropped.
pub(crate) struct Loss(Numbers<2>);

impl Loss {
    /// From now on, drops every `every`th packet that comes to the node over its wire. With
    /// segmentation offload, a packet here is what TCP sends at once, up to 64 KB.
    pub(crate) fn every(every: i32, node: &Namespace) -> Self {
        let numbers = Numbers::new();
        let program = bpf::classifier(&drop_every(every, numbers.fd()));
        node.output("tc", &["qdisc", "add", "dev", DEVICE, "clsact"]);
        let pinned = PIN.to_str().unwrap();
        let mut tc = node.command("tc");
        tc.args([
            "filter",
            "add",
            "dev",
            DEVICE,
            "ingress",
            "bpf",
            "direct-action",
        ]);
        tc.args(["object-pinned", pinned]);
        let object = program.as_raw_fd();
        // SAFETY: only system calls are made between fork and exec.
        unsafe { tc.pre_exec(move || pin_for_this_process(object)) };
        printed(&mut tc);
        Self(numbers)
    }

    /// Packets so far, and dropped ones among them.
    pub(crate) fn packets_and_drops(&self) -> (u64, u64) {
        let [packets, drops] = self.0.read();
        (packets, drops)
    }
}

fn pin_for_this_process(object: libc::c_int) -> io::Result<()> {
    let (none, bpf) = (ptr::null(), c"bpf".as_ptr());
    let private = libc::MS_REC | libc::MS_PRIVATE;
    // SAFETY: the paths are constants; the mounts are this process's own from the first call on.
    unsafe {
        check(libc::unshare(libc::CLONE_NEWNS))?;
        check(libc::mount(none, c"/".as_ptr(), none, private, ptr::null()))?;
        check(libc::mount(bpf, PINS.as_ptr(), bpf, 0, ptr::null()))?;
    }
    bpf::pin(object, PIN)
}

/// Counts packets in the first number of the map, drops every `every`th and counts it in the second.
#[rustfmt::skip] // An instruction a line.
fn drop_every(every: i32, map: libc::c_int) -> [Instruction; 18] {
    [
        Instruction(0x62, 10, -4, 0),     // *(u32 *)(r10 - 4) = 0
        Instruction(0xbf, (10 << 4) | 2, 0, 0), // r2 = r10
        Instruction(0x07, 2, 0, -4),      // r2 += -4
        Instruction(0x18, (1 << 4) | 1, 0, map), // r1 = the map (BPF_PSEUDO_MAP_FD)
        Instruction(0x00, 0, 0, 0),       //   its upper half
        Instruction(0x85, 0, 0, 1),       // r0 = bpf_map_lookup_elem(r1, r2)
        Instruction(0x15, 0, 9, 0),       // if r0 == 0 goto accept
        Instruction(0xb7, 1, 0, 1),       // r1 = 1
        Instruction(0xdb, 1 << 4, 0, 1),  // r1 = atomic_fetch_add((u64 *)(r0 + 0), r1)
        Instruction(0x07, 1, 0, 1),       // r1 += 1
        Instruction(0x97, 1, 0, every),   // r1 %= every
        Instruction(0x55, 1, 4, 0),       // if r1 != 0 goto accept
        Instruction(0xb7, 1, 0, 1),       // r1 = 1
        Instruction(0xdb, 1 << 4, 8, 0),  // atomic_add((u64 *)(r0 + 8), r1)
        Instruction(0xb7, 0, 0, 2),       // r0 = TC_ACT_SHOT
        Instruction(0x95, 0, 0, 0),       // exit
        Instruction(0xb7, 0, 0, 0),       // accept: r0 = TC_ACT_OK
        Instruction(0x95, 0, 0, 0),       // exit
    ]
}
