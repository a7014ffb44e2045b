//! Streams.

use cuda_sim_control::{
    Out,
    abi::{CUdeviceptr, CUevent, CUstream, Opaque},
    exports,
};

use crate::driver::{self, check};

exports! {
    fn cudaStreamCreate(result: Out<CUstream>) {
        check((driver::plain()?.cuStreamCreate)(result.pointer(), 0))
    }
    fn cudaStreamCreateWithFlags(result: Out<CUstream>, flags: u32) {
        check((driver::plain()?.cuStreamCreate)(result.pointer(), flags))
    }
    fn cudaStreamCreateWithPriority(result: Out<CUstream>, flags: u32, priority: i32) {
        let create = driver::plain()?.cuStreamCreateWithPriority;
        check(create(result.pointer(), flags, priority))
    }
    fn cudaStreamDestroy(stream: CUstream) {
        check((driver::plain()?.cuStreamDestroy)(stream))
    }
    fn cudaStreamSynchronize | cudaStreamSynchronize_ptsz [null] (stream: CUstream) {
        check((driver::driver(null)?.cuStreamSynchronize)(stream))
    }
    fn cudaStreamQuery | cudaStreamQuery_ptsz [null] (stream: CUstream) {
        check((driver::driver(null)?.cuStreamQuery)(stream))
    }
    fn cudaStreamWaitEvent | cudaStreamWaitEvent_ptsz [null] (
        stream: CUstream, event: CUevent, flags: u32,
    ) {
        check((driver::driver(null)?.cuStreamWaitEvent)(stream, event, flags))
    }
    fn cudaStreamGetFlags | cudaStreamGetFlags_ptsz [null] (stream: CUstream, result: Out<u32>) {
        check((driver::driver(null)?.cuStreamGetFlags)(stream, result.pointer()))
    }
    fn cudaStreamGetPriority | cudaStreamGetPriority_ptsz [null] (
        stream: CUstream, result: Out<i32>,
    ) {
        check((driver::driver(null)?.cuStreamGetPriority)(stream, result.pointer()))
    }
    fn cudaStreamGetDevice | cudaStreamGetDevice_ptsz [null] (stream: CUstream, result: Out<i32>) {
        check((driver::driver(null)?.cuStreamGetDevice)(stream, result.pointer()))
    }
    fn cudaStreamAddCallback | cudaStreamAddCallback_ptsz [null] (
        stream: CUstream, function: Opaque, data: Opaque, flags: u32,
    ) {
        check((driver::driver(null)?.cuStreamAddCallback)(stream, function, data, flags))
    }
    fn cudaStreamAttachMemAsync | cudaStreamAttachMemAsync_ptsz [null] (
        stream: CUstream, address: CUdeviceptr, bytes: usize, flags: u32,
    ) {
        check((driver::driver(null)?.cuStreamAttachMemAsync)(stream, address, bytes, flags))
    }
}
