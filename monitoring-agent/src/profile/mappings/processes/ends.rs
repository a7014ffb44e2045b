//! How processes end, and how they are forgotten. The kernel tells when the thread ends that gave its
//! process the number; others may go on without it, and nobody tells when the last of them ends.

use super::{Life, Loss, Processes};

/// A process whose end is in doubt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::profile::mappings) struct Doubt {
    pub(in crate::profile::mappings) pid: u32,
    /// When it began: another process may have the number by the time it was looked at.
    from_ns: u64,
}

impl Processes {
    /// A process has ended, or at least its first thread.
    pub(in crate::profile::mappings) fn ended(&mut self, at_ns: u64, pid: u32) {
        let Some(life) = self.lives.get_mut(&pid).and_then(|lives| lives.last_mut()) else {
            return;
        };
        life.ended_ns = Some(at_ns);
        self.ended.push_back((pid, at_ns));
    }

    /// Those of which it is to be looked whether any of their threads live: they seem to have ended
    /// before that time, and are about to be forgotten; or they go on without their first thread.
    pub(in crate::profile::mappings) fn doubts(&self, time_ns: u64) -> Vec<Doubt> {
        let doubt = |(pid, lives): (&u32, &Vec<Life>)| {
            let life = lives.last()?;
            let is_doubtful = life
                .ended_ns
                .map_or(life.is_headless, |ended| ended < time_ns);
            is_doubtful.then_some(Doubt {
                pid: *pid,
                from_ns: life.from_ns,
            })
        };
        self.lives.iter().filter_map(doubt).collect()
    }

    /// It was looked whether any of its threads live.
    pub(in crate::profile::mappings) fn settle(
        &mut self,
        at_ns: u64,
        doubt: Doubt,
        is_alive: bool,
    ) {
        let life = self.lives.get_mut(&doubt.pid);
        let Some(life) = life.and_then(|lives| lives.last_mut()) else {
            return;
        };
        if life.from_ns != doubt.from_ns {
            return;
        }
        if is_alive {
            life.ended_ns = None;
            life.is_headless = true;
        } else if life.ended_ns.is_none() {
            self.ended(at_ns, doubt.pid);
        }
    }

    /// Makes room. Whether there was something that is not needed so much.
    pub(super) fn drop_oldest(&mut self) -> bool {
        while let Some((pid, ended_ns)) = self.ended.pop_front() {
            if self.remove(pid, ended_ns) {
                self.losses.add(Loss::Processes, 1);
                return true;
            }
        }
        false
    }

    /// Removes a process, unless it turned out to be alive.
    fn remove(&mut self, pid: u32, ended_ns: u64) -> bool {
        let Some(lives) = self.lives.get_mut(&pid) else {
            return false;
        };
        let before = lives.len();
        lives.retain(|life| life.ended_ns != Some(ended_ns));
        let removed = before - lives.len();
        if lives.is_empty() {
            self.lives.remove(&pid);
        }
        self.length -= removed;
        removed > 0
    }

    /// Nobody asks for earlier times any more.
    pub(in crate::profile::mappings) fn forget_before(&mut self, time_ns: u64) {
        while let Some(&(pid, ended_ns)) = self.ended.front()
            && ended_ns < time_ns
        {
            self.ended.pop_front();
            self.remove(pid, ended_ns);
        }
        for life in self.lives.values_mut().flatten() {
            life.forget_before(time_ns);
        }
        self.lives.shrink_to(2 * self.lives.len());
        self.ended.shrink_to(2 * self.ended.len());
        self.files.forget_unused();
    }

    /// Numbers of the processes that have not ended, as far as is known.
    pub(in crate::profile::mappings) fn alive(&self) -> Vec<u32> {
        let alive = |(pid, lives): (&u32, &Vec<Life>)| {
            let last = lives.last()?;
            last.ended_ns.is_none().then_some(*pid)
        };
        self.lives.iter().filter_map(alive).collect()
    }
}
