//! Puts profiles together, and takes one from another: by what they say, not by their ids.

use super::{
    Profile, ValueType,
    labels::LabelRow,
    samples::SampleRef,
    tables::{FunctionId, Line, LocationId, MappingId, MappingRow},
};

/// Two profiles do not go together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MergeError {
    /// Their values mean different things.
    #[error("the profiles measure different things: {0} and {1}")]
    SampleTypes(String, String),
    /// What lies between two samples is of different kinds.
    #[error("the profiles were sampled by different things: {0} and {1}")]
    PeriodTypes(String, String),
    /// A sum would be larger than a file can say.
    #[error("the sum of {0} is out of range")]
    Overflow(String),
}

impl Profile {
    /// Adds all samples of another profile to this one.
    ///
    /// The result begins when the earlier one begins and ends when the later one ends; if one does
    /// not say when it began, their durations are added. Of two periods it has the longer one.
    ///
    /// # Errors
    ///
    /// If they measure different things, or a sum would be out of range; then nothing has changed.
    pub fn merge(&mut self, other: &Self) -> Result<(), MergeError> {
        self.check_types(other)?;
        self.check_sums(other)?;
        self.take_header(other);
        let own = std::mem::replace(self, Self::new(Vec::new()));
        let mut import = Import::new(own);
        for sample in other.samples() {
            import.add(other, &sample, sample.values);
        }
        *self = import.done();
        Ok(())
    }

    /// What was added from one profile to another: the values of `after` less those of `before`,
    /// which may be negative. Samples of which nothing is left are left out.
    ///
    /// The result has the time of `after`.
    ///
    /// # Errors
    ///
    /// If they measure different things, or a sum would be out of range.
    pub fn difference(before: &Self, after: &Self) -> Result<Self, MergeError> {
        after.check_types(before)?;
        after.check_sums(before)?;
        let mut import = Import::new(after.clone());
        for sample in before.samples() {
            let negated: Vec<i64> = sample.values.iter().map(|value| -value).collect();
            import.add(before, &sample, &negated);
        }
        let mut difference = import.done();
        difference.keep_nonzero();
        Ok(difference)
    }

    /// A profile with this one's header and no samples.
    pub(super) fn like(&self) -> Self {
        Self {
            types: self.types.clone(),
            default_type: self.default_type,
            period: self.period.clone(),
            time_ns: self.time_ns,
            duration_ns: self.duration_ns,
            comments: self.comments.clone(),
            drop_frames: self.drop_frames.clone(),
            keep_frames: self.keep_frames.clone(),
            documentation: self.documentation.clone(),
            ..Self::new(Vec::new())
        }
    }

    fn keep_nonzero(&mut self) {
        let mut import = Import::new(self.like());
        for sample in self.samples() {
            if sample.values.iter().any(|value| *value != 0) {
                import.add(self, &sample, sample.values);
            }
        }
        *self = import.done();
    }

    /// Whether the two can be put together or compared, as far as what they measure tells.
    ///
    /// # Errors
    ///
    /// If they measure different things.
    pub fn check_types(&self, other: &Self) -> Result<(), MergeError> {
        if self.types != other.types {
            let (own, others) = (listed(&self.types), listed(&other.types));
            return Err(MergeError::SampleTypes(own, others));
        }
        match (&self.period, &other.period) {
            (Some((own, _)), Some((others, _))) if own != others => {
                let one = std::slice::from_ref;
                let (own, others) = (listed(one(own)), listed(one(others)));
                Err(MergeError::PeriodTypes(own, others))
            }
            _ => Ok(()),
        }
    }

    /// No part of the sum of two profiles is out of range if the sum of all that is in both,
    /// without its signs, is not.
    fn check_sums(&self, other: &Self) -> Result<(), MergeError> {
        for (value, kind) in self.types.iter().enumerate() {
            let sum = self.magnitude(value) + other.magnitude(value);
            if i64::try_from(sum).is_err() {
                return Err(MergeError::Overflow(kind.kind.clone()));
            }
        }
        Ok(())
    }

    /// The sum of a value without its signs.
    pub(crate) fn magnitude(&self, value: usize) -> u128 {
        let values = self.samples().map(|sample| sample.values[value]);
        values.map(|value| u128::from(value.unsigned_abs())).sum()
    }

    fn take_header(&mut self, other: &Self) {
        self.default_type = self.default_type.or(other.default_type);
        self.period = match (self.period.take(), &other.period) {
            (Some((kind, own)), Some((_, others))) => Some((kind, own.max(*others))),
            (own, others) => own.or_else(|| others.clone()),
        };
        if self.time_ns != 0 && other.time_ns != 0 {
            let end = |profile: &Self| profile.time_ns.saturating_add(profile.duration_ns);
            let end = end(self).max(end(other));
            self.time_ns = self.time_ns.min(other.time_ns);
            self.duration_ns = end.saturating_sub(self.time_ns);
        } else {
            self.time_ns = self.time_ns.max(other.time_ns);
            self.duration_ns = self.duration_ns.saturating_add(other.duration_ns);
        }
        for comment in &other.comments {
            self.comments.insert(comment.clone());
        }
        if self.drop_frames.is_empty() {
            self.drop_frames.clone_from(&other.drop_frames);
            self.keep_frames.clone_from(&other.keep_frames);
        }
        if self.documentation.is_empty() {
            self.documentation.clone_from(&other.documentation);
        }
    }
}

fn listed(types: &[ValueType]) -> String {
    let types: Vec<String> = types
        .iter()
        .map(|ValueType { kind, unit }| format!("{kind}/{unit}"))
        .collect();
    match types.as_slice() {
        [] => "nothing".to_owned(),
        types => types.join(", "),
    }
}

/// Takes samples from one profile into another. Remembers what the rows of the first are in the
/// second, so that each is looked up once.
pub(crate) struct Import {
    into: Profile,
    mappings: Vec<Option<MappingId>>,
    functions: Vec<Option<FunctionId>>,
    locations: Vec<Option<LocationId>>,
    stack: Vec<LocationId>,
    labels: Vec<LabelRow>,
}

impl Import {
    pub(crate) fn new(into: Profile) -> Self {
        Self {
            into,
            mappings: Vec::new(),
            functions: Vec::new(),
            locations: Vec::new(),
            stack: Vec::new(),
            labels: Vec::new(),
        }
    }

    pub(crate) fn done(self) -> Profile {
        self.into
    }

    /// Takes a sample over with these values. All samples are of the same profile.
    pub(crate) fn add(&mut self, from: &Profile, sample: &SampleRef<'_>, values: &[i64]) {
        self.add_stack(from, sample.stack, sample, values);
    }

    /// Takes a sample over with this stack instead of its own.
    pub(crate) fn add_stack(
        &mut self,
        from: &Profile,
        stack: &[LocationId],
        sample: &SampleRef<'_>,
        values: &[i64],
    ) {
        let mut ids = std::mem::take(&mut self.stack);
        ids.clear();
        ids.extend(stack.iter().map(|location| self.location(from, *location)));
        self.labels.clear();
        for label in sample.labels() {
            self.labels.push(self.into.label_row_of(label));
        }
        self.labels.sort_unstable();
        self.into.sample_of_rows(&ids, values, &self.labels);
        self.stack = ids;
    }

    /// Takes a location over with these lines instead of its own, before any sample needs it.
    pub(crate) fn replace(&mut self, from: &Profile, id: LocationId, lines: &[Line]) {
        self.location_with(from, id, lines);
    }

    fn location(&mut self, from: &Profile, id: LocationId) -> LocationId {
        match self.locations.get(id.row()) {
            Some(Some(known)) => *known,
            _ => self.location_with(from, id, &from.location_at(id).lines),
        }
    }

    fn location_with(&mut self, from: &Profile, id: LocationId, lines: &[Line]) -> LocationId {
        let location = from.location_at(id);
        let mapping = location.mapping.map(|mapping| self.mapping(from, mapping));
        let lines: Vec<Line> = lines
            .iter()
            .map(|line| Line {
                function: self.function(from, line.function),
                line: line.line,
            })
            .collect();
        let own = self.into.location(mapping, location.address, &lines);
        note(&mut self.locations, id.row(), own);
        own
    }

    fn function(&mut self, from: &Profile, id: FunctionId) -> FunctionId {
        if let Some(Some(known)) = self.functions.get(id.row()) {
            return *known;
        }
        let function = from.function_at(id);
        let own = self.into.function(
            function.name,
            function.system_name,
            function.file,
            function.start_line,
        );
        note(&mut self.functions, id.row(), own);
        own
    }

    fn mapping(&mut self, from: &Profile, id: MappingId) -> MappingId {
        if let Some(Some(known)) = self.mappings.get(id.row()) {
            return *known;
        }
        let mapping = from.mapping_at(id);
        let row = MappingRow {
            start: mapping.start,
            limit: mapping.limit,
            offset: mapping.offset,
            file: self.into.string(mapping.file),
            build_id: self.into.string(mapping.build_id),
            has_functions: mapping.has_functions,
            has_filenames: mapping.has_filenames,
            has_line_numbers: mapping.has_line_numbers,
            has_inline_frames: mapping.has_inline_frames,
        };
        let own = self.into.mapping_row(row);
        note(&mut self.mappings, id.row(), own);
        own
    }
}

fn note<T: Copy>(known: &mut Vec<Option<T>>, row: usize, own: T) {
    if known.len() <= row {
        known.resize(row + 1, None);
    }
    known[row] = Some(own);
}
