//! Tells kernel programs of other families since when they may believe what the family says of running
//! calls: not once it has ended, for then nobody notes that a call has returned. Knows no calls.

use anyhow::Context as _;
use aya::maps::{Array, Map, MapData};

/// While it lives, the family is believed.
pub(super) struct Since(Array<MapData, u64>);

impl Since {
    /// Tells them that calls are followed that began after a time, by `CLOCK_MONOTONIC`.
    ///
    /// # Errors
    ///
    /// When the map is another one, or the kernel refuses.
    pub(super) fn tell(map: MapData, began_ns: u64) -> anyhow::Result<Self> {
        let map = Array::try_from(Map::Array(map));
        let mut since = map.context("map of when calls began to be followed")?;
        let told = since.set(0, began_ns, 0);
        told.context("tell since when calls are followed")?;
        Ok(Self(since))
    }
}

impl Drop for Since {
    fn drop(&mut self) {
        // A map of one number that was written to before.
        let _ = self.0.set(0, 0, 0);
    }
}
