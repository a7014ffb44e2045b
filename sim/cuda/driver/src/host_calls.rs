//! Functions of the program that a stream calls when it gets to them, one after the other, on
//! threads that are not the program's.

use std::{
    sync::{Arc, Condvar, Mutex, PoisonError},
    thread,
};

use cuda_sim_control::{exports, wait_until};

use crate::{
    abi::{CUstream, Opaque},
    code::{INVALID_VALUE, Outcome},
    movement::Work,
    stream::{self, Stream},
};

/// `CUhostFn`
type HostFunction = extern "C" fn(Opaque);
/// `CUstreamCallback`
type Callback = extern "C" fn(CUstream, u32, Opaque);

/// What a stream has called, and has yet to call.
#[derive(Default)]
pub(crate) struct HostCalls {
    progress: Mutex<Progress>,
    changed: Condvar,
}

#[derive(Default)]
struct Progress {
    issued: u64,
    done: u64,
}

/// One function and what it is given.
#[derive(Clone, Copy)]
pub(crate) enum HostCall {
    Function(HostFunction, Opaque),
    Callback(Callback, CUstream, Opaque),
}

impl HostCall {
    fn call(self) {
        match self {
            Self::Function(function, data) => function(data),
            Self::Callback(function, stream, data) => function(stream, 0, data),
        }
    }

    /// Calls the function when the stream has done all that it has to do now.
    pub(crate) fn issue(self, stream: &Arc<Stream>) {
        let mut progress = stream.host_calls.lock();
        progress.issued += 1;
        let number = progress.issued;
        drop(progress);
        let stream = Arc::clone(stream);
        let start_ns = stream.busy_until_ns();
        thread::spawn(move || {
            wait_until(start_ns);
            stream.host_calls.wait(number - 1);
            self.call();
            stream.host_calls.lock().done = number;
            stream.host_calls.changed.notify_all();
        });
    }
}

impl HostCalls {
    fn lock(&self) -> std::sync::MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The number of calls that the stream was given.
    pub(crate) fn issued(&self) -> u64 {
        self.lock().issued
    }

    /// Whether so many have returned.
    pub(crate) fn is_done(&self, number: u64) -> bool {
        self.lock().done >= number
    }

    /// Waits until so many have returned.
    pub(crate) fn wait(&self, number: u64) {
        let progress = self.lock();
        let waiting = |progress: &mut Progress| progress.done < number;
        drop(self.changed.wait_while(progress, waiting));
    }
}

fn enqueue(stream: &Arc<Stream>, call: HostCall) -> Outcome {
    stream.enqueue(Work::Host(call))
}

exports! {
    fn cuLaunchHostFunc | cuLaunchHostFunc_ptsz [null] (
        stream: CUstream,
        function: Option<HostFunction>,
        data: Opaque,
    ) {
        let function = function.ok_or(INVALID_VALUE)?;
        enqueue(&stream::get(stream, null)?, HostCall::Function(function, data))
    }
    fn cuStreamAddCallback | cuStreamAddCallback_ptsz [null] (
        stream: CUstream,
        function: Option<Callback>,
        data: Opaque,
        _flags: u32,
    ) {
        let call = HostCall::Callback(function.ok_or(INVALID_VALUE)?, stream, data);
        enqueue(&stream::get(stream, null)?, call)
    }
}
