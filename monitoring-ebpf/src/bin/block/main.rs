//! Family `block`: requests to disks, from submission over issue to completion.
//!
//! The programs are BTF tracepoints: a request is several pointers away from the name of its disk,
//! and typed loads reach it without a helper call for each.

#![no_std]
#![no_main]
#![allow(
    clippy::needless_pass_by_value,
    reason = "the attribute macros hand the context over"
)]

mod spans;

use aya_ebpf::{
    Global,
    bindings::BPF_NOEXIST,
    btf_maps::{HashMap, PerCpuHashMap},
    cty::c_void,
    helpers::{bpf_get_current_pid_tgid, generated::bpf_ktime_get_ns},
    macros::{btf_map, btf_tracepoint},
    programs::BtfTracePointContext,
};
use monitoring_common::block::{
    DISK_NAME_BYTES, InFlight, MAX_BYTES, MAX_IN_FLIGHT, MAX_REQUESTS, RequestKey, Requests,
    lost::{BYTES_FULL, IN_FLIGHT_FULL, REQUESTS_FULL},
};
use monitoring_ebpf::{ABSENT, agents::agent_of, lost::lost, object, object::Object, trace};

object!();

/// Offsets in `struct request`.
#[unsafe(no_mangle)]
static LENGTH_OFFSET: Global<u32> = Global::new(ABSENT);
#[unsafe(no_mangle)]
static FLAGS_OFFSET: Global<u32> = Global::new(ABSENT);
#[unsafe(no_mangle)]
static START_OFFSET: Global<u32> = Global::new(ABSENT);
#[unsafe(no_mangle)]
static QUEUE_OFFSET: Global<u32> = Global::new(ABSENT);

#[unsafe(no_mangle)]
static BIO_OFFSET: Global<u32> = Global::new(ABSENT);

/// Offset of `bi_opf` in `struct bio`.
#[unsafe(no_mangle)]
static BIO_FLAGS_OFFSET: Global<u32> = Global::new(ABSENT);

/// Offset of `disk` in `struct request_queue`.
#[unsafe(no_mangle)]
static DISK_OFFSET: Global<u32> = Global::new(ABSENT);

/// Offset of `disk_name` in `struct gendisk`.
#[unsafe(no_mangle)]
static NAME_OFFSET: Global<u32> = Global::new(ABSENT);

/// The number of `REQ_OP_FLUSH`.
#[unsafe(no_mangle)]
static FLUSH: Global<u32> = Global::new(ABSENT);

/// The flags of a write with a flush before or after it, `REQ_PREFLUSH` and `REQ_FUA`.
#[unsafe(no_mangle)]
static FLUSHING: Global<u32> = Global::new(0);

/// 1 where the kernel tells the submission of every request: it has `block_io_start`.
#[unsafe(no_mangle)]
static SUBMISSION_IS_TOLD: Global<u32> = Global::new(0);

/// The part of a request's flags that is its operation: `REQ_OP_MASK`, eight bits since 4.8.
const OPERATION_MASK: u32 = 0xff;

/// By the request's address; before 6.5, if it needs a flush, by its data's (`struct bio`) until
/// it is issued. A request that ends in a way that no tracepoint tells leaves its entry behind
/// until another one has its address, which takes the entry over.
#[btf_map]
static IN_FLIGHT: HashMap<u64, InFlight, MAX_IN_FLIGHT> = HashMap::new();

#[btf_map]
static REQUESTS: PerCpuHashMap<RequestKey, Requests, MAX_REQUESTS> = PerCpuHashMap::new();

#[btf_map]
static BYTES: PerCpuHashMap<RequestKey, u64, MAX_BYTES> = PerCpuHashMap::new();

static NO_REQUESTS: Requests = Requests::EMPTY;

/// `TP_PROTO(struct request *rq)`, since 6.5. Runs in the task that submits.
#[btf_tracepoint(function = "block_io_start")]
fn block_io_start(ctx: BtfTracePointContext) -> i32 {
    begin(ctx.arg(0), &submitted_now(now_ns()));
    0
}

/// `TP_PROTO(struct bio *bio)`, without a queue before it since 5.11. Runs in the task that
/// submits, when it has got a request for the data.
///
/// Attached only where there is no `block_io_start`. A write with a flush first waits, in no queue
/// that a tracepoint tells of, and is issued by a worker: its submitter has to be known before.
#[btf_tracepoint(function = "block_getrq")]
fn block_getrq(ctx: BtfTracePointContext) -> i32 {
    let bio = Object::from_argument(ctx.arg::<*mut c_void>(0));
    if bio.read::<u32>(BIO_FLAGS_OFFSET.load()) & FLUSHING.load() != 0 {
        // If the map is full, the request is entered, or counted as lost, when it is issued.
        let _ = IN_FLIGHT.insert(ctx.arg::<u64>(0), submitted_now(0), 0);
    }
    0
}

/// `TP_PROTO(struct request *rq)`, without a queue before it since 5.11. Runs in the task that
/// submits, or again in a worker when the driver gave the request back.
///
/// Attached only where there is no `block_io_start`.
#[btf_tracepoint(function = "block_rq_insert")]
fn block_rq_insert(ctx: BtfTracePointContext) -> i32 {
    let submitted_ns = start_ns(&ctx);
    if known(ctx.arg(0), submitted_ns).is_none() {
        // As above.
        let _ = IN_FLIGHT.insert(ctx.arg::<u64>(0), first_seen(&ctx, submitted_ns), 0);
    }
    0
}

/// `TP_PROTO(struct request *rq)`, without a queue before it since 5.11. Runs in the task that
/// submits, in a kernel worker, or in an interrupt that makes room in the queue.
#[btf_tracepoint(function = "block_rq_issue")]
fn block_rq_issue(ctx: BtfTracePointContext) -> i32 {
    let issued_ns = now_ns();
    if SUBMISSION_IS_TOLD.load() != 0 {
        if let Some(state) = IN_FLIGHT.get_ptr_mut(ctx.arg::<u64>(0)) {
            // SAFETY: a request is handled by one CPU at a time.
            unsafe { (*state).issued_ns = issued_ns };
            return 0;
        }
        // The kernel makes flushes itself; nobody submits them. Anything else was submitted before
        // counting began, or is counted as lost already.
        if operation(request(&ctx)) != FLUSH.load() {
            return 0;
        }
    }
    let submitted_ns = start_ns(&ctx);
    if let Some(state) = known(ctx.arg(0), submitted_ns) {
        state.issued_ns = issued_ns;
        return 0;
    }
    let mut state = first_seen(&ctx, submitted_ns);
    state.issued_ns = issued_ns;
    begin(ctx.arg(0), &state);
    0
}

/// `TP_PROTO(struct request *rq)`, since 5.11. Runs in the task that submits. The request is no
/// more: its data became another request's.
#[btf_tracepoint(function = "block_rq_merge")]
fn block_rq_merge(ctx: BtfTracePointContext) -> i32 {
    forget(ctx.arg(0));
    0
}

/// `TP_PROTO(struct request *rq, blk_status_t error, unsigned int nr_bytes)`, the error an `int`
/// before 5.16. Runs wherever the driver learns of it, mostly in an interrupt; once for each part
/// of a request that is completed by parts, always before the part is subtracted from its length.
#[btf_tracepoint(function = "block_rq_complete")]
fn block_rq_complete(ctx: BtfTracePointContext) -> i32 {
    let request = request(&ctx);
    let failed = ctx.arg::<u32>(1) != 0;
    let length: u32 = request.read(LENGTH_OFFSET.load());
    let done = ctx.arg::<u32>(2).min(length);
    let good = if failed { 0 } else { done };
    let Some(state) = IN_FLIGHT.get_ptr_mut(ctx.arg::<u64>(0)) else {
        let mut nothing = InFlight::UNKNOWN;
        nothing.failed = failed.into();
        complete(request, &nothing, good, done == length || failed);
        return 0;
    };
    // SAFETY: a request is handled by one CPU at a time; its entry is there until it is forgotten.
    let state = unsafe { &mut *state };
    state.failed |= u32::from(failed);
    if done == length {
        if let Some(ended_ns) = complete(request, state, good, true)
            && spans::may_be_one(state, ended_ns)
        {
            spans::became_candidate(request, state, ended_ns, ctx.arg(1));
        }
        forget(ctx.arg(0));
    } else if !failed {
        complete(request, state, good, false);
        state.done_bytes = state.done_bytes.wrapping_add(done);
    }
    0
}

/// A request, or a part of it, came to its end: of so many bytes that are to be counted. When that
/// was, if it is the request's end and there is something to count.
#[inline(always)]
fn complete(request: Object, state: &InFlight, bytes: u32, is_end: bool) -> Option<u64> {
    if state.issued_ns == 0 {
        // Its first flush failed, or it has nothing but a flush.
        if SUBMISSION_IS_TOLD.load() == 0 {
            forget(request.read(BIO_OFFSET.load()));
        }
        // A write whose flush, or whose data and flush, were requests of their own or done before;
        // the driver was not asked for this.
        if request.read::<u32>(LENGTH_OFFSET.load()) == 0 {
            return None;
        }
    }
    let disk = disk_name(request);
    // Tapes and controllers have queues without a disk.
    if disk[0] == 0 {
        return None;
    }
    let mut key = RequestKey {
        disk,
        operation: operation(request),
        agent: state.origin.agent,
    };
    if bytes > 0 {
        add_bytes(&key, bytes.into());
    }
    if !is_end {
        return None;
    }
    key.agent = 0;
    if state.issued_ns == 0 && state.failed == 0 {
        return None;
    }
    let ended_ns = now_ns();
    add_request(&key, state, ended_ns);
    Some(ended_ns)
}

/// Adds a request that ended, or a failed part of a request that nothing is known of.
#[inline(always)]
fn add_request(key: &RequestKey, state: &InFlight, ended_ns: u64) {
    let mut requests = REQUESTS.get_ptr_mut(key);
    if requests.is_none() {
        // Another CPU may be first; its entry serves as well.
        #[allow(clippy::needless_borrows_for_generic_args, reason = "472 bytes")]
        let _ = REQUESTS.insert(key, &NO_REQUESTS, BPF_NOEXIST.into());
        requests = REQUESTS.get_ptr_mut(key);
    }
    let Some(requests) = requests else {
        lost(REQUESTS_FULL);
        return;
    };
    // SAFETY: the value is this CPU's, one program alone writes it, and the kernel runs that one
    // not inside itself. Entries are never removed, so the pointer stays good.
    let requests = unsafe { &mut *requests };
    requests.errors = requests.errors.wrapping_add(state.failed.into());
    if state.issued_ns != 0 {
        let duration_ns = ended_ns.wrapping_sub(state.issued_ns);
        requests.duration.observe(duration_ns);
        if state.submitted_ns != 0 {
            // The kernel's own clock, which older kernels are asked for, may be read late.
            let queue_ns = state.issued_ns.saturating_sub(state.submitted_ns);
            requests.queue.observe(queue_ns);
        }
    }
}

#[inline(always)]
fn add_bytes(key: &RequestKey, bytes: u64) {
    let mut sum = BYTES.get_ptr_mut(key);
    if sum.is_none() {
        // Another CPU may be first; its entry serves as well.
        let _ = BYTES.insert(key, 0, BPF_NOEXIST.into());
        sum = BYTES.get_ptr_mut(key);
    }
    match sum {
        // SAFETY: as in `add_request`.
        Some(sum) => unsafe { *sum = (*sum).wrapping_add(bytes) },
        None => lost(BYTES_FULL),
    }
}

/// Enters a request, over what may be left of another one at its address.
#[inline(always)]
fn begin(address: u64, state: &InFlight) {
    if IN_FLIGHT.insert(address, state, 0).is_err() {
        lost(IN_FLIGHT_FULL);
    }
}

/// A request that the running process submits.
#[inline(always)]
fn submitted_now(submitted_ns: u64) -> InFlight {
    let agent = agent_of((bpf_get_current_pid_tgid() >> 32) as u32);
    let mut state = InFlight::UNKNOWN;
    state.submitted_ns = submitted_ns;
    state.origin.agent = agent.into();
    if trace::is_on() && trace::is_traced(agent.into()) {
        state.origin = trace::origin(agent, trace::running_call());
    }
    state
}

/// A request that is told for the first time, at its insertion or its issue.
#[inline(always)]
fn first_seen(ctx: &BtfTracePointContext, submitted_ns: u64) -> InFlight {
    let mut state = submitted_now(submitted_ns);
    if SUBMISSION_IS_TOLD.load() == 0 {
        // The request's own flags are only those that are left for the driver to do.
        let request = request(ctx);
        let data = request.follow(BIO_OFFSET.load());
        if data.read::<u32>(BIO_FLAGS_OFFSET.load()) & FLUSHING.load() != 0 {
            let address: u64 = request.read(BIO_OFFSET.load());
            if let Some(submitted) = IN_FLIGHT.get_ptr_mut(address) {
                // SAFETY: entries of data are written once, before there is a request.
                state.origin = unsafe { (*submitted).origin };
                forget(address);
            }
        }
    }
    state
}

/// What is known of the request at an address, unless it is another request's that began at
/// another time.
#[inline(always)]
fn known(address: u64, submitted_ns: u64) -> Option<&'static mut InFlight> {
    let state = IN_FLIGHT.get_ptr_mut(address)?;
    // SAFETY: a request is handled by one CPU at a time; nobody else takes its entry away.
    let state = unsafe { &mut *state };
    (state.submitted_ns == submitted_ns).then_some(state)
}

#[inline(always)]
fn forget(address: u64) {
    // The only failure is that there is no such entry, which is what was wanted.
    let _ = IN_FLIGHT.remove(address);
}

#[inline(always)]
fn request(ctx: &BtfTracePointContext) -> Object {
    Object::from_argument(ctx.arg::<*mut c_void>(0))
}

/// The name of the disk, by words; all zeros if the request's queue has no disk.
#[inline(always)]
fn disk_name(request: Object) -> [u64; DISK_NAME_BYTES / 8] {
    let disk = request
        .follow(QUEUE_OFFSET.load())
        .follow(DISK_OFFSET.load());
    let name = NAME_OFFSET.load();
    [
        disk.read(name),
        disk.read(name + 8),
        disk.read(name + 16),
        disk.read(name + 24),
    ]
}

#[inline(always)]
fn operation(request: Object) -> u32 {
    request.read::<u32>(FLAGS_OFFSET.load()) & OPERATION_MASK
}

/// When the kernel made the request, by the clock of `bpf_ktime_get_ns`; 0 where it keeps no
/// statistics.
#[inline(always)]
fn start_ns(ctx: &BtfTracePointContext) -> u64 {
    request(ctx).read(START_OFFSET.load())
}

#[inline(always)]
fn now_ns() -> u64 {
    // SAFETY: the helper has no preconditions.
    unsafe { bpf_ktime_get_ns() }
}
