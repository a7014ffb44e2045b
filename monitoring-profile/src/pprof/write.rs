//! Writes pprof's files.

use std::{collections::HashMap, io::Write as _};

use flate2::{Compression, write::GzEncoder};
use prost::{
    Message,
    encoding::{self, WireType},
};

use super::messages::{self, field};
use crate::{LabelRef, LabelValueRef, Profile, ValueType};

/// The profile as a file, compressed by gzip. Equal profiles give equal files.
pub fn write(profile: &Profile) -> Vec<u8> {
    let mut file = File::default();
    file.profile(profile);
    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    let written = gzip.write_all(&file.bytes).and_then(|()| gzip.finish());
    written.expect("a vector takes all that is written")
}

struct File<'a> {
    bytes: Vec<u8>,
    strings: Vec<&'a str>,
    numbers: HashMap<&'a str, i64>,
}

impl Default for File<'_> {
    fn default() -> Self {
        Self {
            bytes: Vec::new(),
            // The format wants the empty text to be the first.
            strings: vec![""],
            numbers: HashMap::from([("", 0)]),
        }
    }
}

impl<'a> File<'a> {
    fn profile(&mut self, profile: &'a Profile) {
        for kind in profile.sample_types() {
            let message = self.value_type(kind);
            self.message(field::SAMPLE_TYPE, &message);
        }
        self.samples(profile);
        self.tables(profile);
        self.header(profile);
        // Last, when all of them are known.
        for text in std::mem::take(&mut self.strings) {
            encoding::encode_key(field::STRING, WireType::LengthDelimited, &mut self.bytes);
            encoding::encode_varint(text.len() as u64, &mut self.bytes);
            self.bytes.extend_from_slice(text.as_bytes());
        }
    }

    fn samples(&mut self, profile: &'a Profile) {
        let mut message = messages::Sample::default();
        for sample in profile.samples() {
            message.clear();
            let stack = sample.stack.iter();
            message.locations.extend(stack.map(|id| number(id.row())));
            message.values.extend_from_slice(sample.values);
            for label in sample.labels() {
                let label = self.label(label);
                message.labels.push(label);
            }
            self.message(field::SAMPLE, &message);
        }
    }

    fn tables(&mut self, profile: &'a Profile) {
        for (id, mapping) in profile.mappings() {
            let message = messages::Mapping {
                id: number(id.row()),
                start: mapping.start,
                limit: mapping.limit,
                offset: mapping.offset,
                file: self.string(mapping.file),
                build_id: self.string(mapping.build_id),
                has_functions: mapping.has_functions,
                has_filenames: mapping.has_filenames,
                has_line_numbers: mapping.has_line_numbers,
                has_inline_frames: mapping.has_inline_frames,
            };
            self.message(field::MAPPING, &message);
        }
        for (id, location) in profile.locations() {
            let lines = location.lines.iter().map(|line| messages::Line {
                function: number(line.function.row()),
                line: line.line,
            });
            let message = messages::Location {
                id: number(id.row()),
                mapping: location.mapping.map_or(0, |id| number(id.row())),
                address: location.address,
                lines: lines.collect(),
            };
            self.message(field::LOCATION, &message);
        }
        for (id, function) in profile.functions() {
            let message = messages::Function {
                id: number(id.row()),
                name: self.string(function.name),
                system_name: self.string(function.system_name),
                file: self.string(function.file),
                start_line: function.start_line,
            };
            self.message(field::FUNCTION, &message);
        }
    }

    fn header(&mut self, profile: &'a Profile) {
        let (drop, keep) = profile.uninteresting();
        // The last type is the default anyway, and speedscope takes what is said here, the number
        // of a text, for the number of a type.
        let default = match (profile.default_type(), profile.sample_types()) {
            (value, types) if value + 1 < types.len() => types[value].kind.as_str(),
            _ => "",
        };
        let texts = [
            (field::DROP_FRAMES, drop),
            (field::KEEP_FRAMES, keep),
            (field::DEFAULT_TYPE, default),
            (field::DOCUMENTATION, profile.documentation()),
        ];
        for (tag, text) in texts {
            let text = self.string(text);
            self.integer(tag, text);
        }
        self.integer(field::TIME, profile.time_ns());
        self.integer(field::DURATION, profile.duration_ns());
        if let Some((kind, period)) = profile.period() {
            let message = self.value_type(kind);
            self.message(field::PERIOD_TYPE, &message);
            self.integer(field::PERIOD, period);
        }
        for comment in profile.comments() {
            let comment = self.string(comment);
            encoding::int64::encode(field::COMMENT, &comment, &mut self.bytes);
        }
    }

    fn value_type(&mut self, kind: &'a ValueType) -> messages::ValueType {
        messages::ValueType {
            kind: self.string(&kind.kind),
            unit: self.string(&kind.unit),
        }
    }

    fn label(&mut self, label: LabelRef<'a>) -> messages::Label {
        let key = self.string(label.key);
        match label.value {
            LabelValueRef::Text(text) => messages::Label {
                key,
                text: self.string(text),
                ..messages::Label::default()
            },
            LabelValueRef::Number { value, unit } => messages::Label {
                key,
                number: value,
                unit: self.string(unit),
                ..messages::Label::default()
            },
        }
    }

    fn string(&mut self, text: &'a str) -> i64 {
        *self.numbers.entry(text).or_insert_with(|| {
            self.strings.push(text);
            i64::try_from(self.strings.len() - 1).expect("no memory holds so many texts")
        })
    }

    fn message(&mut self, tag: u32, message: &impl Message) {
        encoding::message::encode(tag, message, &mut self.bytes);
    }

    /// A field that is left out where it says nothing.
    fn integer(&mut self, tag: u32, value: i64) {
        if value != 0 {
            encoding::int64::encode(tag, &value, &mut self.bytes);
        }
    }
}

/// A row's id in a file: 0 stands for none there.
fn number(row: usize) -> u64 {
    row as u64 + 1
}
