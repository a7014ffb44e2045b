//! A program like any that uses `cudarc`: it knows nothing of stand-ins. Uses modules, launches,
//! copies, streams, events and graphs, and checks what comes back.
//!
//! It is a library so that a test can run it in a child process that is the test itself.

#![deny(missing_docs)]

use std::{sync::Arc, thread};

use cudarc::{
    driver::{
        CudaContext, CudaFunction, CudaStream, DriverError, LaunchConfig, PushKernelArg, sys,
    },
    nvrtc::Ptx,
};

const PTX: &str = ".version 8.0\n.target sm_80\n.address_size 64\n\
    .visible .const .align 4 .b8 coefficients[64];\n\
    .visible .entry _Z5scalePffi(\n.param .u64 a,\n.param .f32 b,\n.param .u32 c\n)\n{\nret;\n}\n\
    .visible .entry _Z3addPfS_i(\n.param .u64 a,\n.param .u64 b,\n.param .u32 c\n)\n{\nret;\n}\n";

/// Does one of everything, and as many launches as were asked for of each thread. Panics if other
/// data comes back than was sent.
///
/// # Errors
///
/// What the driver returned.
pub fn run(threads: usize, launches: usize) -> Result<(), DriverError> {
    let context = CudaContext::new(0)?;
    println!("{} of {}", context.name()?, CudaContext::device_count()?);
    let module = context.load_module(Ptx::from_src(PTX))?;
    let scale = module.load_function("_Z5scalePffi")?;
    let add = module.load_function("_Z3addPfS_i")?;
    assert!(module.load_function("no such kernel").is_err());
    let constant = module.get_global("coefficients", &context.default_stream())?;
    assert_eq!(constant.len(), 64);
    // It is the module's, and not to be freed.
    constant.leak();
    copies(&context.default_stream())?;
    events(&context, &scale)?;
    graphs(&context, &add)?;
    thread::scope(|scope| {
        let work = || {
            let stream = context.new_stream()?;
            launch(&stream, &scale, launches)
        };
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        threads
            .into_iter()
            .try_for_each(|thread| thread.join().expect("a thread panicked"))
    })?;
    println!("done");
    Ok(())
}

/// There and back, from one place on the device to another, and zeroes.
fn copies(stream: &Arc<CudaStream>) -> Result<(), DriverError> {
    let numbers: Vec<f32> = (0_u16..1000).map(f32::from).collect();
    let device = stream.clone_htod(&numbers)?;
    let mut other = stream.alloc_zeros::<f32>(numbers.len())?;
    assert_eq!(stream.clone_dtoh(&other)?, vec![0.0; numbers.len()]);
    stream.memcpy_dtod(&device, &mut other)?;
    assert_eq!(stream.clone_dtoh(&other)?, numbers);
    stream.memset_zeros(&mut other)?;
    assert_eq!(stream.clone_dtoh(&other)?, vec![0.0; numbers.len()]);
    assert_eq!(stream.clone_dtoh(&device)?, numbers);
    stream.synchronize()
}

fn launch(
    stream: &Arc<CudaStream>,
    function: &CudaFunction,
    count: usize,
) -> Result<(), DriverError> {
    let mut numbers = stream.alloc_zeros::<f32>(256)?;
    let (factor, length) = (2.0_f32, 256_i32);
    for _ in 0..count {
        let mut builder = stream.launch_builder(function);
        builder.arg(&mut numbers).arg(&factor).arg(&length);
        // SAFETY: the arguments are those that the kernel declares, and it writes nothing.
        unsafe { builder.launch(LaunchConfig::for_num_elems(256)) }?;
    }
    stream.synchronize()
}

/// An event after another, on two streams of which one waits for the other.
fn events(context: &Arc<CudaContext>, function: &CudaFunction) -> Result<(), DriverError> {
    let flags = Some(sys::CUevent_flags::CU_EVENT_DEFAULT);
    let (first, second) = (context.new_stream()?, context.new_stream()?);
    let start = first.record_event(flags)?;
    launch(&first, function, 1)?;
    let end = first.record_event(flags)?;
    second.wait(&end)?;
    second.synchronize()?;
    end.synchronize()?;
    assert!(end.is_complete());
    assert!(start.elapsed_ms(&end)? >= 0.0);
    Ok(())
}

/// One kernel, captured, and launched three times.
fn graphs(context: &Arc<CudaContext>, function: &CudaFunction) -> Result<(), DriverError> {
    let stream = context.new_stream()?;
    let (from, mut to) = (
        stream.alloc_zeros::<f32>(64)?,
        stream.alloc_zeros::<f32>(64)?,
    );
    stream.begin_capture(sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_RELAXED)?;
    let length = 64_i32;
    let mut builder = stream.launch_builder(function);
    builder.arg(&mut to).arg(&from).arg(&length);
    // SAFETY: the arguments are those that the kernel declares, and it writes nothing.
    unsafe { builder.launch(LaunchConfig::for_num_elems(64)) }?;
    let flags = sys::CUgraphInstantiate_flags::CUDA_GRAPH_INSTANTIATE_FLAG_AUTO_FREE_ON_LAUNCH;
    let graph = stream.end_capture(flags)?.expect("something was captured");
    for _ in 0..3 {
        graph.launch()?;
    }
    stream.synchronize()
}
