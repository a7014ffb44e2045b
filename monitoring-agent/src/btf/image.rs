//! A file's bytes outside the heap, so that dropping them gives the memory back at once.

use std::{
    fs::File,
    io::{self, Read as _},
    mem::MaybeUninit,
    os::fd::{AsRawFd as _, RawFd},
    path::Path,
    ptr::{self, NonNull},
    slice,
};

/// The bytes of a file as of its opening. Those of sysfs are mapped where the kernel allows it,
/// all others read.
pub struct Image {
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: an image alone owns its mapping, which no thread is tied to.
unsafe impl Send for Image {}

impl Image {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let len = usize::try_from(file.metadata()?.len()).map_err(io::Error::other)?;
        // Other files can shrink, which makes a mapping's end inaccessible.
        if is_sysfs(&file)?
            && let Ok(mapped) = Self::map(len, libc::MAP_PRIVATE, file.as_raw_fd())
        {
            return Ok(mapped);
        }
        Self::read(&file, len)
    }

    fn read(mut file: &File, len: usize) -> io::Result<Self> {
        let image = Self::map(len, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1)?;
        // SAFETY: the mapping is writable, as long as this, zeroed, and nobody else's yet.
        let bytes = unsafe { slice::from_raw_parts_mut(image.start.as_ptr(), len) };
        file.read_exact(bytes)?;
        Ok(image)
    }

    fn map(len: usize, flags: libc::c_int, fd: RawFd) -> io::Result<Self> {
        let access = if fd == -1 {
            libc::PROT_READ | libc::PROT_WRITE
        } else {
            libc::PROT_READ
        };
        // SAFETY: a new mapping at an address of the kernel's choice touches no memory in use.
        let start = unsafe { libc::mmap(ptr::null_mut(), len, access, flags, fd, 0) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast()).expect("the kernel chooses no address 0");
        Ok(Self { start, len })
    }
}

impl AsRef<[u8]> for Image {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: the mapping is readable, this long, and stays until the image is dropped. It is
        // private memory, or a file of sysfs, which is kernel memory of fixed size and content.
        unsafe { slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        // SAFETY: the mapping is the image's own, and no reference outlives the image. There is
        // nothing to do if it fails.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.len) };
    }
}

fn is_sysfs(file: &File) -> io::Result<bool> {
    let mut stat = MaybeUninit::<libc::statfs>::uninit();
    // SAFETY: the descriptor is open, and there is room for the result.
    if unsafe { libc::fstatfs(file.as_raw_fd(), stat.as_mut_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call has filled it.
    Ok(unsafe { stat.assume_init() }.f_type == libc::SYSFS_MAGIC)
}
