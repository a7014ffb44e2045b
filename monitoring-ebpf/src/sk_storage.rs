//! Per-socket storage. aya-ebpf's is for one type of program and has no flags.
//!
//! `BPF_MAP_TYPE_SK_STORAGE` (since 5.2, in tracing programs since 5.11) hangs a value on the
//! socket itself: found without a hash, freed by the kernel with the socket. With `BPF_F_CLONE`
//! (since 5.4) the kernel copies a listening socket's value to the connections that it accepts.

use core::ptr;

use aya_ebpf::{
    bindings::{
        BPF_F_CLONE, BPF_F_NO_PREALLOC, BPF_SK_STORAGE_GET_F_CREATE,
        bpf_map_type::BPF_MAP_TYPE_SK_STORAGE,
    },
    cty::c_void,
    helpers::generated::bpf_sk_storage_get,
};

const FLAGS: usize = (BPF_F_NO_PREALLOC | BPF_F_CLONE) as usize;

/// A value of type `T` for each socket, handed on to accepted connections. Placed in `.maps`, where
/// the loader reads its BTF.
#[repr(C)]
pub struct SkStorage<T> {
    r#type: *const [i32; BPF_MAP_TYPE_SK_STORAGE as usize],
    key: *const i32,
    value: *const T,
    max_entries: *const [i32; 0],
    map_flags: *const [i32; FLAGS],
}

// SAFETY: the pointers are a description for the loader and are never followed.
unsafe impl<T> Sync for SkStorage<T> {}

impl<T> SkStorage<T> {
    /// The map's description.
    #[allow(clippy::new_without_default, reason = "a map definition is a static")]
    pub const fn new() -> Self {
        Self {
            r#type: ptr::null(),
            key: ptr::null(),
            value: ptr::null(),
            max_entries: ptr::null(),
            map_flags: ptr::null(),
        }
    }

    /// The socket's value, if it has one. `socket` must be one that the verifier knows as such.
    #[inline(always)]
    pub fn get(&'static self, socket: *mut c_void) -> Option<&'static mut T> {
        self.lookup(socket, 0)
    }

    /// The socket's value, made of zeros if it had none. `None` if the kernel has no memory for it
    /// or the socket is about to go.
    #[inline(always)]
    pub fn get_or_create(&'static self, socket: *mut c_void) -> Option<&'static mut T> {
        self.lookup(socket, BPF_SK_STORAGE_GET_F_CREATE.into())
    }

    #[inline(always)]
    #[allow(clippy::mut_from_ref, reason = "each socket has a value of its own")]
    fn lookup(&'static self, socket: *mut c_void, flags: u64) -> Option<&'static mut T> {
        let map = ptr::from_ref(self).cast_mut().cast();
        // SAFETY: the verifier knows `socket` as one, or refuses the program. Families see to it
        // that what must be exact is changed only while the kernel holds the socket's lock.
        unsafe {
            bpf_sk_storage_get(map, socket, ptr::null_mut(), flags)
                .cast::<T>()
                .as_mut()
        }
    }
}
