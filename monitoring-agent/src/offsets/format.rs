//! The text that tracefs gives for a tracepoint: where its fields lie in the record that
//! tracepoint programs get. Knows no files.

use super::TracefsError;

/// The fields of a tracepoint's record.
///
/// # Example
///
/// ```
/// use monitoring_agent::offsets::{Location, TracepointFormat};
///
/// let format = TracepointFormat::parse(
///     "format:\n\tfield:__data_loc char[] comm;\toffset:8;\tsize:4;\tsigned:0;\n",
/// )?;
/// let comm = format.field("comm").expect("declared above");
/// assert_eq!((comm.offset, comm.location), (8, Location::FromRecord));
/// # Ok::<(), monitoring_agent::offsets::TracefsError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TracepointFormat {
    /// In the record's order, with the common ones that every record begins with.
    pub fields: Vec<FormatField>,
}

/// A field of a tracepoint's record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FormatField {
    /// Its name in the kernel.
    pub name: String,
    /// Bytes from the beginning of the record.
    pub offset: u32,
    /// Bytes in the record: of the whole array, or of the word that says where the array is.
    pub size: u32,
    /// Whether it is a signed number. For characters this depends on the kernel's compiler.
    pub signed: bool,
    /// Where its value is.
    pub location: Location,
    /// Elements of an array of fixed length. `None` also for the rare array whose length the
    /// kernel gives by a name, unless it is one of characters.
    pub array_len: Option<u32>,
}

/// Where a field's value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Location {
    /// In the field.
    Inline,
    /// `__data_loc`: the field's upper 16 bits are the value's length in bytes, the lower 16 its
    /// offset from the beginning of the record.
    FromRecord,
    /// `__rel_loc`: the same, but the offset counts from the end of the field.
    FromField,
}

impl TracepointFormat {
    /// Parses a `format` file.
    pub fn parse(text: &str) -> Result<Self, TracefsError> {
        let mut fields = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim_start();
            if line.starts_with("print fmt:") {
                break;
            }
            let Some(declaration) = line.strip_prefix("field:") else {
                continue;
            };
            let field = FormatField::parse(declaration);
            fields.push(field.map_err(|what| TracefsError::Malformed {
                line: index + 1,
                what,
            })?);
        }
        if fields.is_empty() {
            return Err(TracefsError::Malformed {
                line: 1,
                what: "no fields",
            });
        }
        Ok(Self { fields })
    }

    /// The field of this name, if this kernel's record has it.
    pub fn field(&self, name: &str) -> Option<&FormatField> {
        self.fields.iter().find(|field| field.name == name)
    }
}

impl FormatField {
    /// Parses what follows `field:` in a line.
    fn parse(line: &str) -> Result<Self, &'static str> {
        let (declaration, attributes) = line.split_once(';').ok_or("a declaration without end")?;
        let attribute = |name: &str| {
            let mut all = attributes
                .split(';')
                .filter_map(|part| part.trim().split_once(':'));
            all.find(|(key, _)| *key == name)
                .and_then(|(_, value)| value.parse::<u32>().ok())
        };
        let offset = attribute("offset").ok_or("a field without an offset")?;
        let size = attribute("size").ok_or("a field without a size")?;
        let signed = attribute("signed").ok_or("a field without signedness")? != 0;

        let (location, declaration) = location(declaration.trim());
        let (declaration, length) = split_length(declaration);
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let of_type = declaration.trim_end_matches(is_name);
        let name = declaration[of_type.len()..].to_owned();
        if name.is_empty() {
            return Err("a field without a name");
        }
        // From 5.17 to 6.2 a task's name was a `char comm[TASK_COMM_LEN]`, because the length had
        // become an enumerator (kernel commit b6c7abd1c28a made it a number again).
        let array_len = length
            .filter(|_| location == Location::Inline)
            .and_then(|length| {
                let of_characters = of_type.trim_end().ends_with("char");
                length.parse().ok().or(of_characters.then_some(size))
            });
        Ok(Self {
            name,
            offset,
            size,
            signed,
            location,
            array_len,
        })
    }
}

fn location(declaration: &str) -> (Location, &str) {
    if let Some(rest) = declaration.strip_prefix("__data_loc ") {
        return (Location::FromRecord, rest);
    }
    if let Some(rest) = declaration.strip_prefix("__rel_loc ") {
        return (Location::FromField, rest);
    }
    (Location::Inline, declaration)
}

/// Takes an array's length off the end of its declaration.
fn split_length(declaration: &str) -> (&str, Option<&str>) {
    let array = declaration
        .strip_suffix(']')
        .and_then(|array| array.rsplit_once('['));
    array.map_or((declaration, None), |(rest, length)| {
        (rest.trim_end(), Some(length.trim()))
    })
}

#[cfg(test)]
mod tests;
