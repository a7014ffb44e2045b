//! What nodes have told and nobody has looked at yet: of each node only the newest. However slow the
//! screen is, nothing piles up, and whoever asks nodes never waits for it. Knows no node.

use std::{
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use super::{flame::Tree, node::Contact, watch::Told};

/// How a node has answered.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) contact: Contact,
    /// Its numbers, if they are others than before.
    pub(super) told: Option<Told>,
}

/// A profile, or why there is none, as harmless text.
pub(super) type Profile = Result<Tree, String>;

/// What lies there for one node.
#[derive(Debug, Default)]
struct Mail {
    report: Option<Report>,
    profile: Option<Profile>,
}

/// A place for each node.
#[derive(Debug)]
pub(super) struct Mailbox {
    mail: Mutex<Vec<Mail>>,
    put: Condvar,
}

impl Mailbox {
    pub(super) fn of(nodes: usize) -> Self {
        let mut mail = Vec::new();
        mail.resize_with(nodes, Mail::default);
        Self {
            mail: Mutex::new(mail),
            put: Condvar::new(),
        }
    }

    /// Puts how a node has answered in the place of what lies there. Numbers stay until there are
    /// newer ones.
    pub(super) fn report(&self, node: usize, mut report: Report) {
        let mut mail = self.mail();
        let place = &mut mail[node].report;
        let mut old = place.take();
        if report.told.is_none() {
            report.told = old.as_mut().and_then(|old| old.told.take());
        }
        *place = Some(report);
        drop(mail);
        self.put.notify_all();
        // What has become old is given back without the lock: it may be large.
        drop(old);
    }

    /// Puts a profile there, or why there is none.
    pub(super) fn profile(&self, node: usize, profile: Profile) {
        let old = self.mail()[node].profile.replace(profile);
        self.put.notify_all();
        drop(old);
    }

    /// How a node has answered since it was asked here last.
    pub(super) fn take_report(&self, node: usize) -> Option<Report> {
        self.mail()[node].report.take()
    }

    /// The profile that has come since it was asked for here last.
    pub(super) fn take_profile(&self, node: usize) -> Option<Profile> {
        self.mail()[node].profile.take()
    }

    /// Waits until something lies there; not, if it is this late.
    pub(super) fn wait(&self, end: Instant) -> bool {
        let mut mail = self.mail();
        loop {
            let has = |mail: &Mail| mail.report.is_some() || mail.profile.is_some();
            if mail.iter().any(has) {
                return true;
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let waited = self.put.wait_timeout(mail, left);
            (mail, _) = waited.unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// A panic while it was held leaves nothing half done: values are put there whole.
    fn mail(&self) -> MutexGuard<'_, Vec<Mail>> {
        self.mail.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, thread, time::Duration};

    use super::*;
    use crate::monitor::{snapshot::Snapshot, watch::Watch};

    fn report(watch: &mut Watch, load: u32, at: Instant) -> Report {
        let text = format!("node_load1 {load}\n");
        watch.answered(Snapshot::read(&text, at).unwrap())
    }

    fn load(report: &Report) -> Option<f64> {
        report.told.as_ref()?.figures.host.loads[0]
    }

    #[test]
    fn only_the_newest_lies_there() {
        let mailbox = Mailbox::of(2);
        let now = Instant::now();
        let mut watch = Watch::default();
        for number in 0..1000 {
            let at = now + Duration::from_secs(number.into());
            mailbox.report(1, report(&mut watch, number, at));
        }
        assert!(mailbox.take_report(0).is_none());
        assert_eq!(load(&mailbox.take_report(1).unwrap()), Some(999.0));
        assert!(mailbox.take_report(1).is_none());
    }

    #[test]
    fn numbers_stay_until_there_are_newer_ones() {
        let mailbox = Mailbox::of(1);
        let now = Instant::now();
        let mut watch = Watch::default();
        mailbox.report(0, report(&mut watch, 1, now));
        mailbox.report(0, report(&mut watch, 1, now));
        mailbox.report(0, watch.missed("gone", now));
        let last = mailbox.take_report(0).unwrap();
        assert_eq!(load(&last), Some(1.0));
        assert!(matches!(last.contact, Contact::Away { .. }));
        mailbox.report(0, watch.missed("gone", now));
        assert_eq!(load(&mailbox.take_report(0).unwrap()), None);
    }

    #[test]
    fn profiles_lie_beside_reports() {
        let mailbox = Mailbox::of(1);
        mailbox.profile(0, Err("old".to_owned()));
        mailbox.profile(0, Err("new".to_owned()));
        mailbox.report(0, Watch::default().missed("gone", Instant::now()));
        assert_eq!(mailbox.take_profile(0).unwrap().unwrap_err(), "new");
        assert!(mailbox.take_profile(0).is_none());
        assert!(mailbox.take_report(0).is_some());
    }

    #[test]
    fn one_waits_until_something_comes_or_it_is_late() {
        let mailbox = Arc::new(Mailbox::of(1));
        assert!(!mailbox.wait(Instant::now()));
        let putting = Arc::clone(&mailbox);
        let thread = thread::spawn(move || putting.profile(0, Err(String::new())));
        assert!(mailbox.wait(Instant::now() + Duration::from_secs(15)));
        thread.join().unwrap();
    }
}
