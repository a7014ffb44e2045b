//! Modules and libraries of kernels. Both are the same here: what an image contains, by name.

mod image;
mod ptx;

use std::{
    collections::BTreeMap,
    fs,
    sync::{Arc, Mutex, PoisonError},
};

use cuda_sim_control::{In, Out, Text, exports};

use crate::{
    abi::{CUdeviceptr, CUfunction, CUkernel, CUlibrary, CUmodule, Opaque},
    allocations::{self, Kind},
    code::{Code, FILE_NOT_FOUND, NOT_FOUND, Outcome},
    context,
    function::Function,
    handles::{self, Handles},
};
use image::Contents;

/// What was loaded.
pub(crate) struct Module {
    functions: Mutex<BTreeMap<String, Arc<Function>>>,
    globals: BTreeMap<String, (CUdeviceptr, usize)>,
}

static MODULES: Handles<Module> = Handles::new();

/// A module's handle.
pub(crate) fn handle(module: &Arc<Module>) -> CUmodule {
    handles::handle(module)
}

fn load(contents: Contents) -> Result<usize, Code> {
    // A library may be loaded before there is a context; its variables are then the first device's.
    let device = context::current().map_or(0, |context| context.device);
    let mut globals = BTreeMap::new();
    for (name, size_bytes) in contents.globals {
        let address = allocations::allocate(size_bytes, Kind::Global, device)?;
        globals.insert(name, (address, size_bytes));
    }
    let module = Arc::new(Module {
        functions: Mutex::default(),
        globals,
    });
    let mut functions = module
        .functions
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    for name in contents.kernels {
        let function = Function::create(&name, Arc::downgrade(&module))?;
        functions.insert(name, function);
    }
    drop(functions);
    Ok(MODULES.insert(module))
}

fn load_file(path: Text) -> Result<usize, Code> {
    let bytes = fs::read(path.get()?).map_err(|_| FILE_NOT_FOUND)?;
    load(image::from_bytes(&bytes)?)
}

fn unload(module: usize) -> Outcome {
    let module = MODULES.remove(module)?;
    let functions = module
        .functions
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    functions.values().for_each(Function::forget);
    for (address, _) in module.globals.values() {
        allocations::free(*address, &[Kind::Global])?;
    }
    Ok(())
}

fn functions(module: usize) -> Result<Vec<CUfunction>, Code> {
    let module = MODULES.get(module)?;
    let functions = module
        .functions
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    Ok(functions.values().map(handles::handle).collect())
}

fn function(module: usize, name: Text) -> Result<CUfunction, Code> {
    let module = MODULES.get(module)?;
    let functions = module
        .functions
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    let function = functions.get(name.get()?).ok_or(NOT_FOUND)?;
    Ok(handles::handle(function))
}

fn global(address: Out<CUdeviceptr>, size_bytes: Out<usize>, module: usize, name: Text) -> Outcome {
    let module = MODULES.get(module)?;
    let (at, size) = module.globals.get(name.get()?).copied().ok_or(NOT_FOUND)?;
    address.set_if_wanted(at);
    size_bytes.set_if_wanted(size);
    Ok(())
}

fn count(result: Out<u32>, module: usize) -> Outcome {
    let count = functions(module)?.len();
    result.set(u32::try_from(count).unwrap_or(u32::MAX))
}

fn enumerate(results: Out<CUfunction>, count: u32, module: usize) -> Outcome {
    results.set_all(functions(module)?.into_iter().take(count as usize))
}

exports! {
    fn cuModuleLoad(result: Out<CUmodule>, path: Text) {
        context::current()?;
        result.set(load_file(path)?)
    }
    fn cuModuleLoadData(result: Out<CUmodule>, image: In<u8>) {
        context::current()?;
        result.set(load(image::from_memory(image)?)?)
    }
    fn cuModuleLoadDataEx(
        result: Out<CUmodule>,
        image: In<u8>,
        _option_count: u32,
        _options: Opaque,
        _values: Opaque,
    ) {
        context::current()?;
        result.set(load(image::from_memory(image)?)?)
    }
    fn cuModuleLoadFatBinary(result: Out<CUmodule>, image: In<u8>) {
        context::current()?;
        result.set(load(image::from_memory(image)?)?)
    }
    fn cuModuleUnload(module: CUmodule) {
        unload(module)
    }
    fn cuModuleGetFunction(result: Out<CUfunction>, module: CUmodule, name: Text) {
        result.set(function(module, name)?)
    }
    fn cuModuleGetFunctionCount(result: Out<u32>, module: CUmodule) {
        count(result, module)
    }
    fn cuModuleEnumerateFunctions(results: Out<CUfunction>, room: u32, module: CUmodule) {
        enumerate(results, room, module)
    }
    fn cuModuleGetGlobal_v2(
        address: Out<CUdeviceptr>,
        size_bytes: Out<usize>,
        module: CUmodule,
        name: Text,
    ) {
        global(address, size_bytes, module, name)
    }
    fn cuModuleGetLoadingMode(result: Out<u32>) {
        // CU_MODULE_EAGER_LOADING
        result.set(1)
    }
    fn cuLibraryLoadData(
        result: Out<CUlibrary>,
        image: In<u8>,
        _jit_options: Opaque,
        _jit_values: Opaque,
        _jit_count: u32,
        _options: Opaque,
        _values: Opaque,
        _count: u32,
    ) {
        result.set(load(image::from_memory(image)?)?)
    }
    fn cuLibraryLoadFromFile(
        result: Out<CUlibrary>,
        path: Text,
        _jit_options: Opaque,
        _jit_values: Opaque,
        _jit_count: u32,
        _options: Opaque,
        _values: Opaque,
        _count: u32,
    ) {
        result.set(load_file(path)?)
    }
    fn cuLibraryUnload(library: CUlibrary) {
        unload(library)
    }
    fn cuLibraryGetModule(result: Out<CUmodule>, library: CUlibrary) {
        MODULES.get(library)?;
        result.set(library)
    }
    fn cuLibraryGetKernel(result: Out<CUkernel>, library: CUlibrary, name: Text) {
        result.set(function(library, name)?)
    }
    fn cuLibraryGetKernelCount(result: Out<u32>, library: CUlibrary) {
        count(result, library)
    }
    fn cuLibraryEnumerateKernels(results: Out<CUkernel>, room: u32, library: CUlibrary) {
        enumerate(results, room, library)
    }
    fn cuLibraryGetGlobal(
        address: Out<CUdeviceptr>,
        size_bytes: Out<usize>,
        library: CUlibrary,
        name: Text,
    ) {
        global(address, size_bytes, library, name)
    }
}
