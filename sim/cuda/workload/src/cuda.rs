//! What the work needs of an interface of CUDA. Each function is one call, counted under its name,
//! and returns its code.

/// What both interfaces say of work that is not done yet.
pub(crate) const NOT_READY: u32 = 600;

/// An interface.
pub(crate) trait Cuda: Sync {
    /// Makes the thread ready; its first call.
    fn enter(&self) -> u32;
    fn launch(&self, kernel: usize, blocks: u32, stream: usize) -> u32;
    fn allocate(&self, address: &mut u64, bytes: usize) -> u32;
    fn free(&self, address: u64) -> u32;
    fn copy_to_device(&self, to: u64, from: &[u8]) -> u32;
    fn copy_to_host(&self, to: &mut [u8], from: u64) -> u32;
    fn create_stream(&self, stream: &mut usize) -> u32;
    fn synchronize_stream(&self, stream: usize) -> u32;
    fn destroy_stream(&self, stream: usize) -> u32;
    /// Whether all is done that is in a stream: success or [`NOT_READY`].
    fn query_stream(&self, stream: usize) -> u32;
    fn create_event(&self, event: &mut usize) -> u32;
    fn record_event(&self, event: usize, stream: usize) -> u32;
    /// Whether all is done that was in the event's stream before it.
    fn query_event(&self, event: usize) -> u32;
    fn destroy_event(&self, event: usize) -> u32;
    fn begin_capture(&self, stream: usize) -> u32;
    fn end_capture(&self, stream: usize, graph: &mut usize) -> u32;
    fn instantiate(&self, executable: &mut usize, graph: usize) -> u32;
    fn launch_graph(&self, executable: usize, stream: usize) -> u32;
    fn destroy_executable(&self, executable: usize) -> u32;
    fn destroy_graph(&self, graph: usize) -> u32;
    fn synchronize(&self) -> u32;
}

/// Opens a library and finds functions in it: a structure of function pointers, by their names.
#[macro_export]
#[doc(hidden)]
macro_rules! functions {
    ($table:ident { $($name:ident ($($type:ty),* $(,)?))* }) => {
        #[allow(non_snake_case, reason = "the names are CUDA's")]
        struct $table {
            $($name: extern "C" fn($($type),*) -> u32,)*
        }

        impl $table {
            /// Finds all of them. The library stays open for ever.
            fn open(library: &::std::path::Path) -> ::anyhow::Result<Self> {
                use ::anyhow::Context as _;
                // SAFETY: the initialisers of a library of CUDA want nothing of us.
                let library = unsafe { ::libloading::Library::new(library) }
                    .with_context(|| format!("open {}", library.display()))?;
                let library = Box::leak(Box::new(library));
                Ok(Self {
                    $($name: {
                        let name = stringify!($name);
                        // SAFETY: CUDA's function of this name has this signature.
                        *unsafe { library.get::<extern "C" fn($($type),*) -> u32>(name.as_bytes()) }
                            .with_context(|| format!("find {name}"))?
                    },)*
                })
            }
        }
    };
}
