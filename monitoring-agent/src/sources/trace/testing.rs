//! Events for tests, as the kernel would tell of them.

use monitoring_common::trace::{
    DiskDetail, Header, ProcessDetail, Record, SystemCallDetail, ThreadContext, cuda::CudaDetail,
    flags, kind,
};

/// When each process of a test started.
pub(super) const STARTED_NS: u64 = 7_000_000;

/// What all events of a process's first thread have in common; of no kind in particular.
pub(super) fn header(pid: u32, name: &str) -> Header {
    let mut comm = [0; 16];
    comm[..name.len()].copy_from_slice(name.as_bytes());
    Header {
        start_ns: 0,
        end_ns: 0,
        call_start_ns: 0,
        window_start_ns: 0,
        process_start_ns: STARTED_NS,
        pid,
        tid: pid,
        agent: 0,
        kind: 0,
        flags: 0,
        code: 0,
        context: ThreadContext::NONE,
        comm,
    }
}

/// Within a span of the application.
pub(super) fn joined(header: Header, trace: u8, span: u8) -> Header {
    Header {
        flags: header.flags | flags::JOINED,
        context: ThreadContext {
            trace_id: [trace; 16],
            span_id: [span; 8],
        },
        ..header
    }
}

/// A `read` that lasted from one time to another.
pub(super) fn call(header: Header, start_ns: u64, end_ns: u64) -> Vec<u8> {
    let header = Header {
        start_ns,
        end_ns,
        call_start_ns: start_ns,
        kind: number(kind::SYSTEM_CALL),
        ..header
    };
    let detail = SystemCallDetail {
        result: 4096,
        syscall: u32::try_from(libc::SYS_read).unwrap(),
        reserved: 0,
    };
    bytes(header, detail)
}

/// A request to a disk for a sector, which began within a system call, or none (0).
pub(super) fn disk(header: Header, times: (u64, u64), call_start_ns: u64, sector: u64) -> Vec<u8> {
    let header = Header {
        start_ns: times.0,
        end_ns: times.1,
        call_start_ns,
        kind: number(kind::DISK_REQUEST),
        ..header
    };
    let mut name = [0; 32];
    name[..3].copy_from_slice(b"vda");
    let words = name.as_chunks().0.iter().copied();
    let words: Vec<_> = words.map(u64::from_ne_bytes).collect();
    let detail = DiskDetail {
        disk: words.try_into().unwrap(),
        issued_ns: times.0 + 1_000,
        sector,
        bytes: 4096,
        operation: 0,
    };
    bytes(header, detail)
}

/// A process that ended by itself.
pub(super) fn process(header: Header, end_ns: u64) -> Vec<u8> {
    let header = Header {
        start_ns: header.process_start_ns,
        end_ns,
        kind: number(kind::PROCESS),
        ..header
    };
    let detail = ProcessDetail {
        parent_start_ns: 0,
        parent_pid: 1,
        status: 0,
        out_of_memory: 0,
        reserved: 0,
    };
    bytes(header, detail)
}

/// A window of a GPU, or a launch in it.
pub(super) fn cuda(
    header: Header,
    kind: usize,
    times: (u64, u64),
    window_start_ns: u64,
) -> Vec<u8> {
    let header = Header {
        start_ns: times.0,
        end_ns: times.1,
        window_start_ns,
        kind: number(kind),
        ..header
    };
    bytes(header, CudaDetail::NONE)
}

/// The bytes of a record, as the kernel writes them.
pub(super) fn bytes<D: Copy>(header: Header, detail: D) -> Vec<u8> {
    let record = Record { header, detail };
    let bytes: *const u8 = (&raw const record).cast();
    // SAFETY: the record lives, and has nothing between its parts.
    unsafe { std::slice::from_raw_parts(bytes, size_of_val(&record)) }.to_vec()
}

fn number(kind: usize) -> u8 {
    kind.try_into().unwrap()
}
