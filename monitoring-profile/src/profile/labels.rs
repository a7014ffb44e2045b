//! What samples are labelled with.

use std::fmt;

use super::{Profile, tables::StringId};

/// Says something of a sample: `process=nginx`, `pid=42`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Label {
    /// What is said.
    pub key: String,
    /// Its value.
    pub value: LabelValue,
}

/// A label's value.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum LabelValue {
    /// A text.
    Text(String),
    /// A number.
    Number {
        /// The number.
        value: i64,
        /// Its unit, such as `bytes`; may be empty.
        unit: String,
    },
}

impl Label {
    /// A label whose value is a text.
    pub fn text(key: impl Into<String>, value: impl Into<String>) -> Self {
        Self {
            key: key.into(),
            value: LabelValue::Text(value.into()),
        }
    }

    /// A label whose value is a number without a unit.
    pub fn number(key: impl Into<String>, value: i64) -> Self {
        Self {
            key: key.into(),
            value: LabelValue::Number {
                value,
                unit: String::new(),
            },
        }
    }

    /// Whether it says nothing: files cannot tell an empty text from none.
    pub(super) fn is_empty(&self) -> bool {
        matches!(&self.value, LabelValue::Text(text) if text.is_empty())
    }
}

/// A label of a profile's sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LabelRef<'a> {
    /// What is said.
    pub key: &'a str,
    /// Its value.
    pub value: LabelValueRef<'a>,
}

/// The value of a label of a profile's sample. It is displayed as its text, or as its number with
/// the unit behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LabelValueRef<'a> {
    /// A text.
    Text(&'a str),
    /// A number.
    Number {
        /// The number.
        value: i64,
        /// Its unit; may be empty.
        unit: &'a str,
    },
}

impl fmt::Display for LabelValueRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Number { value, unit } => write!(f, "{value}{unit}"),
        }
    }
}

super::tables::ids! {
    /// A set of labels of a profile.
    pub(crate) LabelSetId;
}

/// A label as it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct LabelRow {
    pub(crate) key: StringId,
    pub(crate) value: ValueRow,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum ValueRow {
    Text(StringId),
    Number { value: i64, unit: StringId },
}

impl Profile {
    pub(super) fn label_row(&mut self, label: &Label) -> LabelRow {
        let value = match &label.value {
            LabelValue::Text(text) => LabelValueRef::Text(text),
            LabelValue::Number { value, unit } => LabelValueRef::Number {
                value: *value,
                unit,
            },
        };
        self.label_row_of(LabelRef {
            key: &label.key,
            value,
        })
    }

    pub(super) fn label_row_of(&mut self, label: LabelRef<'_>) -> LabelRow {
        LabelRow {
            key: self.string(label.key),
            value: match label.value {
                LabelValueRef::Text(text) => ValueRow::Text(self.string(text)),
                LabelValueRef::Number { value, unit } => ValueRow::Number {
                    value,
                    unit: self.string(unit),
                },
            },
        }
    }

    pub(super) fn label_at(&self, row: LabelRow) -> LabelRef<'_> {
        LabelRef {
            key: self.text(row.key),
            value: match row.value {
                ValueRow::Text(text) => LabelValueRef::Text(self.text(text)),
                ValueRow::Number { value, unit } => LabelValueRef::Number {
                    value,
                    unit: self.text(unit),
                },
            },
        }
    }
}
