//! Which metric has which name.
//!
//! Knows no values.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::metrics::{
    Family, Instrument, MetricError, MetricType,
    definition::Definition,
    family::{AnyFamily, Members},
};

/// The parts of a histogram, by which its samples are called.
const PARTS: [&str; 3] = ["_bucket", "_count", "_sum"];

/// Metrics by the names that they were given.
#[derive(Default)]
pub(super) struct Families(Mutex<ByName>);

type ByName = BTreeMap<Box<str>, Arc<dyn AnyFamily>>;

impl Families {
    /// The metric of this definition; made if there is none of the name.
    pub(super) fn get_or_insert<T: Instrument>(
        &self,
        definition: Definition,
    ) -> Result<Family<T>, MetricError> {
        definition.check()?;
        let mut by_name = self.lock();
        let conflict = |difference| {
            Err(MetricError::Conflict {
                metric: definition.name.to_string(),
                difference,
            })
        };
        if let Some(known) = by_name.get(&definition.name) {
            if let Some(difference) = known.definition().difference(&definition) {
                return conflict(difference);
            }
            let members: Result<Arc<Members<T>>, _> = Arc::clone(known).into_any().downcast();
            return match members {
                Ok(members) => Ok(Family::of(members)),
                Err(_) => conflict("type"),
            };
        }
        if let Some(histogram) = histogram_over(&by_name, &definition.name) {
            let reason = format!("the histogram `{histogram}` has samples of that name");
            return Err(MetricError::invalid(&definition.name, reason));
        }
        if definition.kind == MetricType::Histogram {
            let mut parts = PARTS
                .iter()
                .map(|part| format!("{}{part}", definition.name));
            if let Some(taken) = parts.find(|part| by_name.contains_key(&**part)) {
                let reason = format!("its samples would be called like the metric `{taken}`");
                return Err(MetricError::invalid(&definition.name, reason));
            }
        }
        let name = definition.name.clone();
        let family = Family::new(definition);
        by_name.insert(name, Arc::clone(family.members()) as Arc<dyn AnyFamily>);
        Ok(family)
    }

    /// Forgets a metric. Says whether there was one.
    pub(super) fn remove(&self, name: &str) -> bool {
        let removed = self.lock().remove(name);
        // Its cells are given back without the lock being held.
        removed.is_some()
    }

    /// All metrics, by name.
    pub(super) fn all(&self) -> Vec<Arc<dyn AnyFamily>> {
        self.lock().values().cloned().collect()
    }

    pub(super) fn len(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> MutexGuard<'_, ByName> {
        // What panics, panics before the map changes.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The histogram that has samples of this name.
fn histogram_over<'a>(by_name: &'a ByName, name: &str) -> Option<&'a str> {
    let mut bases = PARTS.iter().filter_map(|part| name.strip_suffix(part));
    bases.find_map(|base| {
        let (name, family) = by_name.get_key_value(base)?;
        (family.definition().kind == MetricType::Histogram).then_some(&**name)
    })
}
