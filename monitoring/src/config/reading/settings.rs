//! Lists of settings: which key, read how, put where.
//!
//! Knows no layer and no key: each program has lists of its own.

use super::{problem::Fault, values::Value};

/// A key, and what to do with its value.
pub struct Setting<T> {
    /// The key, without its section.
    pub key: &'static str,
    /// Reads the value and puts it where it belongs, or says what is wrong with it.
    pub apply: fn(&mut T, Value<'_>) -> Result<(), Fault>,
}

/// The keys of these settings.
pub fn keys<T>(settings: &[Setting<T>]) -> Vec<&'static str> {
    settings.iter().map(|setting| setting.key).collect()
}

/// A setting whose value is read by one reader and stored in one place.
#[doc(hidden)]
#[macro_export]
macro_rules! config_setting {
    ($key:literal, $($field:ident).+, $read:expr) => {
        $crate::config::reading::settings::Setting {
            key: $key,
            apply: |into, value| {
                into.$($field).+ = $read(value)?;
                Ok(())
            },
        }
    };
}
