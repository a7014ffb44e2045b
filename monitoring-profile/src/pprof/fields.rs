//! Walks over the fields of a protocol buffer's message, without taking them in. So a file's parts
//! can be read one after the other, whatever their order and number.

use prost::encoding::{WireType, decode_key, decode_varint};

use super::read::ReadError;

/// A field's value.
#[derive(Clone, Copy, Debug)]
pub(super) enum Field<'a> {
    /// A number.
    Number(u64),
    /// A text, a message, or numbers one after the other.
    Bytes(&'a [u8]),
    /// Eight or four bytes, which pprof has no use for.
    Fixed,
}

impl<'a> Field<'a> {
    /// The field as a signed number.
    pub(super) fn integer(self, name: &str) -> Result<i64, ReadError> {
        match self {
            Self::Number(number) => Ok(number.cast_signed()),
            _ => Err(ReadError::Malformed(format!("{name} is no number"))),
        }
    }

    /// The field as a text or message.
    pub(super) fn bytes(self, name: &str) -> Result<&'a [u8], ReadError> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            _ => Err(ReadError::Malformed(format!("{name} is a number"))),
        }
    }

    /// The field as numbers, of which one alone may be written as such.
    pub(super) fn integers(
        self,
        name: &str,
        mut call: impl FnMut(i64) -> Result<(), ReadError>,
    ) -> Result<(), ReadError> {
        let Self::Bytes(mut bytes) = self else {
            return call(self.integer(name)?);
        };
        while !bytes.is_empty() {
            let number = decode_varint(&mut bytes);
            let number =
                number.map_err(|error| ReadError::Malformed(format!("{name}: {error}")))?;
            call(number.cast_signed())?;
        }
        Ok(())
    }
}

/// Calls for each field of a message, with its number.
pub(super) fn each<'a>(
    message: &'a [u8],
    mut call: impl FnMut(u32, Field<'a>) -> Result<(), ReadError>,
) -> Result<(), ReadError> {
    let mut rest = message;
    while !rest.is_empty() {
        let at = message.len() - rest.len();
        let cut = |what: &str| ReadError::Truncated(format!("{what} at byte {at} is incomplete"));
        let key = decode_key(&mut rest);
        let (number, wire_type) = key.map_err(|error| malformed(at, &error.to_string()))?;
        let field = match wire_type {
            WireType::Varint => {
                let value = decode_varint(&mut rest);
                Field::Number(value.map_err(|error| malformed(at, &error.to_string()))?)
            }
            WireType::LengthDelimited => {
                let length = decode_varint(&mut rest);
                let length = length.map_err(|error| malformed(at, &error.to_string()))?;
                let length = usize::try_from(length).unwrap_or(usize::MAX);
                let parts = rest.split_at_checked(length);
                let (value, after) = parts.ok_or_else(|| cut("the field"))?;
                rest = after;
                Field::Bytes(value)
            }
            WireType::ThirtyTwoBit => {
                rest = rest.get(4..).ok_or_else(|| cut("the number"))?;
                Field::Fixed
            }
            WireType::SixtyFourBit => {
                rest = rest.get(8..).ok_or_else(|| cut("the number"))?;
                Field::Fixed
            }
            WireType::StartGroup | WireType::EndGroup => {
                return Err(malformed(at, "a group, which pprof's files do not have"));
            }
        };
        call(number, field)?;
    }
    Ok(())
}

fn malformed(at: usize, what: &str) -> ReadError {
    ReadError::Malformed(format!("at byte {at}: {what}"))
}
