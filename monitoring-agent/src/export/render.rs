//! Renders each snapshot once, in each form that is asked for, into bytes that all scrapes share.
//!
//! A scrape adds only its tail: the age of the snapshot, which belongs to the scrape. In gzip the
//! tail is a block of its own, so that nothing is compressed twice. Knows no HTTP.

use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use ::prometheus::proto::{Histogram, LabelPair, MetricFamily, MetricType};
use bytes::Bytes;
use monitoring::server::{
    exposition::{Exemplar, Knowledge, Syntax},
    rendered::Shared,
};

use super::{json, prometheus, protobuf};
use crate::{
    exemplars::Exemplars,
    families,
    snapshot::{Latest, Snapshot},
};

/// The metric that every scrape ends with.
pub const AGE_NAME: &str = "monitoring_agent_snapshot_age_seconds";

/// Its help text.
pub const AGE_HELP: &str = "Age of the snapshot that this scrape shows.";

/// Its unit.
pub(super) const AGE_UNIT: &str = "seconds";

/// What a scrape can be written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// The text format of Prometheus; versions 0.0.4 and 1.0.0 have the same bytes.
    Text,
    /// OpenMetrics 1.0.0.
    OpenMetrics,
    /// See [`protobuf`].
    Protobuf,
    /// See [`json`].
    Json,
}

/// How many forms there are.
const FORMS: usize = 4;

/// The newest snapshot in its rendered forms.
#[derive(Debug)]
pub struct Renders {
    latest: Latest,
    exemplars: Arc<Exemplars>,
    newest: Mutex<Arc<Render>>,
}

/// One snapshot in the forms that were asked for so far. It does not keep the snapshot itself
/// alive: between two scrapes the numbers may be replaced many times.
#[derive(Debug, Default)]
struct Render {
    snapshot: Weak<Snapshot>,
    forms: [OnceLock<Shared>; FORMS],
}

/// What is known beyond families: which of the kernel's slots are written, and what traces there are.
pub(super) struct Known<'a>(pub(super) &'a Exemplars);

impl Knowledge for Known<'_> {
    fn buckets(&self, histogram: &Histogram) -> (usize, usize) {
        families::shown(histogram)
    }

    fn exemplars(&self, family: &str, labels: &[LabelPair]) -> Vec<Exemplar> {
        let labels = labels.iter().map(|label| (label.name(), label.value()));
        self.0.series(family, labels)
    }
}

impl Renders {
    /// Renders of whatever is the newest snapshot when a scrape comes, with the exemplars that there
    /// are when it is rendered.
    pub fn new(latest: Latest, exemplars: Arc<Exemplars>) -> Self {
        Self {
            latest,
            exemplars,
            newest: Mutex::default(),
        }
    }

    /// The newest snapshot as the two pieces of an answer: the part that all scrapes of this
    /// snapshot share, and this scrape's tail. Together they are one text, or one gzip member.
    pub fn scrape(&self, form: Form, gzip: bool) -> [Bytes; 2] {
        let snapshot = self.snapshot();
        let render = self.render_of(&snapshot);
        let rendered = || Shared::new(self.rendered(&snapshot.families, form));
        let shared = render.forms[form as usize].get_or_init(rendered);
        let age = snapshot.taken.elapsed().as_secs_f64();
        let tail = match form {
            Form::Text => prometheus::tail(age, Syntax::Classic),
            Form::OpenMetrics => prometheus::tail(age, Syntax::OpenMetrics),
            Form::Protobuf => protobuf::tail(age),
            Form::Json => json::tail(age),
        };
        if gzip {
            shared.gzip(&tail)
        } else {
            shared.identity(tail)
        }
    }

    fn rendered(&self, families: &[MetricFamily], form: Form) -> Vec<u8> {
        let known = Known(&self.exemplars);
        match form {
            Form::Text => prometheus::shared(families, Syntax::Classic, &known),
            Form::OpenMetrics => prometheus::shared(families, Syntax::OpenMetrics, &known),
            Form::Protobuf => protobuf::shared(families, &known),
            Form::Json => json::shared(families),
        }
    }

    /// The newest snapshot itself.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.latest.borrow())
    }

    fn render_of(&self, snapshot: &Arc<Snapshot>) -> Arc<Render> {
        // A panic while the lock is held leaves a whole render behind, the old or the new one.
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted = Arc::downgrade(snapshot);
        if !newest.snapshot.ptr_eq(&wanted) {
            *newest = Arc::new(Render {
                snapshot: wanted,
                ..Render::default()
            });
        }
        Arc::clone(&newest)
    }
}

/// Whether a family can be written at all. Sources deliver only such; one that slipped through
/// must not take the whole scrape with it: the encoder refuses a family without samples, has no
/// notion of untyped ones, and a name that comes twice makes a scrape invalid.
pub(super) fn exportable(family: &MetricFamily) -> bool {
    use MetricType::{COUNTER, GAUGE, HISTOGRAM};
    matches!(family.get_field_type(), COUNTER | GAUGE | HISTOGRAM)
        && !family.get_metric().is_empty()
        && !family.name().is_empty()
        && family.name() != AGE_NAME
}

#[cfg(test)]
mod tests;
