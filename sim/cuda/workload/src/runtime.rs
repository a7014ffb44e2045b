//! The runtime API.

use std::{ffi::c_char, path::Path};

use anyhow::Result;

use crate::{
    cuda::Cuda,
    functions,
    kernels::{self, Kernel},
    options::Options,
    tally::call,
};

/// `dim3`
#[derive(Clone, Copy)]
#[repr(C)]
struct Dim3([u32; 3]);

functions! { Functions {
    cudaSetDevice(i32)
    cudaMalloc(*mut u64, usize)
    cudaFree(u64)
    cudaMemcpy(u64, u64, usize, u32)
    cudaLaunchKernel(usize, Dim3, Dim3, usize, usize, usize)
    __cudaLaunchKernel(usize, Dim3, Dim3, usize, usize, usize)
    __cudaGetKernel(*mut usize, usize)
    cudaStreamCreate(*mut usize)
    cudaStreamSynchronize(usize)
    cudaStreamDestroy(usize)
    cudaStreamQuery(usize)
    cudaEventCreate(*mut usize)
    cudaEventRecord(usize, usize)
    cudaEventQuery(usize)
    cudaEventDestroy(usize)
    cudaStreamBeginCapture(usize, u32)
    cudaStreamEndCapture(usize, *mut usize)
    cudaGraphInstantiate(*mut usize, usize, u64)
    cudaGraphLaunch(usize, usize)
    cudaGraphExecDestroy(usize)
    cudaGraphDestroy(usize)
    cudaDeviceSynchronize()
} }

/// What nvcc's code calls before `main`.
struct Registration {
    fat_binary: extern "C" fn(usize) -> usize,
    function: RegisterFunction,
    end: extern "C" fn(usize),
}

type RegisterFunction = extern "C" fn(
    usize,
    usize,
    *const c_char,
    *const c_char,
    i32,
    usize,
    usize,
    usize,
    usize,
    usize,
);

impl Registration {
    fn open(library: &Path) -> Result<Self> {
        // SAFETY: the library is open already; this adds a reference.
        let library = Box::leak(Box::new(unsafe { libloading::Library::new(library) }?));
        // SAFETY: CUDA's functions of these names have these signatures.
        unsafe {
            Ok(Self {
                fat_binary: *library.get(b"__cudaRegisterFatBinary")?,
                function: *library.get(b"__cudaRegisterFunction")?,
                end: *library.get(b"__cudaRegisterFatBinaryEnd")?,
            })
        }
    }

    fn register(&self, kernels: &[Kernel]) {
        let image = (self.fat_binary)(kernels::image(kernels));
        for kernel in kernels {
            let name = kernel.name.as_ptr();
            (self.function)(image, kernel.stub, name, name, -1, 0, 0, 0, 0, 0);
        }
        (self.end)(image);
    }
}

pub(crate) struct Runtime {
    functions: Functions,
    /// What launches name the kernels by.
    kernels: Vec<usize>,
    /// Each launch asks for its kernel's handle.
    stubs: bool,
}

impl Runtime {
    /// Opens the library and registers the kernels.
    pub(crate) fn open(options: &Options, kernels: &[Kernel]) -> Result<Self> {
        let library = options.library();
        let mut runtime = Self {
            functions: Functions::open(&library)?,
            kernels: kernels.iter().map(|kernel| kernel.stub).collect(),
            stubs: options.stubs,
        };
        Registration::open(&library)?.register(kernels);
        if options.handles {
            let stubs = runtime.kernels.iter();
            runtime.kernels = stubs.map(|stub| runtime.handle(*stub)).collect();
        }
        Ok(runtime)
    }

    /// A kernel's handle. Where there is none launches fail in turn, and are counted.
    fn handle(&self, stub: usize) -> usize {
        let mut handle = stub;
        let code = (self.functions.__cudaGetKernel)(&raw mut handle, stub);
        call("__cudaGetKernel", code);
        handle
    }
}

const HOST_TO_DEVICE: u32 = 1;
const DEVICE_TO_HOST: u32 = 2;

/// Calls a function of the table, and counts it under its name.
macro_rules! counted {
    ($self:ident.$name:ident($($argument:expr),*)) => {
        call(stringify!($name), ($self.functions.$name)($($argument),*))
    };
}

impl Cuda for Runtime {
    fn enter(&self) -> u32 {
        counted!(self.cudaSetDevice(0))
    }
    fn launch(&self, kernel: usize, blocks: u32, stream: usize) -> u32 {
        let (grid, block) = (Dim3([blocks, 1, 1]), Dim3([256, 1, 1]));
        let kernel = self.kernels[kernel];
        if self.stubs {
            let handle = self.handle(kernel);
            // By its other name, which is a jump to it.
            let code = (self.functions.__cudaLaunchKernel)(handle, grid, block, 0, 0, stream);
            return call("cudaLaunchKernel", code);
        }
        counted!(self.cudaLaunchKernel(kernel, grid, block, 0, 0, stream))
    }
    fn allocate(&self, address: &mut u64, bytes: usize) -> u32 {
        counted!(self.cudaMalloc(address, bytes))
    }
    fn free(&self, address: u64) -> u32 {
        counted!(self.cudaFree(address))
    }
    fn copy_to_device(&self, to: u64, from: &[u8]) -> u32 {
        let address = from.as_ptr().expose_provenance() as u64;
        counted!(self.cudaMemcpy(to, address, from.len(), HOST_TO_DEVICE))
    }
    fn copy_to_host(&self, to: &mut [u8], from: u64) -> u32 {
        let address = to.as_mut_ptr().expose_provenance() as u64;
        counted!(self.cudaMemcpy(address, from, to.len(), DEVICE_TO_HOST))
    }
    fn create_stream(&self, stream: &mut usize) -> u32 {
        counted!(self.cudaStreamCreate(stream))
    }
    fn synchronize_stream(&self, stream: usize) -> u32 {
        counted!(self.cudaStreamSynchronize(stream))
    }
    fn destroy_stream(&self, stream: usize) -> u32 {
        counted!(self.cudaStreamDestroy(stream))
    }
    fn query_stream(&self, stream: usize) -> u32 {
        counted!(self.cudaStreamQuery(stream))
    }
    fn create_event(&self, event: &mut usize) -> u32 {
        counted!(self.cudaEventCreate(event))
    }
    fn record_event(&self, event: usize, stream: usize) -> u32 {
        counted!(self.cudaEventRecord(event, stream))
    }
    fn query_event(&self, event: usize) -> u32 {
        counted!(self.cudaEventQuery(event))
    }
    fn destroy_event(&self, event: usize) -> u32 {
        counted!(self.cudaEventDestroy(event))
    }
    fn begin_capture(&self, stream: usize) -> u32 {
        counted!(self.cudaStreamBeginCapture(stream, 0))
    }
    fn end_capture(&self, stream: usize, graph: &mut usize) -> u32 {
        counted!(self.cudaStreamEndCapture(stream, graph))
    }
    fn instantiate(&self, executable: &mut usize, graph: usize) -> u32 {
        counted!(self.cudaGraphInstantiate(executable, graph, 0))
    }
    fn launch_graph(&self, executable: usize, stream: usize) -> u32 {
        counted!(self.cudaGraphLaunch(executable, stream))
    }
    fn destroy_executable(&self, executable: usize) -> u32 {
        counted!(self.cudaGraphExecDestroy(executable))
    }
    fn destroy_graph(&self, graph: usize) -> u32 {
        counted!(self.cudaGraphDestroy(graph))
    }
    fn synchronize(&self) -> u32 {
        counted!(self.cudaDeviceSynchronize())
    }
}
