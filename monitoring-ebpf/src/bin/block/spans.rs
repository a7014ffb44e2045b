//! Requests that may be spans. Knows no sums.

use aya_ebpf::Global;
use monitoring_common::{
    block::InFlight,
    trace::{DiskDetail, flags, kind::DISK_REQUEST},
};
use monitoring_ebpf::{
    ABSENT,
    object::Object,
    trace::{self, Event},
};

use crate::{FLUSH, LENGTH_OFFSET, disk_name, operation};

/// Offset in `struct request` of its first sector.
#[unsafe(no_mangle)]
static SECTOR_OFFSET: Global<u32> = Global::new(ABSENT);

/// What a request that failed counts as among error numbers: the kernel's statuses of requests are of
/// a kind of their own, and most programs are given this.
const EIO: u32 = 5;

/// Whether a request that ended may be a span: its beginning has to be known.
#[inline(always)]
pub(crate) fn may_be_one(state: &InFlight, ended_ns: u64) -> bool {
    if !trace::is_on() || state.began_ns() == 0 {
        return false;
    }
    trace::is_long::<DISK_REQUEST>(ended_ns.saturating_sub(state.began_ns()))
        || state.failed != 0 && trace::is_failure::<DISK_REQUEST>(EIO)
}

/// A request that may be a span.
#[inline(never)]
pub(crate) fn became_candidate(request: Object, state: &InFlight, ended_ns: u64, status: u32) {
    let began_ns = state.began_ns();
    let mut event = Event {
        start_ns: began_ns,
        end_ns: ended_ns,
        window_start_ns: 0,
        chain: state.origin.chain(began_ns),
        code: status.cast_signed(),
        flags: 0,
        is_failure: false,
    };
    if state.failed != 0 {
        event.flags = flags::FAILED;
        event.is_failure = trace::is_failure::<DISK_REQUEST>(EIO);
    }
    if trace::chosen::<DISK_REQUEST>(&state.origin, &mut event) {
        let operation = operation(request);
        let left: u32 = request.read(LENGTH_OFFSET.load());
        let mut sector = u64::MAX;
        if SECTOR_OFFSET.load() != ABSENT && operation != FLUSH.load() {
            // What is left begins behind what is done.
            let next: u64 = request.read(SECTOR_OFFSET.load());
            sector = next.wrapping_sub(u64::from(state.done_bytes >> 9));
        }
        let detail = DiskDetail {
            disk: disk_name(request),
            issued_ns: state.issued_ns,
            sector,
            bytes: state.done_bytes.wrapping_add(left),
            operation,
        };
        trace::tell::<DISK_REQUEST, _>(&state.origin, &event, &detail);
    }
}
