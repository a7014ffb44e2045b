//! Bounds the memory that clients hold by reading slowly.
//!
//! The bytes of an answer are shared by all scrapes of its snapshot, and live until the last of
//! them is written, also when newer snapshots have taken their place. Knows neither paths nor what
//! the bytes say.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use bytes::Bytes;

use super::connection::Activity;

/// Different bodies that may be under way at one time: the newest snapshot in each of its forms, of
/// which there are four, compressed and not; scrapers of one node want two of them or three, and
/// as many from before have room. With collections every 100 ms and answers that take 10 s there
/// would be a hundred.
const BODIES: usize = 8;

/// Which bodies are under way, and to whom.
#[derive(Debug, Default)]
pub struct Readers(Mutex<VecDeque<Lent>>);

/// One body, and the answers that it is written in.
#[derive(Debug)]
struct Lent {
    /// Address of the bytes: no other body can have it while an answer holds this one.
    at: usize,
    answers: Vec<(Weak<Bytes>, Arc<Activity>)>,
}

/// A body in one answer.
struct Hold(Arc<Bytes>);

impl AsRef<[u8]> for Hold {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Readers {
    /// The same bytes, known to be in use until they are dropped. Where they are one body too many,
    /// all connections that still read the one of longest standing are cut off, and counted.
    pub fn lend(&self, body: Bytes, activity: &Arc<Activity>) -> (Bytes, u64) {
        // A panic while the lock is held leaves a list behind that is valid, if not current.
        let mut lent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lent.retain_mut(|lent| {
            lent.answers.retain(|(hold, _)| hold.strong_count() > 0);
            !lent.answers.is_empty()
        });
        let at = body.as_ptr().addr();
        let hold = Arc::new(body);
        let answer = (Arc::downgrade(&hold), Arc::clone(activity));
        if let Some(lent) = lent.iter_mut().find(|lent| lent.at == at) {
            lent.answers.push(answer);
        } else {
            let answers = vec![answer];
            lent.push_back(Lent { at, answers });
        }
        let mut cut_off = 0;
        while lent.len() > BODIES {
            for (_, activity) in lent.pop_front().into_iter().flat_map(|lent| lent.answers) {
                activity.cut_off();
                cut_off += 1;
            }
        }
        (Bytes::from_owner(Hold(hold)), cut_off)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(number: usize) -> Bytes {
        Bytes::from(vec![0; 10 + number])
    }

    fn connection() -> (Arc<Activity>, tokio::task::JoinHandle<()>) {
        let activity = Arc::new(Activity::new());
        let task = tokio::spawn(std::future::pending());
        activity.belongs_to(task.abort_handle());
        (activity, task)
    }

    #[tokio::test]
    async fn readers_of_the_oldest_body_are_cut_off() {
        let readers = Readers::default();
        let (oldest, first_task) = connection();
        let (second, second_task) = connection();
        let (others, other_task) = connection();
        let shared = body(0);
        let (first, none) = readers.lend(shared.clone(), &oldest);
        assert_eq!((&first, none), (&shared, 0));
        assert_eq!(first.as_ptr(), shared.as_ptr(), "the bytes were copied");
        let (_again, none) = readers.lend(shared, &second);
        assert_eq!(none, 0);
        let mut holds = Vec::new();
        for number in 1..BODIES {
            let (hold, none) = readers.lend(body(number), &others);
            assert_eq!(none, 0, "{number}");
            holds.push(hold);
        }
        let (_newest, cut_off) = readers.lend(body(BODIES), &others);
        assert_eq!(cut_off, 2);
        assert!(first_task.await.unwrap_err().is_cancelled());
        assert!(second_task.await.unwrap_err().is_cancelled());
        assert!(!other_task.is_finished());
    }

    #[tokio::test]
    async fn what_was_read_does_not_count() {
        let readers = Readers::default();
        let (activity, task) = connection();
        let (_slow, _) = readers.lend(body(0), &activity);
        for number in 1..100 {
            let (read, cut_off) = readers.lend(body(number), &activity);
            assert_eq!(cut_off, 0, "{number}");
            drop(read);
        }
        assert!(!task.is_finished());
    }

    #[tokio::test]
    async fn one_body_has_any_number_of_readers() {
        let readers = Readers::default();
        let (activity, task) = connection();
        let shared = body(0);
        let lend = |_| readers.lend(shared.clone(), &activity);
        let holds: Vec<_> = (0..100).map(lend).collect();
        assert!(holds.iter().all(|(_, cut_off)| *cut_off == 0));
        assert!(!task.is_finished());
    }
}
