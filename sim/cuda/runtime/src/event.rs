//! Events.

use cuda_sim_control::{
    Out,
    abi::{CUevent, CUstream},
    exports,
};

use crate::driver::{self, check};

exports! {
    fn cudaEventCreate(result: Out<CUevent>) {
        check((driver::plain()?.cuEventCreate)(result.pointer(), 0))
    }
    fn cudaEventCreateWithFlags(result: Out<CUevent>, flags: u32) {
        check((driver::plain()?.cuEventCreate)(result.pointer(), flags))
    }
    fn cudaEventDestroy(event: CUevent) {
        check((driver::plain()?.cuEventDestroy)(event))
    }
    fn cudaEventRecord | cudaEventRecord_ptsz [null] (event: CUevent, stream: CUstream) {
        check((driver::driver(null)?.cuEventRecord)(event, stream))
    }
    fn cudaEventRecordWithFlags | cudaEventRecordWithFlags_ptsz [null] (
        event: CUevent, stream: CUstream, flags: u32,
    ) {
        check((driver::driver(null)?.cuEventRecordWithFlags)(event, stream, flags))
    }
    fn cudaEventQuery(event: CUevent) {
        check((driver::plain()?.cuEventQuery)(event))
    }
    fn cudaEventSynchronize(event: CUevent) {
        check((driver::plain()?.cuEventSynchronize)(event))
    }
    fn cudaEventElapsedTime(result: Out<f32>, start: CUevent, end: CUevent) {
        check((driver::plain()?.cuEventElapsedTime)(result.pointer(), start, end))
    }
    fn cudaEventElapsedTime_v2(result: Out<f32>, start: CUevent, end: CUevent) {
        check((driver::plain()?.cuEventElapsedTime)(result.pointer(), start, end))
    }
}
