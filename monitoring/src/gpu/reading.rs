//! A number that a device may not be able to tell.

use std::fmt;

/// A number, or nothing where the device does not support it.
///
/// # Example
///
/// ```
/// use monitoring::gpu::Reading;
///
/// assert_eq!(Reading::from(45.0).to_string(), "45");
/// assert_eq!(Reading::ABSENT.to_string(), "n/a");
/// assert_eq!(Reading::ABSENT.get(), None);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Reading(Option<f64>);

impl Reading {
    /// What the device does not support, or could not tell this time.
    pub const ABSENT: Self = Self(None);

    /// The number, if there is one. Never infinite or NaN.
    pub fn get(self) -> Option<f64> {
        self.0
    }
}

impl From<f64> for Reading {
    /// A number that is none, such as NaN, is absent.
    fn from(value: f64) -> Self {
        Self(value.is_finite().then_some(value))
    }
}

impl From<Option<f64>> for Reading {
    fn from(value: Option<f64>) -> Self {
        value.map_or(Self::ABSENT, Self::from)
    }
}

impl fmt::Display for Reading {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(value) => fmt::Display::fmt(&value, formatter),
            None => formatter.pad("n/a"),
        }
    }
}
