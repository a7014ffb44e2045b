//! Sends the newest snapshot's metrics, at intervals. There is no queue: a push that fails is made
//! again until the next one is due, which says all that it would have said. Knows no source.

pub mod convert;
mod starts;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use monitoring::otlp::{Accepted, Failure};
use prometheus::proto::MetricFamily;
use tokio::{
    sync::watch,
    time::{sleep_until, timeout_at},
};

use self::{
    convert::{Request, Requests},
    starts::Starts,
};
use super::{Order, PushSettings, connection::Connection, health::Health};
use crate::{
    families::Family,
    snapshot::{Latest, Snapshot},
};

/// What became of metrics that were to be pushed.
#[derive(Debug, Default)]
pub struct PushStats {
    pushed: AtomicU64,
    failed: AtomicU64,
    rejected: AtomicU64,
}

impl PushStats {
    /// A push was not made as a whole.
    pub(super) fn failed(&self) {
        self.failed.fetch_add(1, Relaxed);
    }

    /// As metrics; without samples as long as nothing was to be pushed.
    pub fn families(&self) -> Vec<MetricFamily> {
        let mut pushes = Family::counter(
            "monitoring_agent_metric_pushes_total",
            "Snapshots that were to be sent by OTLP, by whether all of it was taken.",
        );
        let mut rejected = Family::counter(
            "monitoring_agent_metric_points_rejected_total",
            "Data points that a receiver of OTLP has not taken, and will not take.",
        );
        let (taken, failed) = (self.pushed.load(Relaxed), self.failed.load(Relaxed));
        if taken + failed > 0 {
            pushes.push(&[("outcome", "taken")], taken as f64);
            pushes.push(&[("outcome", "failed")], failed as f64);
            rejected.push(&[], self.rejected.load(Relaxed) as f64);
        }
        vec![pushes.build(), rejected.build()]
    }
}

/// What became of a request.
enum Sent {
    Accepted(Accepted),
    TooLarge,
    Refused,
}

/// Pushes metrics.
pub(super) struct Pushing {
    latest: Latest,
    orders: watch::Receiver<Order<PushSettings>>,
    stats: Arc<PushStats>,
    settings: Option<PushSettings>,
    connection: Option<Connection>,
    health: Health,
    starts: Starts,
    /// The last snapshot that `starts` has looked at, by its number.
    looked: u64,
    /// The last snapshot that was taken as a whole, by its number.
    last: u64,
}

impl Pushing {
    pub(super) fn new(
        latest: Latest,
        orders: watch::Receiver<Order<PushSettings>>,
        stats: Arc<PushStats>,
    ) -> Self {
        Self {
            latest,
            orders,
            stats,
            settings: None,
            connection: None,
            health: Health::of("metrics"),
            starts: Starts::default(),
            looked: 0,
            last: 0,
        }
    }

    /// Works until the agent ends. What was not pushed by then is not: the next agent begins anew.
    pub(super) async fn run(mut self) {
        let mut due = Instant::now();
        loop {
            let order = self.orders.borrow_and_update().clone();
            if order.end.is_some() {
                return;
            }
            if order.settings != self.settings {
                self.take(order.settings);
                due = Instant::now();
            }
            let Some(settings) = self.settings.clone() else {
                if self.orders.changed().await.is_err() {
                    return;
                }
                continue;
            };
            let mut orders = self.orders.clone();
            tokio::select! {
                changed = orders.changed() => if changed.is_err() {
                    return;
                },
                () = self.at(due, &settings) => {
                    // One that took too long is not made up for.
                    due = (due + settings.interval).max(Instant::now());
                }
            }
        }
    }

    fn take(&mut self, settings: Option<PushSettings>) {
        let target = settings.as_ref().map(|settings| settings.target.clone());
        let now = self.connection.as_ref().map(Connection::target);
        if now != target.as_ref() {
            self.connection = target.map(Connection::new);
            self.health = Health::of("metrics");
            (self.starts, self.looked) = (Starts::default(), 0);
        }
        self.settings = settings;
    }

    /// Pushes the snapshot that is there when the time has come, once there is one that was not.
    async fn at(&mut self, due: Instant, settings: &PushSettings) {
        sleep_until(due.into()).await;
        let last = self.last;
        let fresh = self
            .latest
            .wait_for(|snapshot| snapshot.ready && snapshot.number > last);
        let Ok(snapshot) = fresh.await.map(|snapshot| Arc::clone(&snapshot)) else {
            return std::future::pending().await;
        };
        let until = Instant::now() + settings.interval;
        let time_ns = taken_at(&snapshot);
        let mut all = true;
        let Some(connection) = &mut self.connection else {
            return;
        };
        if snapshot.number != self.looked {
            self.starts.look(&snapshot.families, time_ns);
            self.looked = snapshot.number;
        }
        let mut requests = Requests::of(
            &snapshot.families,
            (&settings.node, &settings.node_type),
            time_ns,
            &self.starts,
        );
        while let Some(request) = requests.next(connection.largest()) {
            let sent = send(connection, &mut self.health, &request);
            let rejected = match timeout_at(until.into(), sent).await {
                Ok(Sent::Accepted(accepted)) => accepted.rejected,
                // The next has fewer points.
                Ok(Sent::TooLarge) if request.points > 1 => continue,
                Ok(Sent::TooLarge | Sent::Refused) => {
                    all = false;
                    request.points as u64
                }
                Err(_) => {
                    all = false;
                    break;
                }
            };
            self.stats.rejected.fetch_add(rejected, Relaxed);
            requests.done(&request);
        }
        if all {
            self.last = snapshot.number;
            self.stats.pushed.fetch_add(1, Relaxed);
        } else {
            // It is pushed once more when the next is due, if there is none that is newer.
            self.stats.failed();
        }
    }
}

/// Until the collector takes it, or refuses it.
async fn send(connection: &mut Connection, health: &mut Health, request: &Request<'_>) -> Sent {
    let then = "the next are sent when they are due";
    loop {
        if let Some(next) = connection.next_try() {
            sleep_until(next.into()).await;
        }
        let answer = connection.send(request.message.clone()).await;
        match connection.settle(answer, health, then) {
            Ok(accepted) => return Sent::Accepted(accepted),
            Err(Failure::Unavailable { .. }) => {}
            Err(Failure::Refused(_)) => return Sent::Refused,
            Err(Failure::TooLarge(why)) => {
                if request.points == 1 {
                    let then = "one that alone is too large is left out, and counted";
                    health.failed(&connection.target().url, &why, then, Instant::now());
                }
                return Sent::TooLarge;
            }
        }
    }
}

/// Nanoseconds since 1970.
fn taken_at(snapshot: &Snapshot) -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let then = since.saturating_sub(snapshot.taken.elapsed());
    u64::try_from(then.as_nanos()).unwrap_or(u64::MAX)
}
