//! Kernels: their names, how long they run, and what they say of themselves.

use std::{
    collections::BTreeMap,
    ffi::{CString, c_char},
    sync::{Arc, Mutex, PoisonError, Weak},
};

use cuda_sim_control::{Out, exports, kernel_duration_ns};

use crate::{
    abi::{CUdevice, CUfunction, CUkernel, CUlibrary, CUmodule},
    code::{Code, INVALID_HANDLE, INVALID_VALUE, Outcome},
    device,
    handles::Handles,
    module::{self, Module},
};

/// A kernel of a module. Its handle serves as that of a kernel, and of a function where the module
/// is asked for one.
pub(crate) struct Function {
    name: CString,
    duration_ns: u64,
    module: Weak<Module>,
    attributes: Mutex<BTreeMap<u32, i32>>,
}

static FUNCTIONS: Handles<Function> = Handles::new();

/// How far a function's handle is from its kernel's: still within the thing that the kernel's is the
/// address of, so that no other has it.
const KERNEL_TO_FUNCTION: usize = align_of::<Function>();

const _: () = assert!(KERNEL_TO_FUNCTION < size_of::<Function>());

/// Attributes that exist have numbers below this.
const ATTRIBUTES: u32 = 16;

impl Function {
    /// Makes a kernel, and its handle.
    pub(crate) fn create(name: &str, module: Weak<Module>) -> Result<Arc<Self>, Code> {
        let function = Arc::new(Self {
            name: CString::new(name).map_err(|_| INVALID_VALUE)?,
            duration_ns: kernel_duration_ns(name),
            module,
            attributes: Mutex::default(),
        });
        FUNCTIONS.insert(Arc::clone(&function));
        Ok(function)
    }

    /// Takes the handle back.
    pub(crate) fn forget(self: &Arc<Self>) {
        // It is known from when it was made until now, so this finds it.
        drop(FUNCTIONS.remove(crate::handles::handle(self)));
    }

    pub(crate) fn duration_ns(&self) -> u64 {
        self.duration_ns
    }

    fn attribute(&self, which: u32) -> Result<i32, Code> {
        let set = self
            .attributes
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let value = match which {
            0 => device::MAX_BLOCK_THREADS.cast_signed(),
            4 => 32,
            5 | 6 => 90,
            8 => 48 << 10,
            9 => -1,
            ATTRIBUTES.. => return Err(INVALID_VALUE),
            _ => 0,
        };
        Ok(set.get(&which).copied().unwrap_or(value))
    }

    fn set_attribute(&self, which: u32, value: i32) -> Outcome {
        // What is compiled in cannot be set.
        if !(8..ATTRIBUTES).contains(&which) {
            return Err(INVALID_VALUE);
        }
        let mut set = self
            .attributes
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        set.insert(which, value);
        Ok(())
    }
}

/// What a handle stands for.
pub(crate) fn get(handle: CUfunction) -> Result<Arc<Function>, Code> {
    let of_kernel = |_| FUNCTIONS.get(handle.wrapping_sub(KERNEL_TO_FUNCTION));
    FUNCTIONS.get(handle).or_else(of_kernel)
}

fn name(result: Out<*const c_char>, function: CUfunction) -> Outcome {
    result.set(get(function)?.name.as_ptr())
}

fn module_of(function: CUfunction) -> Result<usize, Code> {
    let module = get(function)?.module.upgrade().ok_or(INVALID_HANDLE)?;
    Ok(module::handle(&module))
}

exports! {
    fn cuFuncGetName(result: Out<*const c_char>, function: CUfunction) {
        name(result, function)
    }
    fn cuFuncGetModule(result: Out<CUmodule>, function: CUfunction) {
        result.set(module_of(function)?)
    }
    fn cuFuncGetAttribute(result: Out<i32>, which: u32, function: CUfunction) {
        result.set(get(function)?.attribute(which)?)
    }
    fn cuFuncSetAttribute(function: CUfunction, which: u32, value: i32) {
        get(function)?.set_attribute(which, value)
    }
    fn cuFuncSetCacheConfig(function: CUfunction, _config: u32) {
        get(function).map(|_| ())
    }
    fn cuFuncIsLoaded(result: Out<u32>, function: CUfunction) {
        get(function)?;
        result.set(1)
    }
    fn cuFuncLoad(function: CUfunction) {
        get(function).map(|_| ())
    }
    fn cuKernelGetFunction(result: Out<CUfunction>, kernel: CUkernel) {
        FUNCTIONS.get(kernel)?;
        result.set(kernel + KERNEL_TO_FUNCTION)
    }
    fn cuKernelGetLibrary(result: Out<CUlibrary>, kernel: CUkernel) {
        result.set(module_of(kernel)?)
    }
    fn cuKernelGetName(result: Out<*const c_char>, kernel: CUkernel) {
        name(result, kernel)
    }
    fn cuKernelGetAttribute(result: Out<i32>, which: u32, kernel: CUkernel, device: CUdevice) {
        device::index(device)?;
        result.set(get(kernel)?.attribute(which)?)
    }
    fn cuKernelSetAttribute(which: u32, value: i32, kernel: CUkernel, device: CUdevice) {
        device::index(device)?;
        get(kernel)?.set_attribute(which, value)
    }
    fn cuKernelSetCacheConfig(kernel: CUkernel, _config: u32, _device: CUdevice) {
        get(kernel).map(|_| ())
    }
}
