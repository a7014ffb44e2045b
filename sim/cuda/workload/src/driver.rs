//! The driver API.

use std::ffi::c_char;

use anyhow::{Result, ensure};

use crate::{
    cuda::Cuda,
    functions,
    kernels::{self, Kernel},
    options::Options,
    tally::call,
};

functions! { Functions {
    cuInit(u32)
    cuDevicePrimaryCtxRetain(*mut usize, i32)
    cuCtxSetCurrent(usize)
    cuModuleLoadData(*mut usize, *const c_char)
    cuModuleGetFunction(*mut usize, usize, *const c_char)
    cuLibraryLoadData(*mut usize, *const c_char, usize, usize, u32, usize, usize, u32)
    cuLibraryGetKernel(*mut usize, usize, *const c_char)
    cuKernelGetFunction(*mut usize, usize)
    cuMemAlloc_v2(*mut u64, usize)
    cuMemFree_v2(u64)
    cuMemcpyHtoD_v2(u64, *const u8, usize)
    cuMemcpyDtoH_v2(*mut u8, u64, usize)
    cuLaunchKernel(usize, u32, u32, u32, u32, u32, u32, u32, usize, usize, usize)
    cuStreamCreate(*mut usize, u32)
    cuStreamSynchronize(usize)
    cuStreamDestroy_v2(usize)
    cuStreamQuery(usize)
    cuEventCreate(*mut usize, u32)
    cuEventRecord(usize, usize)
    cuEventQuery(usize)
    cuEventDestroy_v2(usize)
    cuStreamBeginCapture_v2(usize, u32)
    cuStreamEndCapture(usize, *mut usize)
    cuGraphInstantiateWithFlags(*mut usize, usize, u64)
    cuGraphLaunch(usize, usize)
    cuGraphExecDestroy(usize)
    cuGraphDestroy(usize)
    cuCtxSynchronize()
} }

pub(crate) struct Driver {
    functions: Functions,
    context: usize,
    kernels: Vec<usize>,
}

/// Calls a function of the table, and counts it under its name.
macro_rules! counted {
    ($self:ident.$name:ident($($argument:expr),*)) => {
        call(stringify!($name), ($self.functions.$name)($($argument),*))
    };
}

impl Driver {
    /// Opens the library and loads the kernels as PTX.
    pub(crate) fn open(options: &Options, kernels: &[Kernel]) -> Result<Self> {
        let mut driver = Self {
            functions: Functions::open(&options.library())?,
            context: 0,
            kernels: Vec::new(),
        };
        let mut context = 0;
        let done = [
            counted!(driver.cuInit(0)),
            counted!(driver.cuDevicePrimaryCtxRetain(&raw mut context, 0)),
            counted!(driver.cuCtxSetCurrent(context)),
        ];
        ensure!(done == [0; 3], "make a context: {done:?}");
        driver.context = context;
        driver.kernels = if options.handles {
            driver.library(kernels)?
        } else {
            driver.module(kernels)?
        };
        Ok(driver)
    }

    /// The functions of a module.
    fn module(&self, kernels: &[Kernel]) -> Result<Vec<usize>> {
        let (image, mut module) = (kernels::ptx(kernels), 0);
        let code = counted!(self.cuModuleLoadData(&raw mut module, image.as_ptr()));
        ensure!(code == 0, "load the kernels: {code}");
        let function = |kernel: &Kernel| {
            let mut function = 0;
            let name = kernel.name.as_ptr();
            let code = counted!(self.cuModuleGetFunction(&raw mut function, module, name));
            ensure!(code == 0, "find kernel {:?}: {code}", kernel.name);
            Ok(function)
        };
        kernels.iter().map(function).collect()
    }

    /// The kernels of a library, and in place of every other one its function.
    fn library(&self, kernels: &[Kernel]) -> Result<Vec<usize>> {
        let (image, mut library) = (kernels::ptx(kernels), 0);
        let data = image.as_ptr();
        let code = counted!(self.cuLibraryLoadData(&raw mut library, data, 0, 0, 0, 0, 0, 0));
        ensure!(code == 0, "load the kernels: {code}");
        let handle = |(number, kernel): (usize, &Kernel)| {
            let mut handle = 0;
            let name = kernel.name.as_ptr();
            let mut code = counted!(self.cuLibraryGetKernel(&raw mut handle, library, name));
            if code == 0 && number % 2 == 1 {
                let kernel = handle;
                code = counted!(self.cuKernelGetFunction(&raw mut handle, kernel));
            }
            ensure!(code == 0, "find kernel {:?}: {code}", kernel.name);
            Ok(handle)
        };
        kernels.iter().enumerate().map(handle).collect()
    }
}

impl Cuda for Driver {
    fn enter(&self) -> u32 {
        counted!(self.cuCtxSetCurrent(self.context))
    }
    fn launch(&self, kernel: usize, blocks: u32, stream: usize) -> u32 {
        let function = self.kernels[kernel];
        counted!(self.cuLaunchKernel(function, blocks, 1, 1, 256, 1, 1, 0, stream, 0, 0))
    }
    fn allocate(&self, address: &mut u64, bytes: usize) -> u32 {
        counted!(self.cuMemAlloc_v2(address, bytes))
    }
    fn free(&self, address: u64) -> u32 {
        counted!(self.cuMemFree_v2(address))
    }
    fn copy_to_device(&self, to: u64, from: &[u8]) -> u32 {
        counted!(self.cuMemcpyHtoD_v2(to, from.as_ptr(), from.len()))
    }
    fn copy_to_host(&self, to: &mut [u8], from: u64) -> u32 {
        counted!(self.cuMemcpyDtoH_v2(to.as_mut_ptr(), from, to.len()))
    }
    fn create_stream(&self, stream: &mut usize) -> u32 {
        counted!(self.cuStreamCreate(stream, 0))
    }
    fn synchronize_stream(&self, stream: usize) -> u32 {
        counted!(self.cuStreamSynchronize(stream))
    }
    fn destroy_stream(&self, stream: usize) -> u32 {
        counted!(self.cuStreamDestroy_v2(stream))
    }
    fn query_stream(&self, stream: usize) -> u32 {
        counted!(self.cuStreamQuery(stream))
    }
    fn create_event(&self, event: &mut usize) -> u32 {
        counted!(self.cuEventCreate(event, 0))
    }
    fn record_event(&self, event: usize, stream: usize) -> u32 {
        counted!(self.cuEventRecord(event, stream))
    }
    fn query_event(&self, event: usize) -> u32 {
        counted!(self.cuEventQuery(event))
    }
    fn destroy_event(&self, event: usize) -> u32 {
        counted!(self.cuEventDestroy_v2(event))
    }
    fn begin_capture(&self, stream: usize) -> u32 {
        counted!(self.cuStreamBeginCapture_v2(stream, 0))
    }
    fn end_capture(&self, stream: usize, graph: &mut usize) -> u32 {
        counted!(self.cuStreamEndCapture(stream, graph))
    }
    fn instantiate(&self, executable: &mut usize, graph: usize) -> u32 {
        counted!(self.cuGraphInstantiateWithFlags(executable, graph, 0))
    }
    fn launch_graph(&self, executable: usize, stream: usize) -> u32 {
        counted!(self.cuGraphLaunch(executable, stream))
    }
    fn destroy_executable(&self, executable: usize) -> u32 {
        counted!(self.cuGraphExecDestroy(executable))
    }
    fn destroy_graph(&self, graph: usize) -> u32 {
        counted!(self.cuGraphDestroy(graph))
    }
    fn synchronize(&self) -> u32 {
        counted!(self.cuCtxSynchronize())
    }
}
