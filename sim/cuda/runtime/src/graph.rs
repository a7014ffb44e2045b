//! Graphs.

use cuda_sim_control::{
    In, Out,
    abi::{CUDA_KERNEL_NODE_PARAMS, CUgraph, CUgraphExec, CUgraphNode, CUstream, Opaque},
    exports,
};

use crate::{
    driver::{self, check},
    registration,
    shape::KernelNode,
};

exports! {
    fn cudaStreamBeginCapture | cudaStreamBeginCapture_ptsz [null] (stream: CUstream, mode: u32) {
        check((driver::driver(null)?.cuStreamBeginCapture)(stream, mode))
    }
    fn cudaStreamEndCapture | cudaStreamEndCapture_ptsz [null] (
        stream: CUstream, result: Out<CUgraph>,
    ) {
        check((driver::driver(null)?.cuStreamEndCapture)(stream, result.pointer()))
    }
    fn cudaStreamIsCapturing | cudaStreamIsCapturing_ptsz [null] (
        stream: CUstream, result: Out<u32>,
    ) {
        check((driver::driver(null)?.cuStreamIsCapturing)(stream, result.pointer()))
    }
    fn cudaStreamGetCaptureInfo_v2 | cudaStreamGetCaptureInfo_v2_ptsz [null] (
        stream: CUstream,
        status: Out<u32>,
        id: Out<u64>,
        graph: Out<CUgraph>,
        dependencies: Out<Opaque>,
        count: Out<usize>,
    ) {
        check((driver::driver(null)?.cuStreamGetCaptureInfo)(
            stream, status.pointer(), id.pointer(), graph.pointer(), dependencies.pointer(),
            count.pointer(),
        ))
    }
    fn cudaThreadExchangeStreamCaptureMode(mode: Out<u32>) {
        check((driver::plain()?.cuThreadExchangeStreamCaptureMode)(mode.pointer()))
    }
    fn cudaGraphCreate(result: Out<CUgraph>, flags: u32) {
        check((driver::plain()?.cuGraphCreate)(result.pointer(), flags))
    }
    fn cudaGraphAddKernelNode(
        result: Out<CUgraphNode>,
        graph: CUgraph,
        dependencies: Opaque,
        count: usize,
        parameters: In<KernelNode>,
    ) {
        let given = parameters.get()?;
        let node = CUDA_KERNEL_NODE_PARAMS {
            function: registration::function(given.function)?,
            grid: [given.grid.x, given.grid.y, given.grid.z],
            block: [given.block.x, given.block.y, given.block.z],
            shared_bytes: given.shared_bytes,
            parameters: given.parameters,
            extra: given.extra,
            kernel: 0,
            context: 0,
        };
        let node = (&raw const node).cast();
        let add = driver::plain()?.cuGraphAddKernelNode;
        check(add(result.pointer(), graph, dependencies, count, node))
    }
    fn cudaGraphGetNodes(graph: CUgraph, results: Out<CUgraphNode>, count: Out<usize>) {
        check((driver::plain()?.cuGraphGetNodes)(graph, results.pointer(), count.pointer()))
    }
    fn cudaGraphNodeGetType(node: CUgraphNode, result: Out<u32>) {
        check((driver::plain()?.cuGraphNodeGetType)(node, result.pointer()))
    }
    fn cudaGraphInstantiate(result: Out<CUgraphExec>, graph: CUgraph, flags: u64) {
        check((driver::plain()?.cuGraphInstantiateWithFlags)(result.pointer(), graph, flags))
    }
    fn cudaGraphInstantiateWithFlags(result: Out<CUgraphExec>, graph: CUgraph, flags: u64) {
        check((driver::plain()?.cuGraphInstantiateWithFlags)(result.pointer(), graph, flags))
    }
    fn cudaGraphInstantiateWithParams | cudaGraphInstantiateWithParams_ptsz [null] (
        result: Out<CUgraphExec>, graph: CUgraph, parameters: Opaque,
    ) {
        let instantiate = driver::driver(null)?.cuGraphInstantiateWithParams;
        check(instantiate(result.pointer(), graph, parameters))
    }
    fn cudaGraphUpload | cudaGraphUpload_ptsz [null] (graph: CUgraphExec, stream: CUstream) {
        check((driver::driver(null)?.cuGraphUpload)(graph, stream))
    }
    fn cudaGraphLaunch | cudaGraphLaunch_ptsz [null] (graph: CUgraphExec, stream: CUstream) {
        check((driver::driver(null)?.cuGraphLaunch)(graph, stream))
    }
    fn cudaGraphExecDestroy(graph: CUgraphExec) {
        check((driver::plain()?.cuGraphExecDestroy)(graph))
    }
    fn cudaGraphDestroy(graph: CUgraph) {
        check((driver::plain()?.cuGraphDestroy)(graph))
    }
}
