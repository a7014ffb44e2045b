//! Streams: a stream is a time until which it is busy.

use std::{
    cell::RefCell,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
};

use cuda_sim_control::{NullStream, Out, exports, now_ns, wait_until};

use crate::{
    abi::{CUcontext, CUdevice, CUevent, CUstream, Opaque, STREAM_LEGACY, STREAM_PER_THREAD},
    capture::Capture,
    code::{Code, INVALID_VALUE, NOT_READY, Outcome},
    context, event,
    handles::Handles,
    host_calls::HostCalls,
    movement::Work,
};

/// `CU_STREAM_NON_BLOCKING`: the stream has nothing to do with the null stream.
const NON_BLOCKING: u32 = 1;

/// What the streams of a context have in common. Times are of [`now_ns`].
#[derive(Default)]
pub(crate) struct Timeline {
    /// When the last stream is done.
    latest_ns: AtomicU64,
    /// When the last stream is done that the null stream waits for.
    blocking_ns: AtomicU64,
    /// When the null stream is done.
    null_ns: AtomicU64,
    streams: Mutex<Vec<Weak<Stream>>>,
}

/// A queue of work.
pub(crate) struct Stream {
    timeline: Arc<Timeline>,
    device: usize,
    is_null: bool,
    flags: u32,
    priority: i32,
    busy_until_ns: AtomicU64,
    capture: Mutex<Option<Arc<Capture>>>,
    pub(crate) host_calls: HostCalls,
}

static STREAMS: Handles<Stream> = Handles::new();

thread_local! {
    /// The calling thread's own null streams, by context.
    static PER_THREAD: RefCell<Vec<Arc<Stream>>> = const { RefCell::new(Vec::new()) };
}

impl Timeline {
    /// Waits until all streams are done.
    pub(crate) fn synchronize(&self) {
        let all = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        let all: Vec<_> = all.iter().filter_map(Weak::upgrade).collect();
        wait_until(self.latest_ns.load(Ordering::Acquire));
        for stream in all {
            stream.host_calls.wait(stream.host_calls.issued());
        }
    }
}

impl Stream {
    /// The null stream of a context that is being made.
    pub(crate) fn create_null(timeline: Arc<Timeline>, device: usize) -> Arc<Self> {
        Self::create(timeline, device, true, 0, 0)
    }

    fn create(
        timeline: Arc<Timeline>,
        device: usize,
        is_null: bool,
        flags: u32,
        priority: i32,
    ) -> Arc<Self> {
        let stream = Arc::new(Self {
            timeline,
            device,
            is_null,
            flags,
            priority,
            busy_until_ns: AtomicU64::new(0),
            capture: Mutex::default(),
            host_calls: HostCalls::default(),
        });
        let streams = &stream.timeline.streams;
        let mut streams = streams.lock().unwrap_or_else(PoisonError::into_inner);
        streams.retain(|stream| stream.strong_count() > 0);
        streams.push(Arc::downgrade(&stream));
        drop(streams);
        stream
    }

    /// Does work, or adds it to the graph that is being captured.
    pub(crate) fn enqueue(self: &Arc<Self>, work: Work) -> Outcome {
        if let Some(capture) = self.capture() {
            capture.push(work);
            return Ok(());
        }
        work.perform(self)?;
        self.advance(work.duration_ns());
        Ok(())
    }

    /// Does work and waits for its end.
    pub(crate) fn enqueue_and_wait(self: &Arc<Self>, work: Work) -> Outcome {
        self.enqueue(work)?;
        self.synchronize();
        Ok(())
    }

    /// Makes the stream busy for some time more.
    pub(crate) fn advance(&self, duration_ns: u64) {
        if duration_ns == 0 {
            return;
        }
        let after = self.after_others_ns().max(now_ns());
        let longer = |busy_until: u64| Some(busy_until.max(after) + duration_ns);
        let (set, load) = (Ordering::AcqRel, Ordering::Acquire);
        let before = self.busy_until_ns.fetch_update(set, load, longer);
        let end_ns = before.unwrap_or(0).max(after) + duration_ns;
        self.publish(end_ns);
    }

    /// Makes the stream wait for a time.
    pub(crate) fn advance_to(&self, time_ns: u64) {
        self.busy_until_ns.fetch_max(time_ns, Ordering::AcqRel);
        self.publish(time_ns);
    }

    fn publish(&self, end_ns: u64) {
        let timeline = &self.timeline;
        timeline.latest_ns.fetch_max(end_ns, Ordering::AcqRel);
        if self.is_null {
            timeline.null_ns.fetch_max(end_ns, Ordering::AcqRel);
        } else if self.flags & NON_BLOCKING == 0 {
            timeline.blocking_ns.fetch_max(end_ns, Ordering::AcqRel);
        }
    }

    /// When those are done that new work waits for: the null stream waits for blocking ones, and
    /// they for it.
    fn after_others_ns(&self) -> u64 {
        match (self.is_null, self.flags & NON_BLOCKING) {
            (true, _) => self.timeline.blocking_ns.load(Ordering::Acquire),
            (false, 0) => self.timeline.null_ns.load(Ordering::Acquire),
            (false, _) => 0,
        }
    }

    /// When all is done that the stream has to do, but for host functions.
    pub(crate) fn busy_until_ns(&self) -> u64 {
        let own = self.busy_until_ns.load(Ordering::Acquire);
        own.max(if self.is_null {
            self.after_others_ns()
        } else {
            0
        })
    }

    fn synchronize(&self) {
        wait_until(self.busy_until_ns());
        self.host_calls.wait(self.host_calls.issued());
    }

    /// The capture that the stream is part of.
    pub(crate) fn capture(&self) -> Option<Arc<Capture>> {
        let mut capture = self.capture.lock().unwrap_or_else(PoisonError::into_inner);
        // One that other streams' events brought here ends with its first stream's.
        if capture.as_ref().is_some_and(|capture| capture.has_ended()) {
            *capture = None;
        }
        capture.clone()
    }

    /// Makes the stream part of a capture, or ends that.
    pub(crate) fn set_capture(&self, capture: Option<Arc<Capture>>) {
        *self.capture.lock().unwrap_or_else(PoisonError::into_inner) = capture;
    }

    /// Whether this is a null stream, which cannot be captured.
    pub(crate) fn is_null(&self) -> bool {
        self.is_null
    }
}

/// What a handle stands for, on this thread.
pub(crate) fn get(handle: CUstream, null: NullStream) -> Result<Arc<Stream>, Code> {
    match (handle, null) {
        (0, NullStream::Legacy) | (STREAM_LEGACY, _) => Ok(Arc::clone(&context::current()?.null)),
        (0, NullStream::PerThread) | (STREAM_PER_THREAD, _) => per_thread(),
        _ => STREAMS.get(handle),
    }
}

fn per_thread() -> Result<Arc<Stream>, Code> {
    let context = context::current()?;
    PER_THREAD.with_borrow_mut(|streams| {
        let is_it = |stream: &&Arc<Stream>| Arc::ptr_eq(&stream.timeline, &context.timeline);
        if let Some(stream) = streams.iter().find(is_it) {
            return Ok(Arc::clone(stream));
        }
        let timeline = Arc::clone(&context.timeline);
        let stream = Stream::create(timeline, context.device, false, 0, 0);
        streams.push(Arc::clone(&stream));
        Ok(stream)
    })
}

fn create(result: Out<CUstream>, flags: u32, priority: i32) -> Outcome {
    if flags & !NON_BLOCKING != 0 {
        return Err(INVALID_VALUE);
    }
    result.check()?;
    let context = context::current()?;
    let timeline = Arc::clone(&context.timeline);
    let stream = Stream::create(timeline, context.device, false, flags, priority);
    result.set(STREAMS.insert(stream))
}

exports! {
    fn cuStreamCreate(result: Out<CUstream>, flags: u32) {
        create(result, flags, 0)
    }
    fn cuStreamCreateWithPriority(result: Out<CUstream>, flags: u32, priority: i32) {
        create(result, flags, priority)
    }
    fn cuStreamDestroy_v2(stream: CUstream) {
        STREAMS.remove(stream).map(|_| ())
    }
    fn cuStreamSynchronize | cuStreamSynchronize_ptsz [null] (stream: CUstream) {
        get(stream, null)?.synchronize();
        Ok(())
    }
    fn cuStreamQuery | cuStreamQuery_ptsz [null] (stream: CUstream) {
        let stream = get(stream, null)?;
        let busy_until_ns = stream.busy_until_ns();
        let idle = busy_until_ns == 0 || busy_until_ns <= now_ns();
        let done = idle && stream.host_calls.is_done(stream.host_calls.issued());
        if done { Ok(()) } else { Err(NOT_READY) }
    }
    fn cuStreamWaitEvent | cuStreamWaitEvent_ptsz [null] (
        stream: CUstream,
        event: CUevent,
        _flags: u32,
    ) {
        event::make_wait(&*get(stream, null)?, event)
    }
    fn cuStreamGetFlags | cuStreamGetFlags_ptsz [null] (stream: CUstream, result: Out<u32>) {
        result.set(get(stream, null)?.flags)
    }
    fn cuStreamGetPriority | cuStreamGetPriority_ptsz [null] (stream: CUstream, result: Out<i32>) {
        result.set(get(stream, null)?.priority)
    }
    fn cuStreamGetCtx | cuStreamGetCtx_ptsz [null] (stream: CUstream, result: Out<CUcontext>) {
        get(stream, null)?;
        result.set(crate::handles::handle(&context::current()?))
    }
    fn cuStreamGetDevice | cuStreamGetDevice_ptsz [null] (stream: CUstream, result: Out<CUdevice>) {
        let device = get(stream, null)?.device;
        result.set(i32::try_from(device).map_err(|_| INVALID_VALUE)?)
    }
    fn cuStreamAttachMemAsync | cuStreamAttachMemAsync_ptsz [null] (
        stream: CUstream,
        _address: Opaque,
        _bytes: usize,
        _flags: u32,
    ) {
        get(stream, null).map(|_| ())
    }
}
