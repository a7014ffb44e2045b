//! Filling memory with a value.

use cuda_sim_control::{NullStream, exports};

use crate::{
    abi::{CUdeviceptr, CUstream},
    code::{Code, INVALID_VALUE, Outcome},
    movement::{Extent, Fill, Rows, Work},
    stream,
};

/// A value of 1, 2 or 4 bytes.
#[derive(Clone, Copy)]
struct Value(u32, usize);

impl From<u8> for Value {
    fn from(value: u8) -> Self {
        Self(value.into(), 1)
    }
}

impl From<u16> for Value {
    fn from(value: u16) -> Self {
        Self(value.into(), 2)
    }
}

impl From<u32> for Value {
    fn from(value: u32) -> Self {
        Self(value, 4)
    }
}

/// Rows of `width` values.
fn fill(to: Rows, value: Value, width: usize, height: usize) -> Result<Work, Code> {
    let Value(value, value_bytes) = value;
    let aligned = to.address.is_multiple_of(value_bytes as u64);
    let whole = to.pitch_bytes.is_multiple_of(value_bytes);
    let width_bytes = width.checked_mul(value_bytes).ok_or(INVALID_VALUE)?;
    let extent = Extent {
        width_bytes,
        height,
        depth: 1,
    };
    let fill = Fill {
        to,
        value,
        value_bytes,
        extent,
    };
    if aligned && whole {
        Ok(Work::Fill(fill))
    } else {
        Err(INVALID_VALUE)
    }
}

/// A call with a stream leaves the work to it, one without waits for its end.
fn set(
    to: Rows,
    value: impl Into<Value>,
    (width, height): (usize, usize),
    stream: Option<CUstream>,
    null: NullStream,
) -> Outcome {
    let work = fill(to, value.into(), width, height)?;
    match stream {
        Some(stream) => stream::get(stream, null)?.enqueue(work),
        None => stream::get(0, null)?.enqueue_and_wait(work),
    }
}

fn line(address: CUdeviceptr) -> Rows {
    Rows::line(address, true)
}

fn rows(address: CUdeviceptr, pitch_bytes: usize) -> Rows {
    Rows {
        pitch_bytes,
        ..line(address)
    }
}

exports! {
    fn cuMemsetD8_v2 | cuMemsetD8_v2_ptds [null] (to: CUdeviceptr, value: u8, count: usize) {
        set(line(to), value, (count, 1), None, null)
    }
    fn cuMemsetD16_v2 | cuMemsetD16_v2_ptds [null] (to: CUdeviceptr, value: u16, count: usize) {
        set(line(to), value, (count, 1), None, null)
    }
    fn cuMemsetD32_v2 | cuMemsetD32_v2_ptds [null] (to: CUdeviceptr, value: u32, count: usize) {
        set(line(to), value, (count, 1), None, null)
    }
    fn cuMemsetD2D8_v2 | cuMemsetD2D8_v2_ptds [null] (
        to: CUdeviceptr, pitch_bytes: usize, value: u8, width: usize, height: usize,
    ) {
        set(rows(to, pitch_bytes), value, (width, height), None, null)
    }
    fn cuMemsetD2D16_v2 | cuMemsetD2D16_v2_ptds [null] (
        to: CUdeviceptr, pitch_bytes: usize, value: u16, width: usize, height: usize,
    ) {
        set(rows(to, pitch_bytes), value, (width, height), None, null)
    }
    fn cuMemsetD2D32_v2 | cuMemsetD2D32_v2_ptds [null] (
        to: CUdeviceptr, pitch_bytes: usize, value: u32, width: usize, height: usize,
    ) {
        set(rows(to, pitch_bytes), value, (width, height), None, null)
    }
    fn cuMemsetD8Async | cuMemsetD8Async_ptsz [null] (
        to: CUdeviceptr, value: u8, count: usize, stream: CUstream,
    ) {
        set(line(to), value, (count, 1), Some(stream), null)
    }
    fn cuMemsetD16Async | cuMemsetD16Async_ptsz [null] (
        to: CUdeviceptr, value: u16, count: usize, stream: CUstream,
    ) {
        set(line(to), value, (count, 1), Some(stream), null)
    }
    fn cuMemsetD32Async | cuMemsetD32Async_ptsz [null] (
        to: CUdeviceptr, value: u32, count: usize, stream: CUstream,
    ) {
        set(line(to), value, (count, 1), Some(stream), null)
    }
    fn cuMemsetD2D8Async | cuMemsetD2D8Async_ptsz [null] (
        to: CUdeviceptr, pitch_bytes: usize, value: u8, width: usize, height: usize,
        stream: CUstream,
    ) {
        set(rows(to, pitch_bytes), value, (width, height), Some(stream), null)
    }
    fn cuMemsetD2D16Async | cuMemsetD2D16Async_ptsz [null] (
        to: CUdeviceptr, pitch_bytes: usize, value: u16, width: usize, height: usize,
        stream: CUstream,
    ) {
        set(rows(to, pitch_bytes), value, (width, height), Some(stream), null)
    }
    fn cuMemsetD2D32Async | cuMemsetD2D32Async_ptsz [null] (
        to: CUdeviceptr, pitch_bytes: usize, value: u32, width: usize, height: usize,
        stream: CUstream,
    ) {
        set(rows(to, pitch_bytes), value, (width, height), Some(stream), null)
    }
}
