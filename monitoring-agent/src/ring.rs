//! The async reader of ring buffers: rare or sampled events from the kernel, with counted loss.
//!
//! The kernel side counts what did not fit into the ring. This side counts what did not fit into
//! the bounded channel to its consumer, and what was not an event at all.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use anyhow::Context as _;
use aya::{
    Pod,
    maps::{Map, MapData, RingBuf},
};
use tokio::{
    io::{Interest, unix::AsyncFd},
    sync::mpsc::{self, error::TrySendError},
    task::AbortHandle,
};

/// Events that a reader could not pass on.
#[derive(Debug, Default)]
pub struct Loss {
    channel_full: AtomicU64,
    malformed: AtomicU64,
}

impl Loss {
    /// The totals, with the label values of their reasons.
    pub fn totals(&self) -> [(&'static str, u64); 2] {
        [
            ("channel_full", self.channel_full.load(Relaxed)),
            ("malformed_event", self.malformed.load(Relaxed)),
        ]
    }
}

/// A running reader. Ends when it is dropped, and with it the consumer's channel.
#[derive(Debug)]
pub struct Reader {
    loss: Arc<Loss>,
    task: AbortHandle,
}

impl Reader {
    /// The events that were lost on this side so far.
    pub fn loss(&self) -> &Loss {
        &self.loss
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Starts to read `map`, whose records are of type `T`, on the current tokio runtime.
///
/// At most `capacity` events wait for the consumer.
///
/// # Errors
///
/// When `map` is not a ring buffer or cannot be polled.
pub fn read<T: Pod + Send>(
    map: MapData,
    capacity: usize,
) -> anyhow::Result<(mpsc::Receiver<T>, Reader)> {
    let ring = RingBuf::try_from(Map::RingBuf(map)).context("the map is no ring buffer")?;
    // SAFETY: the ring owns its descriptor and keeps it open until it is dropped.
    let ring = unsafe { AsyncFd::register_with_interest(ring, Interest::READABLE) };
    let ring = ring
        .map_err(io::Error::from)
        .context("poll the ring buffer")?;
    let (events, receiver) = mpsc::channel(capacity);
    let loss = Arc::new(Loss::default());
    let task = tokio::spawn(forward(ring, events, Arc::clone(&loss))).abort_handle();
    Ok((receiver, Reader { loss, task }))
}

async fn forward<T: Pod + Send>(
    mut ring: AsyncFd<RingBuf<MapData>>,
    events: mpsc::Sender<T>,
    loss: Arc<Loss>,
) {
    loop {
        let Ok(mut guard) = ring.readable_mut().await else {
            return;
        };
        while let Some(record) = guard.get_inner_mut().next() {
            let Some(event) = decode::<T>(&record) else {
                loss.malformed.fetch_add(1, Relaxed);
                continue;
            };
            match events.try_send(event) {
                Ok(()) => {}
                Err(TrySendError::Full(_)) => {
                    loss.channel_full.fetch_add(1, Relaxed);
                }
                Err(TrySendError::Closed(_)) => return,
            }
        }
        guard.clear_ready();
    }
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
