//! A profile: its tables, and how it is built and read. Knows no file format.
//!
//! Every table holds each of its rows once, so that a profile of a whole node stays small: stacks
//! and sets of labels are shared between samples, names between functions.

pub(crate) mod filter;
pub(crate) mod labels;
pub(crate) mod merge;
mod prune;
pub(crate) mod samples;
mod size;
pub(crate) mod tables;

use indexmap::IndexSet;

use labels::{LabelRow, LabelSetId};
use tables::{
    FunctionId, FunctionRef, FunctionRow, Line, Location, LocationId, LocationKey, Mapping,
    MappingId, MappingRef, MappingRow, StackId, StringId,
};

/// What one value of each sample means.
///
/// In use are `("samples", "count")`, `("cpu", "nanoseconds")`, `("resident", "bytes")` and the
/// like. Units are those of pprof: `count`, `bytes`, `nanoseconds`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ValueType {
    /// What is measured.
    pub kind: String,
    /// What it is measured in.
    pub unit: String,
}

impl ValueType {
    /// From two words.
    pub fn new(kind: impl Into<String>, unit: impl Into<String>) -> Self {
        Self {
            kind: kind.into(),
            unit: unit.into(),
        }
    }
}

/// Stacks with values and labels.
///
/// Ids are of the profile that gave them: one of another profile names something else, or makes
/// the methods below panic. A table has at most 2³² rows.
///
/// The sums of values are saturating: they do not overflow, but stop at the ends of `i64`.
#[derive(Clone, Debug)]
pub struct Profile {
    types: Vec<ValueType>,
    default_type: Option<usize>,
    period: Option<(ValueType, i64)>,
    time_ns: i64,
    duration_ns: i64,
    comments: IndexSet<Box<str>>,
    drop_frames: String,
    keep_frames: String,
    documentation: String,
    strings: IndexSet<Box<str>>,
    mappings: IndexSet<MappingRow>,
    functions: IndexSet<FunctionRow>,
    locations: IndexSet<Location>,
    stacks: IndexSet<Box<[LocationId]>>,
    label_sets: IndexSet<Box<[LabelRow]>>,
    samples: IndexSet<(StackId, LabelSetId)>,
    /// As many values for each sample as there are types, one sample after the other.
    values: Vec<i64>,
}

impl Profile {
    /// A profile without samples. Each sample will have a value of each of these types.
    pub fn new(sample_types: Vec<ValueType>) -> Self {
        Self {
            types: sample_types,
            default_type: None,
            period: None,
            time_ns: 0,
            duration_ns: 0,
            comments: IndexSet::new(),
            drop_frames: String::new(),
            keep_frames: String::new(),
            documentation: String::new(),
            strings: IndexSet::new(),
            mappings: IndexSet::new(),
            functions: IndexSet::new(),
            locations: IndexSet::new(),
            stacks: IndexSet::new(),
            label_sets: IndexSet::new(),
            samples: IndexSet::new(),
            values: Vec::new(),
        }
    }

    /// The sum of one value over all samples, without their signs: what parts of a profile are
    /// parts of, even if some values are negative.
    ///
    /// # Panics
    ///
    /// If there is no such value.
    pub fn whole(&self, value: usize) -> i64 {
        i64::try_from(self.magnitude(value)).unwrap_or(i64::MAX)
    }

    /// Replaces the types, as long as there are no samples.
    pub(crate) fn set_sample_types(&mut self, types: Vec<ValueType>) {
        assert!(
            self.samples.is_empty(),
            "the samples' values have their types"
        );
        self.types = types;
    }

    /// Says which of a sample's values is shown unless another is asked for.
    ///
    /// # Panics
    ///
    /// If there is no such type.
    pub fn set_default_type(&mut self, value: usize) {
        assert!(value < self.types.len(), "there is no value {value}");
        self.default_type = Some(value);
    }

    /// Says what lies between two samples: so much of `kind`, such as 10,000,000 nanoseconds of
    /// CPU time at 100 Hz.
    pub fn set_period(&mut self, kind: ValueType, period: i64) {
        self.period = Some((kind, period));
    }

    /// Says when the profile was taken: its start in nanoseconds since 1970, and its length.
    pub fn set_time(&mut self, start_ns: i64, duration_ns: i64) {
        self.time_ns = start_ns;
        self.duration_ns = duration_ns;
    }

    /// Adds a remark for whoever reads the file; each is kept once.
    pub fn add_comment(&mut self, comment: impl Into<String>) {
        self.comments.insert(comment.into().into_boxed_str());
    }

    /// Names frames that are of no interest, as regular expressions: those below a function that
    /// matches `drop`, and does not match `keep`, are left out when a profile is shown, with the
    /// function itself. Both may be empty.
    pub fn set_uninteresting(&mut self, drop: impl Into<String>, keep: impl Into<String>) {
        self.drop_frames = drop.into();
        self.keep_frames = keep.into();
    }

    /// Names a page that describes this kind of profile.
    pub fn set_documentation(&mut self, address: impl Into<String>) {
        self.documentation = address.into();
    }

    /// A mapped file's id. Equal ones have the same.
    pub fn mapping(&mut self, mapping: &Mapping) -> MappingId {
        let row = MappingRow {
            start: mapping.start,
            limit: mapping.limit,
            offset: mapping.offset,
            file: self.string(&mapping.file),
            build_id: self.string(&mapping.build_id),
            has_functions: mapping.has_functions,
            has_filenames: mapping.has_filenames,
            has_line_numbers: mapping.has_line_numbers,
            has_inline_frames: mapping.has_inline_frames,
        };
        self.mapping_row(row)
    }

    /// A function's id. Equal ones have the same.
    ///
    /// `name` is for people, `system_name` is what the linker calls it, `file` is where its source
    /// is, and `start_line` where it begins there. What is not known is empty, or 0.
    pub fn function(
        &mut self,
        name: &str,
        system_name: &str,
        file: &str,
        start_line: i64,
    ) -> FunctionId {
        let row = FunctionRow {
            name: self.string(name),
            system_name: self.string(system_name),
            file: self.string(file),
            start_line,
        };
        self.function_row(row)
    }

    /// The id of an address in a mapping, and of the functions that it lies in: the innermost of
    /// inlined ones first. Without lines it has no name. Equal ones have the same id.
    ///
    /// # Panics
    ///
    /// If the mapping or a function is none of this profile's.
    pub fn location(
        &mut self,
        mapping: Option<MappingId>,
        address: u64,
        lines: &[Line],
    ) -> LocationId {
        let key = LocationKey {
            mapping,
            address,
            lines,
        };
        if let Some(row) = self.locations.get_index_of(&key) {
            return LocationId::of(row);
        }
        let known = mapping.is_none_or(|mapping| mapping.row() < self.mappings.len());
        assert!(known, "{mapping:?} is of another profile");
        for line in lines {
            let known = line.function.row() < self.functions.len();
            assert!(known, "{:?} is of another profile", line.function);
        }
        LocationId::of(self.locations.insert_full(key.to_owned()).0)
    }

    /// Adds values to those of a stack and its labels.
    ///
    /// The leaf comes first: where the program was, then who called it. The order of labels makes
    /// no difference, and one whose text is empty says nothing and is left out. A sample whose
    /// values are all 0 is kept as well.
    ///
    /// # Panics
    ///
    /// If there are more or fewer values than types, or if a location is none of this profile's.
    pub fn sample(&mut self, stack: &[LocationId], values: &[i64], labels: &[crate::Label]) {
        let mut rows: Vec<LabelRow> = labels
            .iter()
            .filter(|label| !label.is_empty())
            .map(|label| self.label_row(label))
            .collect();
        rows.sort_unstable();
        self.sample_of_rows(stack, values, &rows);
    }

    /// The types of each sample's values.
    pub fn sample_types(&self) -> &[ValueType] {
        &self.types
    }

    /// Which value is shown unless another is asked for: the one that was set, or else the last,
    /// which is what pprof's own tools take.
    pub fn default_type(&self) -> usize {
        let last = self.types.len().saturating_sub(1);
        self.default_type.unwrap_or(last)
    }

    /// The value of this kind, if there is one.
    pub fn type_named(&self, kind: &str) -> Option<usize> {
        self.types.iter().position(|known| known.kind == kind)
    }

    /// What lies between two samples, if that is known.
    pub fn period(&self) -> Option<(&ValueType, i64)> {
        self.period.as_ref().map(|(kind, period)| (kind, *period))
    }

    /// When the profile begins, in nanoseconds since 1970; 0 if that is not known.
    pub fn time_ns(&self) -> i64 {
        self.time_ns
    }

    /// How long it was, in nanoseconds; 0 if that is not known.
    pub fn duration_ns(&self) -> i64 {
        self.duration_ns
    }

    /// Remarks, in the order in which they were added.
    pub fn comments(&self) -> impl ExactSizeIterator<Item = &str> {
        self.comments.iter().map(AsRef::as_ref)
    }

    /// Regular expressions of what to leave out, and of what to keep of that.
    /// See [`Self::set_uninteresting`].
    pub fn uninteresting(&self) -> (&str, &str) {
        (&self.drop_frames, &self.keep_frames)
    }

    /// A page that describes this kind of profile; may be empty.
    pub fn documentation(&self) -> &str {
        &self.documentation
    }

    /// All mappings.
    pub fn mappings(&self) -> impl ExactSizeIterator<Item = (MappingId, MappingRef<'_>)> {
        let all = (0..self.mappings.len()).map(MappingId::of);
        all.map(|id| (id, self.mapping_at(id)))
    }

    /// All functions.
    pub fn functions(&self) -> impl ExactSizeIterator<Item = (FunctionId, FunctionRef<'_>)> {
        let all = (0..self.functions.len()).map(FunctionId::of);
        all.map(|id| (id, self.function_at(id)))
    }

    /// All locations.
    pub fn locations(&self) -> impl ExactSizeIterator<Item = (LocationId, &Location)> {
        let all = self.locations.iter().enumerate();
        all.map(|(row, location)| (LocationId::of(row), location))
    }

    /// The mapping of an id.
    ///
    /// # Panics
    ///
    /// If the id is of another profile.
    pub fn mapping_at(&self, id: MappingId) -> MappingRef<'_> {
        let mapping = &self.mappings[id.row()];
        MappingRef {
            start: mapping.start,
            limit: mapping.limit,
            offset: mapping.offset,
            file: self.text(mapping.file),
            build_id: self.text(mapping.build_id),
            has_functions: mapping.has_functions,
            has_filenames: mapping.has_filenames,
            has_line_numbers: mapping.has_line_numbers,
            has_inline_frames: mapping.has_inline_frames,
        }
    }

    /// The function of an id.
    ///
    /// # Panics
    ///
    /// If the id is of another profile.
    pub fn function_at(&self, id: FunctionId) -> FunctionRef<'_> {
        let function = &self.functions[id.row()];
        FunctionRef {
            name: self.text(function.name),
            system_name: self.text(function.system_name),
            file: self.text(function.file),
            start_line: function.start_line,
        }
    }

    /// The location of an id.
    ///
    /// # Panics
    ///
    /// If the id is of another profile.
    pub fn location_at(&self, id: LocationId) -> &Location {
        &self.locations[id.row()]
    }

    /// The sum of one value over all samples.
    ///
    /// # Panics
    ///
    /// If there is no such value.
    pub fn total(&self, value: usize) -> i64 {
        saturated(
            self.samples()
                .map(|sample| i128::from(sample.values[value]))
                .sum(),
        )
    }

    pub(crate) fn mapping_row(&mut self, row: MappingRow) -> MappingId {
        MappingId::of(self.mappings.insert_full(row).0)
    }

    pub(crate) fn function_row(&mut self, row: FunctionRow) -> FunctionId {
        FunctionId::of(self.functions.insert_full(row).0)
    }

    pub(crate) fn string(&mut self, text: &str) -> StringId {
        let row = match self.strings.get_index_of(text) {
            Some(row) => row,
            None => self.strings.insert_full(text.into()).0,
        };
        StringId::of(row)
    }

    pub(crate) fn text(&self, id: StringId) -> &str {
        &self.strings[id.row()]
    }
}

/// The nearest `i64`. No sum of fewer than 2⁶⁴ values overflows an `i128`.
pub(crate) fn saturated(sum: i128) -> i64 {
    i64::try_from(sum).unwrap_or(if sum < 0 { i64::MIN } else { i64::MAX })
}
