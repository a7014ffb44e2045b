//! Tags: what is said of a span, an event or a link.
//!
//! Knows nothing of how a span keeps them.

use std::borrow::Cow;

/// The value of a tag.
///
/// Whoever sets tags gives what converts into it: texts, integers, floats and booleans. Static
/// texts are kept by reference.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum TagValue<'a> {
    /// A text.
    Text(Cow<'a, str>),
    /// An integer. Larger ones, which no trace format knows, become texts of their digits.
    Int(i64),
    /// A number that is not always an integer.
    Float(f64),
    /// Yes or no.
    Bool(bool),
}

/// A key with a value, both of them owned or static.
#[derive(Clone, Debug, PartialEq)]
pub struct Tag {
    /// What is said, such as `db.type`.
    pub key: Cow<'static, str>,
    /// What it is in this case.
    pub value: TagValue<'static>,
}

impl Tag {
    /// A tag of this key and value.
    pub fn new(key: impl Into<Cow<'static, str>>, value: impl Into<TagValue<'static>>) -> Self {
        Self {
            key: key.into(),
            value: value.into(),
        }
    }
}

impl<K: Into<Cow<'static, str>>, V: Into<TagValue<'static>>> From<(K, V)> for Tag {
    fn from((key, value): (K, V)) -> Self {
        Self::new(key, value)
    }
}

impl TagValue<'_> {
    /// The same value, borrowed from this one.
    pub fn borrowed(&self) -> TagValue<'_> {
        match self {
            Self::Text(text) => TagValue::Text(Cow::Borrowed(text)),
            Self::Int(number) => TagValue::Int(*number),
            Self::Float(number) => TagValue::Float(*number),
            Self::Bool(truth) => TagValue::Bool(*truth),
        }
    }
}

impl<'a> From<&'a str> for TagValue<'a> {
    #[inline]
    fn from(text: &'a str) -> Self {
        Self::Text(Cow::Borrowed(text))
    }
}

impl From<String> for TagValue<'_> {
    #[inline]
    fn from(text: String) -> Self {
        Self::Text(Cow::Owned(text))
    }
}

impl<'a> From<Cow<'a, str>> for TagValue<'a> {
    #[inline]
    fn from(text: Cow<'a, str>) -> Self {
        Self::Text(text)
    }
}

impl From<bool> for TagValue<'_> {
    #[inline]
    fn from(truth: bool) -> Self {
        Self::Bool(truth)
    }
}

macro_rules! from_numbers {
    ($variant:ident: $($number:ty)*) => {$(
        impl From<$number> for TagValue<'_> {
            #[inline]
            fn from(number: $number) -> Self {
                Self::$variant(number.into())
            }
        }
    )*};
}

from_numbers!(Int: i8 i16 i32 i64 u8 u16 u32);
from_numbers!(Float: f32 f64);

macro_rules! from_large_numbers {
    ($($number:ty)*) => {$(
        impl From<$number> for TagValue<'_> {
            #[inline]
            fn from(number: $number) -> Self {
                match i64::try_from(number) {
                    Ok(number) => Self::Int(number),
                    Err(_) => Self::Text(number.to_string().into()),
                }
            }
        }
    )*};
}

from_large_numbers!(isize u64 usize i128 u128);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_what_they_were() {
        let check = |value: TagValue<'static>, want: TagValue<'_>| assert_eq!(value, want);
        check("a".into(), TagValue::Text("a".into()));
        check(String::from("a").into(), TagValue::Text("a".into()));
        check(Cow::from("a").into(), TagValue::Text("a".into()));
        check(true.into(), TagValue::Bool(true));
        check((-1).into(), TagValue::Int(-1));
        check(7_usize.into(), TagValue::Int(7));
        check(
            u64::MAX.into(),
            TagValue::Text("18446744073709551615".into()),
        );
        check(0.5_f32.into(), TagValue::Float(0.5));
    }
}
