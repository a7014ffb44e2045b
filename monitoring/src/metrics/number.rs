//! What a gauge can be set to: any of Rust's numbers.

/// A number of any of Rust's types, as the `f64` that Prometheus has for all values.
///
/// Integers beyond 2⁵³ are rounded to the nearest number that an `f64` can have.
///
/// # Example
///
/// ```
/// use monitoring::Gauge;
///
/// let memory = Gauge::new("number_example_bytes", "Memory in use.");
/// memory.set(1_073_741_824);
/// memory.set(0.5);
/// memory.set(vec![1, 2, 3].len());
/// assert_eq!(memory.get(), 3.0);
/// ```
pub trait Number: Copy + sealed::Sealed {
    /// The number as Prometheus has it.
    fn to_f64(self) -> f64;
}

mod sealed {
    pub trait Sealed {}
}

macro_rules! number {
    ($($kind:ty),*) => {$(
        impl sealed::Sealed for $kind {}

        impl Number for $kind {
            #[inline]
            #[allow(clippy::cast_lossless, reason = "one text for all types")]
            fn to_f64(self) -> f64 {
                self as f64
            }
        }
    )*};
}

number!(
    i8, i16, i32, i64, i128, isize, u8, u16, u32, u64, u128, usize, f32, f64
);
