//! What of profiles hangs on the configuration: who may have them, how many are captured at a time,
//! where they are kept.
//!
//! Puts together what records, what keeps and what serves; knows nothing of either's inside.

use std::{sync::Arc, time::Duration};

use tokio::sync::watch;

use crate::{
    config::Config,
    export::http::{LatestProfiles, Profiles},
    labels::Labels,
    loader::SharedMaps,
    profile::{
        history::{History, HistoryOptions},
        profiler::Profiler,
        service::Service,
    },
};

const SECONDS_OF_A_DAY: u64 = 24 * 60 * 60;

/// Profiles, as they are configured now.
pub(crate) struct Profiling {
    profiler: Arc<Profiler>,
    captures: Service,
    history: Option<(HistoryOptions, History)>,
    publish: watch::Sender<Arc<Profiles>>,
}

impl Profiling {
    /// By this configuration. Must run on a tokio runtime.
    pub(crate) fn new(config: &Config, labels: &Arc<Labels>, shared: &SharedMaps) -> Self {
        let none = Profiles::none("the agent is starting; ask again");
        let profiler = Profiler::new(labels, shared);
        let mut profiling = Self {
            captures: Arc::clone(&profiler).service(config.sources.profile.max_captures),
            profiler,
            history: None,
            publish: watch::channel(Arc::new(none)).0,
        };
        profiling.apply(config);
        profiling
    }

    /// Goes over to another configuration. Captures that run go on.
    pub(crate) fn apply(&mut self, config: &Config) {
        let profile = &config.sources.profile;
        let is_kept = config.profiling_enabled && profile.enabled && profile.history;
        let options = HistoryOptions {
            directory: profile.history_directory.clone(),
            max_bytes: profile.history_max_bytes,
            retention: Duration::from_secs(
                u64::from(config.metrics_retention_days) * SECONDS_OF_A_DAY,
            ),
        };
        if !is_kept {
            self.history = None;
        } else if self.history.as_ref().is_none_or(|(was, _)| *was != options) {
            self.history = Some((options.clone(), History::open(options)));
        }
        let off = || "profiles are off: profiling_enabled = false".to_owned();
        let limit = usize::try_from(profile.max_captures).unwrap_or(usize::MAX);
        self.captures.set_limit(limit);
        let captures = if config.profiling_enabled {
            Ok(self.captures.clone())
        } else {
            Err(off())
        };
        let history = match self.history() {
            Some(history) => Ok(history.clone()),
            None if !config.profiling_enabled => Err(off()),
            None if !profile.enabled => {
                Err("nothing is kept: sources.profile.enabled = false".to_owned())
            }
            None => Err("nothing is kept: sources.profile.history = false".to_owned()),
        };
        let before = Arc::clone(&self.publish.borrow());
        let profiles = before.changed(profile.access, captures, history);
        self.publish.send_replace(Arc::new(profiles));
    }

    /// What records.
    pub(crate) fn profiler(&self) -> &Arc<Profiler> {
        &self.profiler
    }

    /// Where profiles are kept, if they are.
    pub(crate) fn history(&self) -> Option<&History> {
        self.history.as_ref().map(|(_, history)| history)
    }

    /// For those who serve them.
    pub(crate) fn latest(&self) -> LatestProfiles {
        self.publish.subscribe()
    }
}
