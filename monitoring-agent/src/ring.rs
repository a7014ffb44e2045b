//! Records of ring buffers: rare or sampled events from the kernel. What did not fit into a ring was
//! counted by the kernel side.

use aya::Pod;

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
