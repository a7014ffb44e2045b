//! What the driver does beyond what the programs ask of it: shapes of copies, virtual memory,
//! capture over several streams, and functions of the host.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Instant,
};

use libloading::Library;
use tempfile::TempDir;

const NOT_READY: u32 = 600;
const INVALID_VALUE: u32 = 1;

/// A driver of the test's own, with a context.
struct Driver {
    library: Library,
    _folder: TempDir,
}

/// Calls a function of the driver by its name; each argument is a word or a pointer.
macro_rules! call {
    ($driver:ident.$name:ident($($argument:expr),*)) => {{
        // SAFETY: words and pointers are passed alike, and each call here is with the arguments
        // that the function of this name takes.
        let function = unsafe {
            $driver.library.get::<extern "C" fn($(call!(@word $argument)),*) -> u32>(
                stringify!($name).as_bytes(),
            )
        };
        function.unwrap()($(word($argument)),*)
    }};
    (@word $argument:expr) => { usize };
}

/// What is passed as a word.
trait Word {
    fn word(self) -> usize;
}

impl Word for usize {
    fn word(self) -> usize {
        self
    }
}

impl<T> Word for *mut T {
    fn word(self) -> usize {
        self.expose_provenance()
    }
}

impl<T> Word for *const T {
    fn word(self) -> usize {
        self.expose_provenance()
    }
}

fn word(argument: impl Word) -> usize {
    argument.word()
}

impl Driver {
    fn open() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = cuda_sim::install(folder.path()).unwrap().driver;
        // SAFETY: the stand-in has no initialisers.
        let library = unsafe { Library::new(path) }.unwrap();
        let driver = Self {
            library,
            _folder: folder,
        };
        let mut context = 0_usize;
        assert_eq!(call!(driver.cuInit(0)), 0);
        assert_eq!(
            call!(driver.cuDevicePrimaryCtxRetain(&raw mut context, 0)),
            0
        );
        assert_eq!(call!(driver.cuCtxSetCurrent(context)), 0);
        driver
    }

    fn allocate(&self, bytes: usize) -> usize {
        let mut address = 0_usize;
        assert_eq!(call!(self.cuMemAlloc_v2(&raw mut address, bytes)), 0);
        address
    }

    fn stream(&self) -> usize {
        let mut stream = 0_usize;
        assert_eq!(call!(self.cuStreamCreate(&raw mut stream, 1)), 0);
        stream
    }

    fn read(&self, address: usize, bytes: usize) -> Vec<u8> {
        let mut read = vec![0; bytes];
        assert_eq!(
            call!(self.cuMemcpyDtoH_v2(read.as_mut_ptr(), address, bytes)),
            0
        );
        read
    }

    fn kernel(&self) -> usize {
        let (mut module, mut function) = (0_usize, 0_usize);
        let text = c".version 8.0\n.entry kernel() { ret; }";
        assert_eq!(
            call!(self.cuModuleLoadData(&raw mut module, text.as_ptr())),
            0
        );
        let name = c"kernel".as_ptr();
        assert_eq!(
            call!(self.cuModuleGetFunction(&raw mut function, module, name)),
            0
        );
        function
    }

    fn launch(&self, kernel: usize, stream: usize) {
        assert_eq!(
            call!(self.cuLaunchKernel(kernel, 1, 1, 1, 1, 1, 1, 0, stream, 0, 0)),
            0
        );
    }
}

#[test]
fn planes_are_copied_and_filled() {
    let driver = Driver::open();
    let device = driver.allocate(64);
    assert_eq!(call!(driver.cuMemsetD8_v2(device, 7, 64)), 0);
    // Two columns of bytes, three rows, eight bytes apart, from the second byte on.
    assert_eq!(call!(driver.cuMemsetD2D8_v2(device + 1, 8, 9, 2, 3)), 0);
    let row = [7, 9, 9, 7, 7, 7, 7, 7];
    assert_eq!(driver.read(device, 24), [row, row, row].concat());
    // x, y, type, host, device, array and pitch of either side; width and height.
    let back = [0_u8; 6];
    let (host, from) = (back.as_ptr().expose_provenance(), device);
    let plane = [1, 1, 2, 0, from, 0, 8, 0, 0, 1, host, 0, 0, 2, 2, 2];
    assert_eq!(call!(driver.cuMemcpy2D_v2(plane.as_ptr())), 0);
    // SAFETY: the array is there; the driver wrote to it behind the compiler's back.
    let back = unsafe { (&raw const back).read_volatile() };
    assert_eq!(back, [9, 9, 9, 9, 0, 0]);
    // Rows that overlap, and memory that ends too early, are refused.
    assert_eq!(
        call!(driver.cuMemsetD2D8_v2(device, 1, 0, 2, 3)),
        INVALID_VALUE
    );
    assert_eq!(call!(driver.cuMemsetD8_v2(device, 0, 65)), INVALID_VALUE);
    assert_eq!(call!(driver.cuMemFree_v2(device)), 0);
    assert_eq!(call!(driver.cuMemFree_v2(device)), INVALID_VALUE);
}

#[test]
fn virtual_memory_is_mapped_and_accounted() {
    const BYTES: usize = 4 << 20;
    let driver = Driver::open();
    let used = || {
        let (mut free, mut total) = (0_usize, 0_usize);
        assert_eq!(
            call!(driver.cuMemGetInfo_v2(&raw mut free, &raw mut total)),
            0
        );
        total - free
    };
    let (mut address, mut handle) = (0_usize, 0_usize);
    assert_eq!(
        call!(driver.cuMemAddressReserve(&raw mut address, BYTES, 0, 0, 0)),
        0
    );
    assert_eq!(used(), 0);
    // Pinned memory, no handle type, on a device, the first.
    let properties = [1_u32, 0, 1, 0, 0, 0, 0, 0];
    let (properties, result) = (properties.as_ptr(), &raw mut handle);
    assert_eq!(call!(driver.cuMemCreate(result, BYTES, properties, 0)), 0);
    assert_eq!(used(), BYTES);
    assert_eq!(call!(driver.cuMemMap(address, BYTES, 0, handle, 0)), 0);
    let access = [1_u32, 0, 3];
    assert_eq!(
        call!(driver.cuMemSetAccess(address, BYTES, access.as_ptr(), 1)),
        0
    );
    assert_eq!(call!(driver.cuMemsetD8_v2(address, 5, BYTES)), 0);
    assert_eq!(driver.read(address + BYTES - 2, 2), [5, 5]);
    // Released, it stays for as long as it is mapped.
    assert_eq!(call!(driver.cuMemRelease(handle)), 0);
    assert_eq!(used(), BYTES);
    assert_eq!(call!(driver.cuMemUnmap(address, BYTES)), 0);
    assert_eq!(used(), 0);
    assert_eq!(call!(driver.cuMemsetD8_v2(address, 5, 1)), INVALID_VALUE);
    assert_eq!(call!(driver.cuMemAddressFree(address, BYTES)), 0);
}

#[test]
fn a_capture_goes_over_to_streams_that_wait() {
    let driver = Driver::open();
    let (kernel, first, second) = (driver.kernel(), driver.stream(), driver.stream());
    let mut event = 0_usize;
    assert_eq!(call!(driver.cuEventCreate(&raw mut event, 2)), 0);
    assert_eq!(call!(driver.cuStreamBeginCapture_v2(first, 0)), 0);
    driver.launch(kernel, first);
    assert_eq!(call!(driver.cuEventRecord(event, first)), 0);
    assert_eq!(call!(driver.cuStreamWaitEvent(second, event, 0)), 0);
    driver.launch(kernel, second);
    let status = |stream: usize| {
        let mut status = 9_u32;
        assert_eq!(
            call!(driver.cuStreamIsCapturing(stream, &raw mut status)),
            0
        );
        status
    };
    assert_eq!((status(first), status(second)), (1, 1));
    let (mut graph, mut nodes) = (0_usize, 0_usize);
    assert_eq!(call!(driver.cuStreamEndCapture(first, &raw mut graph)), 0);
    assert_eq!((status(first), status(second)), (0, 0));
    assert_eq!(call!(driver.cuGraphGetNodes(graph, 0, &raw mut nodes)), 0);
    assert_eq!(nodes, 2);
    assert_eq!(call!(driver.cuGraphDestroy(graph)), 0);
}

static CALLED: AtomicU64 = AtomicU64::new(0);

extern "C" fn slow(data: usize) {
    let start = Instant::now();
    while start.elapsed().as_millis() < 20 {}
    CALLED.fetch_add(data as u64, Ordering::SeqCst);
}

#[test]
fn functions_of_the_host_are_waited_for() {
    let driver = Driver::open();
    let stream = driver.stream();
    let function = (slow as *const ()).expose_provenance();
    for data in [1_usize, 10, 100] {
        assert_eq!(call!(driver.cuLaunchHostFunc(stream, function, data)), 0);
    }
    assert_eq!(call!(driver.cuStreamQuery(stream)), NOT_READY);
    assert_eq!(call!(driver.cuStreamSynchronize(stream)), 0);
    assert_eq!(CALLED.load(Ordering::SeqCst), 111);
    assert_eq!(call!(driver.cuStreamQuery(stream)), 0);
}

#[test]
fn a_thread_may_have_a_null_stream_of_its_own() {
    let driver = Driver::open();
    let function = (slow as *const ()).expose_provenance();
    assert_eq!(call!(driver.cuLaunchHostFunc_ptsz(0, function, 0)), 0);
    assert_eq!(call!(driver.cuStreamQuery(0)), 0);
    assert_eq!(call!(driver.cuStreamQuery_ptsz(0)), NOT_READY);
    // CU_STREAM_PER_THREAD is the same stream, whichever form is called.
    assert_eq!(call!(driver.cuStreamQuery(2)), NOT_READY);
    assert_eq!(call!(driver.cuCtxSynchronize()), 0);
    assert_eq!(call!(driver.cuStreamQuery_ptsz(0)), 0);
}
