//! Finding a function by name and version, as the runtime library does.

use std::{ffi::c_void, ptr};

use cuda_sim_control::{Call, Out, Text, exports};

use crate::{
    LIBRARY,
    abi::Opaque,
    code::{INVALID_VALUE, NOT_FOUND, NOT_SUPPORTED, Outcome},
    unsupported,
};

/// `CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM`
const PER_THREAD: u64 = 2;
/// Numbers of `CUdriverProcAddressQueryResult`.
const FOUND: u32 = 0;
const NO_SYMBOL: u32 = 1;
const TOO_OLD: u32 = 2;

/// Since which version of CUDA a form of a function is what its plain name stands for.
const SINCE: &[(&str, i32)] = &[
    ("cuCtxCreate_v3", 11_040),
    ("cuCtxCreate_v4", 12_050),
    ("cuDeviceGetUuid_v2", 11_040),
    ("cuDevicePrimaryCtxRelease_v2", 11_000),
    ("cuDevicePrimaryCtxReset_v2", 11_000),
    ("cuDevicePrimaryCtxSetFlags_v2", 11_000),
    ("cuEventElapsedTime_v2", 12_080),
    ("cuGetProcAddress_v2", 12_000),
    ("cuGraphAddKernelNode_v2", 12_000),
    ("cuGraphInstantiate_v2", 11_000),
    ("cuGraphInstantiateWithFlags", 11_040),
    ("cuMemAdvise_v2", 12_020),
    ("cuMemPrefetchAsync_v2", 12_020),
    ("cuStreamBeginCapture_v2", 10_010),
    ("cuStreamGetCaptureInfo_v2", 11_030),
];
/// All forms that are not listed are older than any program.
const ALWAYS: i32 = 4000;

/// An exported name's parts: the plain name, whether the null stream is the thread's own, and since
/// when.
fn parts(name: &str) -> (&str, bool, i32) {
    let per_thread = [name.strip_suffix("_ptsz"), name.strip_suffix("_ptds")];
    let per_thread = per_thread.into_iter().flatten().next();
    let form = per_thread.unwrap_or(name);
    let since = SINCE.iter().find(|(known, _)| *known == form);
    let plain = match form.rsplit_once("_v") {
        Some((plain, number)) if number.parse::<u8>().is_ok() => plain,
        _ => form,
    };
    let since = since.map_or(if plain == form { 2000 } else { ALWAYS }, |(_, since)| {
        *since
    });
    (plain, per_thread.is_some(), since)
}

/// The newest form of a function that a version has.
fn find(plain: &str, version: i32, flags: u64) -> Result<&'static Call, u32> {
    // What is there for its name alone would hide an older form that works.
    let works = |call: &&Call| {
        !unsupported::CALLS
            .iter()
            .any(|other| ptr::eq(*other, *call))
    };
    let forms = LIBRARY.calls().filter(works);
    let forms = forms.map(|call| (parts(call.name()), call));
    let forms: Vec<_> = forms.filter(|((known, ..), _)| *known == plain).collect();
    let wanted = flags & PER_THREAD != 0;
    let fits = |((_, per_thread, since), _): &&((&str, bool, i32), &Call)| {
        *since <= version && (wanted || !per_thread)
    };
    let newest = forms.iter().filter(fits);
    // Functions that have no stream have one form for both.
    let newest = newest.max_by_key(|((_, per_thread, since), _)| (*since, *per_thread));
    match newest {
        Some((_, call)) => Ok(call),
        None if forms.is_empty() => Err(NO_SYMBOL),
        None => Err(TOO_OLD),
    }
}

fn look_up(
    name: Text,
    result: Out<*const c_void>,
    version: i32,
    flags: u64,
    status: Option<Out<u32>>,
) -> Outcome {
    if flags > PER_THREAD + 1 || version < 0 {
        return Err(INVALID_VALUE);
    }
    let found = find(name.get()?, version, flags);
    result.set(found.map_or(ptr::null(), |call| call.address().cast()))?;
    if let Some(status) = status {
        status.set_if_wanted(found.err().unwrap_or(FOUND));
    }
    found.map(|_| ()).map_err(|_| NOT_FOUND)
}

exports! {
    fn cuGetProcAddress(name: Text, result: Out<*const c_void>, version: i32, flags: u64) {
        look_up(name, result, version, flags, None)
    }
    fn cuGetProcAddress_v2(
        name: Text,
        result: Out<*const c_void>,
        version: i32,
        flags: u64,
        status: Out<u32>,
    ) {
        look_up(name, result, version, flags, Some(status))
    }
    fn cuGetExportTable(_result: Opaque, _which: Opaque) {
        // The tables are the real libraries' secret.
        Err(NOT_SUPPORTED)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_form_that_a_version_has() {
        let case = |plain: &str, version, flags, want: Result<&str, u32>| {
            let found = find(plain, version, flags).map(Call::name);
            assert_eq!(found, want, "{plain} {version}");
        };
        case("cuMemAlloc", 12_080, 0, Ok("cuMemAlloc_v2"));
        case("cuCtxSynchronize", 13_010, 0, Ok("cuCtxSynchronize"));
        case("cuInit", 12_080, 2, Ok("cuInit"));
        case("cuGetProcAddress", 12_000, 0, Ok("cuGetProcAddress_v2"));
        case("cuGetProcAddress", 11_030, 0, Ok("cuGetProcAddress"));
        case("cuEventElapsedTime", 12_070, 0, Ok("cuEventElapsedTime"));
        case("cuLaunchKernel", 12_080, 1, Ok("cuLaunchKernel"));
        case("cuLaunchKernel", 12_080, 2, Ok("cuLaunchKernel_ptsz"));
        case("cuMemcpyHtoD", 12_080, 2, Ok("cuMemcpyHtoD_v2_ptds"));
        case("cuGraphAddKernelNode", 11_000, 0, Err(TOO_OLD));
        case("cuNothing", 12_080, 0, Err(NO_SYMBOL));
    }
}
