//! The way into every call, and the only place where a script's `lost`, errors and hangs act.
//!
//! Knows nothing of what a call reads.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    thread,
    time::{Duration, Instant},
};

use nvml_wrapper_sys::bindings::{nvmlDevice_t, nvmlReturn_t};

use crate::{
    abi::{Answer, Code, SUCCESS},
    handle::Handle,
    library,
    unit::Unit,
    values::duration,
};

/// How often a hanging call looks whether the script still wants it to.
const RELEASE_CHECK: Duration = Duration::from_millis(2);

/// Exports calls on a device. The first argument is its handle.
macro_rules! device_calls {
    ($( fn $name:ident ( $( $arg:ident : $type:ty ),* ) | $unit:ident | $body:block )*) => {
        /// The calls that this file exports.
        pub(crate) const NAMES: &[&str] = &[$(stringify!($name)),*];
        $(
            #[unsafe(no_mangle)]
            #[allow(non_snake_case)]
            extern "C" fn $name(
                device: nvml_wrapper_sys::bindings::nvmlDevice_t
                $(, $arg: $type)*
            ) -> nvml_wrapper_sys::bindings::nvmlReturn_t {
                $crate::dispatch::device(stringify!($name), device, |$unit| $body)
            }
        )*
    };
}

/// Exports calls on no device, or on one that is not their first argument. Before each stands the
/// function of this file that is its way in.
macro_rules! library_calls {
    ($( $way:ident fn $name:ident ( $( $arg:ident : $type:ty ),* ) $body:block )*) => {
        /// The calls that this file exports.
        pub(crate) const NAMES: &[&str] = &[$(stringify!($name)),*];
        $(
            #[unsafe(no_mangle)]
            #[allow(non_snake_case)]
            extern "C" fn $name( $($arg: $type),* ) -> nvml_wrapper_sys::bindings::nvmlReturn_t {
                $crate::dispatch::$way(stringify!($name), || $body)
            }
        )*
    };
}

/// A call that works before `nvmlInit` as well.
pub(crate) fn anytime(call: &'static str, body: impl FnOnce() -> Answer) -> nvmlReturn_t {
    guarded(|| {
        hang(call, None)?;
        refuse(call, None)?;
        body()
    })
}

/// A call on no device.
pub(crate) fn library(call: &'static str, body: impl FnOnce() -> Answer) -> nvmlReturn_t {
    guarded(|| {
        ready(call)?;
        refuse(call, None)?;
        body()
    })
}

/// A call that finds out by itself which device it is on, and then goes through [`enter`].
pub(crate) fn indirect(_call: &'static str, body: impl FnOnce() -> Answer) -> nvmlReturn_t {
    guarded(|| {
        initialized()?;
        driver_loaded()?;
        body()
    })
}

/// A call on a device.
pub(crate) fn device(
    call: &'static str,
    device: nvmlDevice_t,
    body: impl FnOnce(&Unit) -> Answer,
) -> nvmlReturn_t {
    guarded(|| {
        initialized()?;
        let handle = Handle::of(device)?;
        body(&enter(call, handle)?)
    })
}

/// What stands before a call on a device that is not the call's first argument.
pub(crate) fn on_device(call: &'static str, device: nvmlDevice_t) -> Answer<Unit> {
    enter(call, Handle::of(device)?)
}

/// The device of a handle, if it answers to this call.
pub(crate) fn enter(call: &'static str, handle: Handle) -> Answer<Unit> {
    hang(call, Some(handle.gpu))?;
    initialized()?;
    driver_loaded()?;
    let unit = Unit::find(handle)?;
    refuse(call, Some(&unit))?;
    Ok(unit)
}

fn guarded(body: impl FnOnce() -> Answer) -> nvmlReturn_t {
    // Nothing of ours is left half done by a panic but what the locks hold, and those who take
    // them do not mind.
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(())) => SUCCESS,
        Ok(Err(code)) => code.0,
        Err(_) => Code::UNKNOWN.0,
    }
}

fn ready(call: &'static str) -> Answer {
    initialized()?;
    hang(call, None)?;
    initialized()?;
    driver_loaded()
}

fn initialized() -> Answer {
    if library::is_initialized() {
        return Ok(());
    }
    Err(Code::UNINITIALIZED)
}

/// Whether the script has the driver loaded.
pub(crate) fn driver_loaded() -> Answer {
    if library::script()?.driver_loaded {
        return Ok(());
    }
    Err(Code::DRIVER_NOT_LOADED)
}

/// Refuses a call that the script wants refused.
fn refuse(call: &str, unit: Option<&Unit>) -> Answer {
    let script = library::script()?;
    let own = unit.and_then(|unit| unit.gpu().errors.get(call));
    match own.or_else(|| script.errors.get(call)) {
        Some(code) => Err(*code),
        None => Ok(()),
    }
}

/// Comes back when the script no longer says that this call hangs.
fn hang(call: &str, gpu: Option<usize>) -> Answer {
    let since = Instant::now();
    loop {
        let script = library::script()?;
        let mut hangs = script.hangs.iter();
        let hangs = hangs.any(|hang| {
            hang.call == call
                && (hang.gpu.is_none() || hang.gpu == gpu)
                && since.elapsed() < duration(hang.seconds)
        });
        if !hangs {
            return Ok(());
        }
        thread::sleep(RELEASE_CHECK);
    }
}
