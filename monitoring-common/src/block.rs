//! Family `block`: disk requests.

/// Slots of the per-CPU array `LOST`.
pub mod lost {
    /// A map is full.
    pub const FULL: u32 = 0;
    /// The reasons' label values, by slot.
    pub const REASONS: [&str; 1] = ["full"];
}
