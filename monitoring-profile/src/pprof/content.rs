//! What the fields of pprof's outermost message say, put into a profile. Checks every reference.

use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
};

use prost::Message;

use super::{
    fields::{Field, each},
    messages::{self, field},
    read::{Limits, ReadError},
};
use crate::{
    Profile, ValueType,
    profile::{
        labels::{LabelRow, ValueRow},
        tables::{FunctionId, FunctionRow, Line, LocationId, MappingId, MappingRow, StringId},
    },
};

/// A profile has one type of value, or a few.
const MOST_TYPES: usize = 64;

/// Bytes of a text of the header, such as the name of a type or an expression. Many types may have
/// one text of the file as their name, and each has a copy. Of comments there is one copy each.
const LONGEST_HEADER: usize = 64 << 10;

/// What has been read of a file. Each part is read in a pass of its own, because a field may come
/// before what it refers to.
pub(super) struct Content {
    profile: Profile,
    limits: Limits,
    strings: Vec<StringId>,
    mappings: HashMap<u64, MappingId>,
    functions: HashMap<u64, FunctionId>,
    locations: HashMap<u64, LocationId>,
    /// The sum of each value without its signs, so that no sum of some of them overflows.
    magnitudes: Vec<u128>,
}

impl Content {
    /// Reads a whole file that is not compressed.
    pub(super) fn read(file: &[u8], limits: Limits) -> Result<Profile, ReadError> {
        let mut content = Self {
            profile: Profile::new(Vec::new()),
            limits,
            strings: Vec::new(),
            mappings: HashMap::new(),
            functions: HashMap::new(),
            locations: HashMap::new(),
            magnitudes: Vec::new(),
        };
        content.all_strings(file)?;
        content.header(file)?;
        content.tables(file)?;
        content.all_locations(file)?;
        content.samples(file)?;
        Ok(content.profile)
    }

    fn all_strings(&mut self, file: &[u8]) -> Result<(), ReadError> {
        each(file, |number, field| {
            if number == field::STRING {
                let text = String::from_utf8_lossy(field.bytes("a text")?);
                if self.strings.is_empty() && !text.is_empty() {
                    return Err(malformed("the first of its texts is not empty"));
                }
                self.strings.push(self.profile.string(&text));
            }
            Ok(())
        })?;
        if self.strings.is_empty() {
            return Err(malformed("it has no texts"));
        }
        Ok(())
    }

    fn header(&mut self, file: &[u8]) -> Result<(), ReadError> {
        let mut types = Vec::new();
        let (mut time_ns, mut duration_ns) = (None, 0);
        let (mut period_type, mut period) = (None, 0);
        let mut texts: [i64; 4] = [0; 4];
        let mut comments = HashSet::new();
        each(file, |number, field| {
            match number {
                field::SAMPLE_TYPE => {
                    at_most(types.len() + 1, MOST_TYPES, "types of values")?;
                    types.push(self.value_type(field, "a sample type")?);
                }
                field::TIME if time_ns.is_some() => {
                    return Err(malformed("it holds several profiles; give each a file"));
                }
                field::TIME => time_ns = Some(field.integer("the time")?),
                field::DURATION => duration_ns = field.integer("the duration")?,
                field::PERIOD_TYPE => period_type = Some(field),
                field::PERIOD => period = field.integer("the period")?,
                field::COMMENT => field.integers("a comment", |comment| {
                    // Equal texts have one id: what is known is neither copied nor hashed.
                    let id = self.string(comment, || "a comment".to_owned())?;
                    if comments.insert(id) {
                        let comment = self.profile.text(id).to_owned();
                        self.profile.add_comment(comment);
                    }
                    Ok(())
                })?,
                field::DROP_FRAMES => texts[0] = field.integer("what to drop")?,
                field::KEEP_FRAMES => texts[1] = field.integer("what to keep")?,
                field::DEFAULT_TYPE => texts[2] = field.integer("the default type")?,
                field::DOCUMENTATION => texts[3] = field.integer("the documentation")?,
                _ => {}
            }
            Ok(())
        })?;
        let text = |content: &Self, at: usize| {
            let text = content.header_text(texts[at], "the header")?;
            Ok::<String, ReadError>(text.to_owned())
        };
        let (drop, keep) = (text(self, 0)?, text(self, 1)?);
        let (default, documentation) = (text(self, 2)?, text(self, 3)?);
        self.magnitudes = vec![0; types.len()];
        self.profile.set_sample_types(types);
        self.profile.set_time(time_ns.unwrap_or(0), duration_ns);
        self.profile.set_uninteresting(drop, keep);
        self.profile.set_documentation(documentation);
        if let Some(kind) = period_type {
            let kind = self.value_type(kind, "the period's type")?;
            if kind != ValueType::default() {
                self.profile.set_period(kind, period);
            }
        }
        // Some profilers name one that they have not; pprof's own tools take the last then, too.
        if let Some(value) = self.profile.type_named(&default) {
            self.profile.set_default_type(value);
        }
        Ok(())
    }

    fn value_type(&self, field: Field<'_>, name: &'static str) -> Result<ValueType, ReadError> {
        let message: messages::ValueType = decode(field, || name.into())?;
        Ok(ValueType {
            kind: self.header_text(message.kind, name)?.to_owned(),
            unit: self.header_text(message.unit, name)?.to_owned(),
        })
    }

    fn tables(&mut self, file: &[u8]) -> Result<(), ReadError> {
        each(file, |number, field| match number {
            field::MAPPING => self.mapping(field),
            field::FUNCTION => self.function(field),
            _ => Ok(()),
        })
    }

    fn mapping(&mut self, field: Field<'_>) -> Result<(), ReadError> {
        let message: messages::Mapping = decode(field, || "a mapping".into())?;
        let name = || format!("mapping {}", message.id);
        let row = MappingRow {
            start: message.start,
            limit: message.limit,
            offset: message.offset,
            file: self.string(message.file, name)?,
            build_id: self.string(message.build_id, name)?,
            has_functions: message.has_functions,
            has_filenames: message.has_filenames,
            has_line_numbers: message.has_line_numbers,
            has_inline_frames: message.has_inline_frames,
        };
        let id = self.profile.mapping_row(row);
        note(&mut self.mappings, message.id, id, name)
    }

    fn function(&mut self, field: Field<'_>) -> Result<(), ReadError> {
        let message: messages::Function = decode(field, || "a function".into())?;
        let name = || format!("function {}", message.id);
        let row = FunctionRow {
            name: self.string(message.name, name)?,
            system_name: self.string(message.system_name, name)?,
            file: self.string(message.file, name)?,
            start_line: message.start_line,
        };
        let id = self.profile.function_row(row);
        note(&mut self.functions, message.id, id, name)
    }

    fn all_locations(&mut self, file: &[u8]) -> Result<(), ReadError> {
        each(file, |number, field| {
            if number == field::LOCATION {
                self.location(field)?;
            }
            Ok(())
        })
    }

    fn location(&mut self, field: Field<'_>) -> Result<(), ReadError> {
        let message: messages::Location = decode(field, || "a location".into())?;
        let name = || format!("location {}", message.id);
        // 0 stands for none.
        let mapping = match message.mapping {
            0 => None,
            id => Some(find(&self.mappings, id, name, "mapping")?),
        };
        let lines = message.lines.iter().map(|line| {
            Ok(Line {
                function: find(&self.functions, line.function, name, "function")?,
                line: line.line,
            })
        });
        let lines: Vec<Line> = lines.collect::<Result<_, ReadError>>()?;
        let id = self.profile.location(mapping, message.address, &lines);
        note(&mut self.locations, message.id, id, name)
    }

    fn samples(&mut self, file: &[u8]) -> Result<(), ReadError> {
        let mut count = 0_u64;
        each(file, |number, field| {
            if number == field::SAMPLE {
                count += 1;
                self.sample(field, count)?;
            }
            Ok(())
        })
    }

    fn sample(&mut self, field: Field<'_>, count: u64) -> Result<(), ReadError> {
        let name = || format!("sample {count}");
        let message: messages::Sample = decode(field, || name().into())?;
        if message.locations.len() > self.limits.stack {
            return Err(ReadError::TooLarge {
                limit: self.limits.stack,
                unit: "locations in a stack",
            });
        }
        let (values, types) = (message.values.len(), self.magnitudes.len());
        if values != types || types == 0 {
            let what = format!(
                "{} has {values} values, and there are {types} types",
                name()
            );
            return Err(ReadError::Malformed(what));
        }
        for (magnitude, value) in self.magnitudes.iter_mut().zip(&message.values) {
            *magnitude += u128::from(value.unsigned_abs());
            if i64::try_from(*magnitude).is_err() {
                return Err(malformed("the sum of its values is out of range"));
            }
        }
        let stack = message.locations.iter();
        let stack: Vec<LocationId> = stack
            .map(|id| find(&self.locations, *id, name, "location"))
            .collect::<Result<_, _>>()?;
        let mut labels = Vec::new();
        for label in &message.labels {
            labels.push(self.label(label, name)?);
        }
        labels.sort_unstable();
        self.profile
            .sample_of_rows(&stack, &message.values, &labels);
        Ok(())
    }

    fn label(
        &self,
        label: &messages::Label,
        name: impl Fn() -> String,
    ) -> Result<LabelRow, ReadError> {
        let key = self.string(label.key, &name)?;
        let value = match label.text {
            0 => ValueRow::Number {
                value: label.number,
                unit: self.string(label.unit, &name)?,
            },
            text => ValueRow::Text(self.string(text, &name)?),
        };
        Ok(LabelRow { key, value })
    }

    fn string(&self, number: i64, name: impl Fn() -> String) -> Result<StringId, ReadError> {
        let row = usize::try_from(number).ok();
        let string = row.and_then(|row| self.strings.get(row));
        string.copied().ok_or_else(|| {
            let (name, count) = (name(), self.strings.len());
            ReadError::Malformed(format!("{name} names text {number}, of {count}"))
        })
    }

    fn header_text(&self, number: i64, name: &str) -> Result<&str, ReadError> {
        let id = self.string(number, || name.to_owned())?;
        let text = self.profile.text(id);
        at_most(text.len(), LONGEST_HEADER, "bytes in a text of its header")?;
        Ok(text)
    }
}

fn at_most(count: usize, limit: usize, unit: &'static str) -> Result<(), ReadError> {
    if count > limit {
        return Err(ReadError::TooLarge { limit, unit });
    }
    Ok(())
}

fn decode<M: Message + Default>(
    field: Field<'_>,
    name: impl Fn() -> Cow<'static, str>,
) -> Result<M, ReadError> {
    let Field::Bytes(bytes) = field else {
        return Err(ReadError::Malformed(format!("{} is no message", name())));
    };
    M::decode(bytes).map_err(|error| ReadError::Malformed(format!("{}: {error}", name())))
}

/// Remembers what an id in the file stands for.
fn note<T>(
    known: &mut HashMap<u64, T>,
    id: u64,
    row: T,
    name: impl Fn() -> String,
) -> Result<(), ReadError> {
    if id == 0 {
        let what = format!("{}: the number stands for none", name());
        return Err(ReadError::Malformed(what));
    }
    match known.insert(id, row) {
        None => Ok(()),
        Some(_) => Err(ReadError::Malformed(format!("{} is there twice", name()))),
    }
}

fn find<T: Copy>(
    known: &HashMap<u64, T>,
    id: u64,
    name: impl Fn() -> String,
    kind: &str,
) -> Result<T, ReadError> {
    let found = known.get(&id).copied();
    found.ok_or_else(|| {
        ReadError::Malformed(format!("{} names {kind} {id}, which is not there", name()))
    })
}

fn malformed(what: &str) -> ReadError {
    ReadError::Malformed(what.to_owned())
}
