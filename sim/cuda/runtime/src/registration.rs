//! What nvcc's code registers before `main`: images of device code, and which function of the host
//! stands for which kernel. An image is loaded when the first of its kernels is needed.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    ffi::{CString, c_char},
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock},
};

use cuda_sim_control::{
    Out, Text,
    abi::{CUfunction, CUkernel, CUlibrary, CUstream, Opaque},
    exports,
};

use crate::{
    code::{Code, INVALID_DEVICE_FUNCTION, INVALID_SYMBOL, MISSING_CONFIGURATION, Outcome},
    driver::{self, Driver, check},
    shape::Dim3,
};

/// A registered image.
pub(crate) struct Image {
    wrapper: Opaque,
    library: OnceLock<CUlibrary>,
}

/// A kernel or a variable of an image.
#[derive(Clone)]
struct Symbol {
    image: Arc<Image>,
    name: CString,
    size_bytes: usize,
}

#[derive(Default)]
struct Registered {
    images: BTreeMap<usize, Arc<Image>>,
    /// By the address of the host's function.
    kernels: BTreeMap<usize, (Symbol, Arc<OnceLock<CUkernel>>)>,
    /// By the address of the host's variable.
    variables: BTreeMap<usize, Symbol>,
    /// Handles that were given out.
    handles: Vec<CUkernel>,
}

/// Held by whoever loads an image or looks for what is in it, so that neither happens twice.
static LOADING: Mutex<()> = Mutex::new(());

static REGISTERED: RwLock<Option<Registered>> = RwLock::new(None);

/// The launch that `<<<…>>>` has prepared.
type Configuration = (Dim3, Dim3, usize, CUstream);

thread_local! {
    static CONFIGURATIONS: RefCell<Vec<Configuration>> = const { RefCell::new(Vec::new()) };
}

impl Image {
    /// The image, loaded. The caller holds [`LOADING`].
    fn library(&self, driver: &Driver) -> Result<CUlibrary, Code> {
        if let Some(library) = self.library.get() {
            return Ok(*library);
        }
        let mut library = 0;
        check((driver.cuLibraryLoadData)(
            &raw mut library,
            self.wrapper,
            0,
            0,
            0,
            0,
            0,
            0,
        ))?;
        Ok(*self.library.get_or_init(|| library))
    }
}

fn loading() -> MutexGuard<'static, ()> {
    LOADING.lock().unwrap_or_else(PoisonError::into_inner)
}

fn change<T>(change: impl FnOnce(&mut Registered) -> T) -> T {
    let mut registered = REGISTERED.write().unwrap_or_else(PoisonError::into_inner);
    change(registered.get_or_insert_default())
}

fn read<T>(read: impl FnOnce(&Registered) -> Option<T>) -> Option<T> {
    let registered = REGISTERED.read().unwrap_or_else(PoisonError::into_inner);
    registered.as_ref().and_then(read)
}

/// The driver's handle of a kernel, which is given by the host's function or is a handle itself.
pub(crate) fn function(function: usize) -> Result<CUfunction, Code> {
    let find = |all: &Registered| {
        all.kernels
            .get(&function)
            .map(|(_, known)| Arc::clone(known))
    };
    let known = match read(find) {
        Some(known) => known,
        None if read(|all| all.handles.contains(&function).then_some(())).is_some() => {
            return Ok(function);
        }
        None => return Err(INVALID_DEVICE_FUNCTION),
    };
    if let Some(kernel) = known.get() {
        return Ok(*kernel);
    }
    let symbol = read(|all| all.kernels.get(&function).map(|(symbol, _)| symbol.clone()));
    let symbol = symbol.ok_or(INVALID_DEVICE_FUNCTION)?;
    let driver = driver::plain()?;
    let _loading = loading();
    if let Some(kernel) = known.get() {
        // Another thread was first.
        return Ok(*kernel);
    }
    let library = symbol.image.library(driver)?;
    let mut kernel = 0;
    let found = (driver.cuLibraryGetKernel)(&raw mut kernel, library, symbol.name.as_ptr());
    check(found).map_err(|_| INVALID_DEVICE_FUNCTION)?;
    Ok(*known.get_or_init(|| kernel))
}

/// The handle of a kernel, which may be used in place of the host's function from then on.
pub(crate) fn handle(result: Out<CUkernel>, host: usize) -> Outcome {
    let kernel = function(host)?;
    change(|all| {
        if !all.handles.contains(&kernel) {
            all.handles.push(kernel);
        }
    });
    result.set(kernel)
}

/// Where a variable lies on the device, and its size.
pub(crate) fn variable(host: usize) -> Result<(u64, usize), Code> {
    let symbol = read(|all| all.variables.get(&host).cloned()).ok_or(INVALID_SYMBOL)?;
    let driver = driver::plain()?;
    let _loading = loading();
    let library = symbol.image.library(driver)?;
    let (mut address, mut size_bytes) = (0, symbol.size_bytes);
    let name = symbol.name.as_ptr();
    let found = (driver.cuLibraryGetGlobal)(&raw mut address, &raw mut size_bytes, library, name);
    check(found).map_err(|_| INVALID_SYMBOL)?;
    Ok((address, size_bytes))
}

fn symbol(image: usize, name: Text, size_bytes: usize) -> Option<Symbol> {
    let image = read(|all| all.images.get(&image).cloned())?;
    let name = CString::new(name.get().ok()?).ok()?;
    Some(Symbol {
        image,
        name,
        size_bytes,
    })
}

fn forget(image: usize) {
    let removed = change(|all| {
        let removed = all.images.remove(&image)?;
        let stays = |symbol: &Symbol| !Arc::ptr_eq(&symbol.image, &removed);
        all.kernels.retain(|_, (symbol, _)| stays(symbol));
        all.variables.retain(|_, symbol| stays(symbol));
        Some(removed)
    });
    // The driver may be gone when a program ends, and so may be what it would free.
    drop(removed);
}

exports! {
    fn __cudaRegisterFatBinary(wrapper: Opaque) -> usize {
        let image = Arc::new(Image { wrapper, library: OnceLock::new() });
        let handle = Arc::as_ptr(&image).addr();
        change(|all| all.images.insert(handle, image));
        handle
    }
    fn __cudaRegisterFatBinaryEnd(_image: usize) -> () {}
    fn __cudaUnregisterFatBinary(image: usize) -> () {
        forget(image);
    }
    fn __cudaInitModule(_image: usize) -> c_char {
        1
    }
    fn __cudaRegisterFunction(
        image: usize,
        host_function: usize,
        _device_function: Opaque,
        name: Text,
        _thread_limit: i32,
        _thread: Opaque,
        _block: Opaque,
        _block_size: Opaque,
        _grid_size: Opaque,
        _warp_size: Opaque,
    ) -> () {
        if let Some(symbol) = symbol(image, name, 0) {
            change(|all| all.kernels.insert(host_function, (symbol, Arc::default())));
        }
    }
    fn __cudaRegisterVar(
        image: usize,
        host_variable: usize,
        _device_address: Opaque,
        name: Text,
        _external: i32,
        size_bytes: usize,
        _constant: i32,
        _global: i32,
    ) -> () {
        if let Some(symbol) = symbol(image, name, size_bytes) {
            change(|all| all.variables.insert(host_variable, symbol));
        }
    }
    fn __cudaGetKernel(result: Out<CUkernel>, host_function: usize) {
        handle(result, host_function)
    }
    fn __cudaPushCallConfiguration(
        grid: Dim3,
        block: Dim3,
        shared_bytes: usize,
        stream: CUstream,
    ) -> u32 {
        CONFIGURATIONS.with_borrow_mut(|all| all.push((grid, block, shared_bytes, stream)));
        0
    }
    fn __cudaPopCallConfiguration(
        grid: Out<Dim3>,
        block: Out<Dim3>,
        shared_bytes: Out<usize>,
        stream: Out<CUstream>,
    ) {
        let last = CONFIGURATIONS.with_borrow_mut(Vec::pop).ok_or(MISSING_CONFIGURATION)?;
        grid.set(last.0)?;
        block.set(last.1)?;
        shared_bytes.set(last.2)?;
        stream.set(last.3)
    }
}
