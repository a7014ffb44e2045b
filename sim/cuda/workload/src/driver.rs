//! The driver API.

use std::{ffi::c_char, path::Path};

use anyhow::{Result, ensure};

use crate::{
    cuda::Cuda,
    functions,
    kernels::{self, Kernel},
    tally::call,
};

functions! { Functions {
    cuInit(u32)
    cuDevicePrimaryCtxRetain(*mut usize, i32)
    cuCtxSetCurrent(usize)
    cuModuleLoadData(*mut usize, *const c_char)
    cuModuleGetFunction(*mut usize, usize, *const c_char)
    cuMemAlloc_v2(*mut u64, usize)
    cuMemFree_v2(u64)
    cuMemcpyHtoD_v2(u64, *const u8, usize)
    cuMemcpyDtoH_v2(*mut u8, u64, usize)
    cuLaunchKernel(usize, u32, u32, u32, u32, u32, u32, u32, usize, usize, usize)
    cuStreamCreate(*mut usize, u32)
    cuStreamSynchronize(usize)
    cuStreamDestroy_v2(usize)
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
    pub(crate) fn open(library: &Path, kernels: &[Kernel]) -> Result<Self> {
        let mut driver = Self {
            functions: Functions::open(library)?,
            context: 0,
            kernels: Vec::new(),
        };
        let (mut context, mut module) = (0, 0);
        let image = kernels::ptx(kernels);
        let done = [
            counted!(driver.cuInit(0)),
            counted!(driver.cuDevicePrimaryCtxRetain(&raw mut context, 0)),
            counted!(driver.cuCtxSetCurrent(context)),
            counted!(driver.cuModuleLoadData(&raw mut module, image.as_ptr())),
        ];
        ensure!(done == [0; 4], "load the kernels: {done:?}");
        driver.context = context;
        for kernel in kernels {
            let mut function = 0;
            let name = kernel.name.as_ptr();
            let code = counted!(driver.cuModuleGetFunction(&raw mut function, module, name));
            ensure!(code == 0, "find kernel {:?}: {code}", kernel.name);
            driver.kernels.push(function);
        }
        Ok(driver)
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
