//! Filling memory with a byte.

use cuda_sim_control::{
    NullStream,
    abi::{CUdeviceptr, CUstream},
    exports,
};

use crate::{
    code::Outcome,
    driver::{self, check},
    shape::{Extent, PitchedPtr},
};

/// The lowest byte counts, as with `memset`.
fn byte(value: i32) -> u8 {
    value.to_le_bytes()[0]
}

fn line(
    to: CUdeviceptr,
    value: i32,
    bytes: usize,
    stream: Option<CUstream>,
    null: NullStream,
) -> Outcome {
    let driver = driver::driver(null)?;
    check(match stream {
        Some(stream) => (driver.cuMemsetD8Async)(to, byte(value), bytes, stream),
        None => (driver.cuMemsetD8)(to, byte(value), bytes),
    })
}

fn plane(
    (to, pitch_bytes): (CUdeviceptr, usize),
    value: i32,
    (width, height): (usize, usize),
    stream: Option<CUstream>,
    null: NullStream,
) -> Outcome {
    let (driver, value) = (driver::driver(null)?, byte(value));
    check(match stream {
        Some(stream) => (driver.cuMemsetD2D8Async)(to, pitch_bytes, value, width, height, stream),
        None => (driver.cuMemsetD2D8)(to, pitch_bytes, value, width, height),
    })
}

fn block(
    to: &PitchedPtr,
    value: i32,
    extent: &Extent,
    stream: Option<CUstream>,
    null: NullStream,
) -> Outcome {
    let slice_bytes = (to.pitch_bytes * to.height) as u64;
    (0..extent.depth as u64).try_for_each(|slice| {
        let slice = (to.address + slice * slice_bytes, to.pitch_bytes);
        plane(
            slice,
            value,
            (extent.width_bytes, extent.height),
            stream,
            null,
        )
    })
}

exports! {
    fn cudaMemset | cudaMemset_ptds [null] (to: CUdeviceptr, value: i32, bytes: usize) {
        line(to, value, bytes, None, null)
    }
    fn cudaMemsetAsync | cudaMemsetAsync_ptsz [null] (
        to: CUdeviceptr, value: i32, bytes: usize, stream: CUstream,
    ) {
        line(to, value, bytes, Some(stream), null)
    }
    fn cudaMemset2D | cudaMemset2D_ptds [null] (
        to: CUdeviceptr, pitch_bytes: usize, value: i32, width: usize, height: usize,
    ) {
        plane((to, pitch_bytes), value, (width, height), None, null)
    }
    fn cudaMemset2DAsync | cudaMemset2DAsync_ptsz [null] (
        to: CUdeviceptr, pitch_bytes: usize, value: i32, width: usize, height: usize,
        stream: CUstream,
    ) {
        plane((to, pitch_bytes), value, (width, height), Some(stream), null)
    }
    fn cudaMemset3D | cudaMemset3D_ptds [null] (to: PitchedPtr, value: i32, extent: Extent) {
        block(&to, value, &extent, None, null)
    }
    fn cudaMemset3DAsync | cudaMemset3DAsync_ptsz [null] (
        to: PitchedPtr, value: i32, extent: Extent, stream: CUstream,
    ) {
        block(&to, value, &extent, Some(stream), null)
    }
}
