//! Graphs: captured or put together, made ready, launched. A graph's parts run in the order in
//! which they were added.

use std::sync::{Arc, Mutex, PoisonError};

use cuda_sim_control::{In, NullStream, Out, exports};

use crate::{
    abi::{CUDA_KERNEL_NODE_PARAMS, CUgraph, CUgraphExec, CUgraphNode, CUstream, Opaque},
    capture::Capture,
    code::{
        Code, ILLEGAL_STATE, INVALID_VALUE, Outcome, STREAM_CAPTURE_UNMATCHED,
        STREAM_CAPTURE_UNSUPPORTED,
    },
    context, function,
    handles::{self, Handles},
    launch,
    movement::Work,
    stream,
};

/// Numbers of `CUstreamCaptureStatus`.
const NOT_CAPTURING: u32 = 0;
const CAPTURING: u32 = 1;

struct Graph(Mutex<Vec<Arc<Node>>>);

/// A part of a graph.
struct Node(Work);

/// A graph that can be launched.
struct Executable(Vec<Arc<Node>>);

static GRAPHS: Handles<Graph> = Handles::new();
static NODES: Handles<Node> = Handles::new();
static EXECUTABLES: Handles<Executable> = Handles::new();

impl Node {
    fn create(work: Work) -> Arc<Self> {
        let node = Arc::new(Self(work));
        NODES.insert(Arc::clone(&node));
        node
    }

    /// A number of `CUgraphNodeType`.
    fn kind(&self) -> u32 {
        match self.0 {
            Work::Kernel(_) => 0,
            Work::Copy(_) => 1,
            Work::Fill(_) => 2,
            Work::Host(_) => 3,
        }
    }
}

fn begin(stream: CUstream, null: NullStream) -> Outcome {
    let stream = stream::get(stream, null)?;
    if stream.is_null() {
        return Err(STREAM_CAPTURE_UNSUPPORTED);
    }
    if stream.capture().is_some() {
        return Err(ILLEGAL_STATE);
    }
    stream.set_capture(Some(Arc::new(Capture::begin())));
    Ok(())
}

fn end(stream: CUstream, result: Out<CUgraph>, null: NullStream) -> Outcome {
    result.check()?;
    let stream = stream::get(stream, null)?;
    let capture = stream.capture().ok_or(STREAM_CAPTURE_UNMATCHED)?;
    let nodes = capture.end().into_iter().map(Node::create).collect();
    stream.set_capture(None);
    result.set(GRAPHS.insert(Arc::new(Graph(Mutex::new(nodes)))))
}

fn nodes(graph: CUgraph) -> Result<Vec<Arc<Node>>, Code> {
    let graph = GRAPHS.get(graph)?;
    let nodes = graph.0.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(nodes.clone())
}

fn instantiate(result: Out<CUgraphExec>, graph: CUgraph) -> Outcome {
    result.check()?;
    context::current()?;
    result.set(EXECUTABLES.insert(Arc::new(Executable(nodes(graph)?))))
}

fn run(graph: CUgraphExec, stream: CUstream, null: NullStream) -> Outcome {
    let graph = EXECUTABLES.get(graph)?;
    let stream = stream::get(stream, null)?;
    graph
        .0
        .iter()
        .try_for_each(|node| stream.enqueue(node.0.clone()))
}

fn add(result: Out<CUgraphNode>, graph: CUgraph, work: Work) -> Outcome {
    result.check()?;
    let graph = GRAPHS.get(graph)?;
    let node = Node::create(work);
    result.set(handles::handle(&node))?;
    graph
        .0
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push(node);
    Ok(())
}

fn status(stream: CUstream, null: NullStream) -> Result<(u32, u64), Code> {
    let capture = stream::get(stream, null)?.capture();
    Ok(capture.map_or((NOT_CAPTURING, 0), |capture| (CAPTURING, capture.id())))
}

exports! {
    fn cuStreamBeginCapture_v2 | cuStreamBeginCapture_v2_ptsz [null] (stream: CUstream, _mode: u32) {
        begin(stream, null)
    }
    fn cuStreamEndCapture | cuStreamEndCapture_ptsz [null] (
        stream: CUstream, result: Out<CUgraph>,
    ) {
        end(stream, result, null)
    }
    fn cuStreamIsCapturing | cuStreamIsCapturing_ptsz [null] (stream: CUstream, result: Out<u32>) {
        result.set(status(stream, null)?.0)
    }
    fn cuStreamGetCaptureInfo_v2 | cuStreamGetCaptureInfo_v2_ptsz [null] (
        stream: CUstream,
        result: Out<u32>,
        id: Out<u64>,
        graph: Out<CUgraph>,
        dependencies: Out<Opaque>,
        count: Out<usize>,
    ) {
        let (status, number) = status(stream, null)?;
        result.set(status)?;
        id.set_if_wanted(number);
        graph.set_if_wanted(0);
        dependencies.set_if_wanted(0);
        count.set_if_wanted(0);
        Ok(())
    }
    fn cuThreadExchangeStreamCaptureMode(mode: Out<u32>) {
        mode.check()
    }
    fn cuGraphCreate(result: Out<CUgraph>, _flags: u32) {
        result.check()?;
        result.set(GRAPHS.insert(Arc::new(Graph(Mutex::default()))))
    }
    fn cuGraphAddKernelNode_v2(
        result: Out<CUgraphNode>,
        graph: CUgraph,
        _dependencies: Opaque,
        _count: usize,
        parameters: In<CUDA_KERNEL_NODE_PARAMS>,
    ) {
        let parameters = parameters.get()?;
        launch::check(parameters.grid, parameters.block, parameters.shared_bytes)?;
        let function = match parameters.function {
            0 => parameters.kernel,
            function => function,
        };
        add(result, graph, Work::Kernel(function::get(function)?))
    }
    fn cuGraphGetNodes(graph: CUgraph, results: Out<CUgraphNode>, count: Out<usize>) {
        let nodes = nodes(graph)?;
        if results.check().is_ok() {
            let room = In::from(count).get()?;
            results.set_all(nodes.iter().map(handles::handle).take(room))?;
        }
        count.set(nodes.len())
    }
    fn cuGraphNodeGetType(node: CUgraphNode, result: Out<u32>) {
        result.set(NODES.get(node)?.kind())
    }
    fn cuGraphInstantiateWithFlags(result: Out<CUgraphExec>, graph: CUgraph, _flags: u64) {
        instantiate(result, graph)
    }
    fn cuGraphInstantiate_v2(
        result: Out<CUgraphExec>,
        graph: CUgraph,
        _error_node: Opaque,
        _log: Opaque,
        _log_bytes: usize,
    ) {
        instantiate(result, graph)
    }
    fn cuGraphInstantiateWithParams | cuGraphInstantiateWithParams_ptsz [_null] (
        result: Out<CUgraphExec>, graph: CUgraph, _parameters: Opaque,
    ) {
        instantiate(result, graph)
    }
    fn cuGraphUpload | cuGraphUpload_ptsz [null] (graph: CUgraphExec, stream: CUstream) {
        EXECUTABLES.get(graph)?;
        stream::get(stream, null).map(|_| ())
    }
    fn cuGraphLaunch | cuGraphLaunch_ptsz [null] (graph: CUgraphExec, stream: CUstream) {
        run(graph, stream, null)
    }
    fn cuGraphExecDestroy(graph: CUgraphExec) {
        EXECUTABLES.remove(graph).map(|_| ())
    }
    fn cuGraphDestroy(graph: CUgraph) {
        let nodes = nodes(graph)?;
        GRAPHS.remove(graph)?;
        for node in nodes {
            NODES.remove(handles::handle(&node)).map_err(|_| INVALID_VALUE)?;
        }
        Ok(())
    }
}
