//! Records of ring buffers: rare or sampled events from the kernel. What did not fit into a ring was
//! counted by the kernel side.

use std::{os::fd::RawFd, time::Duration};

use aya::Pod;

/// Which descriptors have something to read, or will never have again; waits for it for some time.
/// A negative one is passed over.
pub(crate) fn readable<const N: usize>(fds: [RawFd; N], patience: Duration) -> [bool; N] {
    let mut fds = fds.map(|fd| libc::pollfd {
        fd,
        events: libc::POLLIN,
        revents: 0,
    });
    // Rounded up: what is not due yet is waited for.
    let milliseconds = patience.as_micros().div_ceil(1_000);
    let milliseconds = i32::try_from(milliseconds).unwrap_or(i32::MAX);
    // SAFETY: the array outlives the call. A signal makes it return early, with nothing to read. A
    // negative descriptor is passed over.
    unsafe { libc::poll(fds.as_mut_ptr(), N as libc::nfds_t, milliseconds) };
    fds.map(|fd| fd.revents & (libc::POLLIN | libc::POLLHUP) != 0)
}

/// The record as a `T`, if it has the size of one.
pub fn decode<T: Pod>(record: &[u8]) -> Option<T> {
    // SAFETY: the length is that of `T`, any bytes are a valid `Pod`, and the read is unaligned.
    (record.len() == size_of::<T>())
        .then(|| unsafe { record.as_ptr().cast::<T>().read_unaligned() })
}

#[cfg(test)]
mod tests {
    use super::decode;

    #[test]
    fn only_records_of_the_right_size_are_events() {
        assert_eq!(decode::<u32>(&7_u32.to_ne_bytes()), Some(7));
        assert_eq!(decode::<u32>(&[0; 3]), None);
        assert_eq!(decode::<u32>(&[0; 8]), None);
        assert_eq!(decode::<u32>(&[]), None);
    }
}
