//! What spans of each kind tell beyond the common [`Header`](super::Header), but for those of CUDA.

use crate::block::DISK_NAME_BYTES;

/// A system call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct SystemCallDetail {
    /// What it returned.
    pub result: i64,
    /// Its number, as in [`crate::syscalls::CallKey::syscall`].
    pub syscall: u32,
    /// For no padding; 0.
    pub reserved: u32,
}

const _: () = assert!(size_of::<SystemCallDetail>() == 8 + 4 + 4);

/// A disk request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct DiskDetail {
    /// The disk's name, as in [`crate::block::RequestKey::disk`].
    pub disk: [u64; DISK_NAME_BYTES / 8],
    /// When it was last given to the driver, by `CLOCK_MONOTONIC`; 0 if never.
    pub issued_ns: u64,
    /// Its first sector, of 512 bytes; `u64::MAX` where it is about none, such as a flush.
    pub sector: u64,
    /// Bytes that it was to read, write or discard.
    pub bytes: u32,
    /// The operation's number, an `enum req_op` of this kernel.
    pub operation: u32,
}

const _: () = assert!(size_of::<DiskDetail>() == DISK_NAME_BYTES + 8 + 8 + 4 + 4);

/// A TCP handshake or connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct TcpDetail {
    /// Bytes of payload sent and received.
    pub sent_bytes: u64,
    /// As above.
    pub received_bytes: u64,
    /// Addresses in the order of the network; those of IPv4 in the first four bytes.
    pub local_address: [u8; 16],
    /// As above.
    pub remote_address: [u8; 16],
    /// Ports in the order of this machine.
    pub local_port: u16,
    /// As above.
    pub remote_port: u16,
    /// `AF_INET` or `AF_INET6`.
    pub family: u16,
    /// One of [`role`].
    pub role: u8,
    /// How the handshake ended: an index into [`crate::net::OUTCOMES`]. Of a connection, success.
    pub outcome: u8,
    /// The initial sequence numbers of both sides: together the same at both ends of the connection,
    /// whatever translates addresses between them. 0 where unknown.
    pub local_sequence: u32,
    /// As above.
    pub remote_sequence: u32,
    /// Segments that were sent again.
    pub retransmits: u32,
    /// The smoothed round-trip time, in microseconds; 0 where unknown.
    pub rtt_us: u32,
}

const _: () = assert!(size_of::<TcpDetail>() == 2 * 8 + 2 * 16 + 3 * 2 + 2 + 4 * 4);

/// Which side of a connection this is.
pub mod role {
    /// Nobody saw the handshake.
    pub const UNKNOWN: u8 = 0;
    /// The side that connected.
    pub const CLIENT: u8 = 1;
    /// The side that accepted.
    pub const SERVER: u8 = 2;
}

/// A thread off its CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct OffCpuDetail {
    /// When it could run again, by `CLOCK_MONOTONIC`; 0 if that was not seen.
    pub queued_ns: u64,
    /// One of [`crate::sched::reason`].
    pub reason: u32,
    /// The system call in which it waited, as in [`crate::syscalls::CallKey::syscall`]; [`NO_CALL`]
    /// outside of one, such as in a page fault, or where family `syscalls` does not run.
    pub syscall: u32,
}

/// No system call.
pub const NO_CALL: u32 = u32::MAX;

const _: () = assert!(size_of::<OffCpuDetail>() == 8 + 4 + 4);

/// A process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct ProcessDetail {
    /// When the process that made it started, as [`super::Origin::process_start_ns`]; 0 if unknown.
    pub parent_start_ns: u64,
    /// The process that made it, also if that has ended since. Of one from before the agent, and of one
    /// whose first thread another one took the place of, the process that it is a child of at its end.
    pub parent_pid: u32,
    /// What it left, as `wait` gives it: the exit code in the second byte, a signal in the lowest
    /// seven bits.
    pub status: u32,
    /// 1 if the kernel was out of memory and chose this process to end.
    pub out_of_memory: u32,
    /// For no padding; 0.
    pub reserved: u32,
}

const _: () = assert!(size_of::<ProcessDetail>() == 8 + 4 * 4);
crate::plain_data!(
    SystemCallDetail,
    DiskDetail,
    TcpDetail,
    OffCpuDetail,
    ProcessDetail,
);
