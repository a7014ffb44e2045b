//! Events: a mark in a stream, and the time when the stream gets there.

use std::sync::{Arc, Mutex, PoisonError};

use cuda_sim_control::{NullStream, Out, exports, now_ns, wait_until};

use crate::{
    abi::{CUevent, CUstream},
    capture::Capture,
    code::{Code, INVALID_HANDLE, INVALID_VALUE, NOT_READY, Outcome},
    context,
    handles::Handles,
    stream::{self, Stream},
};

/// `CU_EVENT_DISABLE_TIMING`
const DISABLE_TIMING: u32 = 2;
/// All flags that exist.
const FLAGS: u32 = 7;

struct Event {
    flags: u32,
    mark: Mutex<Mark>,
}

#[derive(Clone, Default)]
enum Mark {
    /// Counts as reached.
    #[default]
    Never,
    At {
        time_ns: u64,
        stream: Arc<Stream>,
        host_calls: u64,
    },
    /// Recorded on a stream that is being captured.
    Captured(Arc<Capture>),
}

static EVENTS: Handles<Event> = Handles::new();

impl Event {
    fn mark(&self) -> Mark {
        let mark = self.mark.lock().unwrap_or_else(PoisonError::into_inner);
        mark.clone()
    }

    /// When the event is reached; fails if it is not, or has no time.
    fn time_ns(&self) -> Result<u64, Code> {
        match self.mark() {
            _ if self.flags & DISABLE_TIMING != 0 => Err(INVALID_HANDLE),
            Mark::At { time_ns, .. } if self.mark().is_reached() => Ok(time_ns),
            Mark::At { .. } => Err(NOT_READY),
            Mark::Never | Mark::Captured(_) => Err(INVALID_HANDLE),
        }
    }
}

impl Mark {
    fn is_reached(&self) -> bool {
        match self {
            Self::Never | Self::Captured(_) => true,
            Self::At {
                time_ns,
                stream,
                host_calls,
            } => *time_ns <= now_ns() && stream.host_calls.is_done(*host_calls),
        }
    }
}

fn record(event: CUevent, stream: CUstream, null: NullStream) -> Outcome {
    let event = EVENTS.get(event)?;
    let stream = stream::get(stream, null)?;
    let mark = match stream.capture() {
        Some(capture) => Mark::Captured(capture),
        None => Mark::At {
            time_ns: stream.busy_until_ns().max(now_ns()),
            host_calls: stream.host_calls.issued(),
            stream,
        },
    };
    *event.mark.lock().unwrap_or_else(PoisonError::into_inner) = mark;
    Ok(())
}

/// Makes a stream wait for an event; one of a captured stream makes it part of the capture.
pub(crate) fn make_wait(stream: &Stream, event: CUevent) -> Outcome {
    match EVENTS.get(event)?.mark() {
        Mark::Never => {}
        Mark::At { time_ns, .. } => stream.advance_to(time_ns),
        Mark::Captured(capture) => stream.set_capture(Some(capture)),
    }
    Ok(())
}

#[expect(clippy::cast_possible_truncation, reason = "the result is an f32")]
fn elapsed(result: Out<f32>, start: CUevent, end: CUevent) -> Outcome {
    let (start, end) = (EVENTS.get(start)?.time_ns()?, EVENTS.get(end)?.time_ns()?);
    result.set((end as f64 / 1e6 - start as f64 / 1e6) as f32)
}

exports! {
    fn cuEventCreate(result: Out<CUevent>, flags: u32) {
        context::current()?;
        result.check()?;
        if flags & !FLAGS != 0 {
            return Err(INVALID_VALUE);
        }
        let event = Event {
            flags,
            mark: Mutex::default(),
        };
        result.set(EVENTS.insert(Arc::new(event)))
    }
    fn cuEventDestroy_v2(event: CUevent) {
        EVENTS.remove(event).map(|_| ())
    }
    fn cuEventRecord | cuEventRecord_ptsz [null] (event: CUevent, stream: CUstream) {
        record(event, stream, null)
    }
    fn cuEventRecordWithFlags | cuEventRecordWithFlags_ptsz [null] (
        event: CUevent,
        stream: CUstream,
        _flags: u32,
    ) {
        record(event, stream, null)
    }
    fn cuEventQuery(event: CUevent) {
        if EVENTS.get(event)?.mark().is_reached() { Ok(()) } else { Err(NOT_READY) }
    }
    fn cuEventSynchronize(event: CUevent) {
        if let Mark::At { time_ns, stream, host_calls } = EVENTS.get(event)?.mark() {
            wait_until(time_ns);
            stream.host_calls.wait(host_calls);
        }
        Ok(())
    }
    fn cuEventElapsedTime(result: Out<f32>, start: CUevent, end: CUevent) {
        elapsed(result, start, end)
    }
    fn cuEventElapsedTime_v2(result: Out<f32>, start: CUevent, end: CUevent) {
        elapsed(result, start, end)
    }
}
