//! Initialisation, the version, and what errors are called.

use std::{
    ffi::{CStr, c_char},
    ptr,
    sync::atomic::{AtomicBool, Ordering},
};

use cuda_sim_control::{Out, exports};

use crate::{
    code::{self, Code, INVALID_VALUE, NO_DEVICE, NOT_INITIALIZED},
    device,
};

/// CUDA 12.8.
pub(crate) const VERSION: i32 = 12_080;

static INITIALISED: AtomicBool = AtomicBool::new(false);

/// Fails before `cuInit`.
pub(crate) fn check_initialised() -> Result<(), Code> {
    if INITIALISED.load(Ordering::Acquire) {
        Ok(())
    } else {
        Err(NOT_INITIALIZED)
    }
}

/// Names are what messages say, too: they are clear enough.
fn name(code: u32, result: Out<*const c_char>) -> Result<(), Code> {
    let name = code::name(code);
    result.set(name.map_or(ptr::null(), CStr::as_ptr))?;
    name.map(|_| ()).ok_or(INVALID_VALUE)
}

exports! {
    fn cuInit(flags: u32) {
        match (flags, device::count()) {
            (0, 0) => Err(NO_DEVICE),
            (0, _) => {
                INITIALISED.store(true, Ordering::Release);
                Ok(())
            }
            _ => Err(INVALID_VALUE),
        }
    }
    fn cuDriverGetVersion(result: Out<i32>) {
        result.set(VERSION)
    }
    fn cuGetErrorName(code: u32, result: Out<*const c_char>) {
        name(code, result)
    }
    fn cuGetErrorString(code: u32, result: Out<*const c_char>) {
        name(code, result)
    }
    fn cuProfilerStart() {
        Ok(())
    }
    fn cuProfilerStop() {
        Ok(())
    }
}
