//! Processes and what each of them has mapped since when. Knows neither rings nor threads.

mod ends;

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, atomic::Ordering},
};

use super::{
    FileId, Place, Stats,
    file::{FileRef, Files},
    life::{Image, Life, place},
    losses::{Loss, Losses},
    opening::Mapper,
    record::Mapped,
    table::{Content, Count, Piece, Table},
};

/// Most processes that are known, those included that have ended and may still be asked for.
const MAX_PROCESSES: usize = 64 * 1024;

/// Most mappings of all processes together, which take 25 MB.
const MAX_MAPPINGS: usize = 512 * 1024;

/// What is to be done elsewhere, because it may take its time.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Task {
    /// Hold a file open that has just been mapped for the first time.
    Hold(FileRef),
    /// Read what a process has mapped that was not known before.
    Read(u32),
}

/// All processes.
#[derive(Debug, Default)]
pub(super) struct Processes {
    lives: HashMap<u32, Vec<Life>>,
    /// How many lives there are.
    length: usize,
    /// Lives that have ended, the first one first: number, and when.
    ended: VecDeque<(u32, u64)>,
    files: Files,
    count: Count,
    tasks: Vec<Task>,
    pub(super) losses: Losses,
}

impl Processes {
    /// What is to be done elsewhere because of what was told.
    pub(super) fn tasks(&mut self) -> Vec<Task> {
        std::mem::take(&mut self.tasks)
    }

    /// A process has started another.
    pub(super) fn forked(&mut self, at_ns: u64, pid: u32, parent: u32) {
        let losses = self.losses.times();
        let image = match self.newest(parent, at_ns) {
            Some(life) => life.images.last().map(|image| Image {
                from_ns: at_ns,
                table: Arc::clone(&image.table),
            }),
            None => None,
        };
        // What its parent had mapped, it has mapped as well: both are read if that is not known.
        let is_unread = image.is_none()
            || self.lives[&parent]
                .last()
                .is_some_and(|life| life.is_unread);
        let image = image.unwrap_or_else(|| self.empty(at_ns));
        let life = Life {
            from_ns: at_ns,
            ended_ns: None,
            parent,
            images: vec![image],
            is_unread,
            is_headless: false,
            losses,
        };
        self.begin(pid, life);
        if is_unread {
            self.tasks.push(Task::Read(pid));
        }
    }

    /// A process has begun another program.
    pub(super) fn executed(&mut self, at_ns: u64, pid: u32) {
        let image = self.empty(at_ns);
        let losses = self.losses.times();
        let Some(life) = self.newest(pid, at_ns) else {
            self.begin(pid, Life::known(at_ns, image, losses));
            return;
        };
        let lost = life.push(image);
        // What it had before was all it lacked.
        life.is_unread = false;
        life.losses = losses;
        // The thread that did so is its first one from now on.
        life.is_headless = false;
        self.losses.add(Loss::Processes, lost);
    }

    /// A process has mapped something.
    pub(super) fn mapped(&mut self, at_ns: u64, mapped: &Mapped<'_>) {
        if self.newest(mapped.pid, at_ns).is_none() {
            self.unknown(mapped.pid);
        }
        self.map(at_ns, mapped);
    }

    fn map(&mut self, at_ns: u64, mapped: &Mapped<'_>) {
        if self.count.load(Ordering::Relaxed) >= MAX_MAPPINGS && !self.drop_oldest() {
            self.losses.add(Loss::Mappings, 1);
            return;
        }
        let content = self.content(at_ns, mapped);
        let lost = self.newest(mapped.pid, at_ns).map_or(1, |life| {
            let image = life.images.last_mut();
            image.map_or(1, |image| {
                Arc::make_mut(&mut image.table).insert(Piece {
                    start: mapped.start,
                    end: mapped.end,
                    offset: mapped.offset,
                    from_ns: at_ns,
                    content,
                })
            })
        });
        self.losses.add(Loss::Mappings, lost);
    }

    fn content(&mut self, at_ns: u64, mapped: &Mapped<'_>) -> Content {
        match mapped.name {
            b"[vdso]" => return Content::Vdso,
            b"[vsyscall]" => return Content::Unknown,
            name if mapped.inode == 0 || is_no_file(name) => return Content::Anonymous,
            _ => {}
        }
        let lives = self.lives.get(&mapped.pid);
        let by = Mapper {
            pid: mapped.pid,
            parent: lives
                .and_then(|lives| lives.last())
                .map_or(0, |life| life.parent),
            start: mapped.start,
            end: mapped.end,
            at_ns,
        };
        let id = FileId {
            device: mapped.device,
            inode: mapped.inode,
            generation: mapped.generation,
        };
        let path = mapped.name;
        let path = path.strip_suffix(b" (deleted)").unwrap_or(path);
        let Some((file, is_new)) = self.files.get(id, path, by) else {
            self.losses.add(Loss::Files, 1);
            return Content::Unknown;
        };
        if is_new {
            self.tasks.push(Task::Hold(file.clone()));
        }
        Content::File(file)
    }

    /// A process that nobody has told of is there, or was.
    pub(super) fn unknown(&mut self, pid: u32) {
        if self.lives.contains_key(&pid) {
            return;
        }
        let life = Life {
            is_unread: true,
            ..Life::known(0, self.empty(0), self.losses.times())
        };
        self.begin(pid, life);
        self.tasks.push(Task::Read(pid));
    }

    /// Whether a process has to be read before its places are known.
    pub(super) fn wants_reading(&self, pid: u32) -> bool {
        let life = self.lives.get(&pid).and_then(|lives| lives.last());
        life.is_none_or(|life| {
            life.is_unread || life.losses < self.losses.times() && life.ended_ns.is_none()
        })
    }

    /// What a process has mapped was read, or could not be.
    pub(super) fn read(&mut self, pid: u32, at_ns: u64, mappings: Option<&[Owned]>) {
        self.unknown(pid);
        let (times, since_ns) = (self.losses.times(), self.losses.since_ns());
        let fresh = self.empty(since_ns);
        let Some(life) = self.lives.get_mut(&pid).and_then(|lives| lives.last_mut()) else {
            return;
        };
        let was_unread = std::mem::take(&mut life.is_unread);
        let was_lost = life.losses < times;
        life.losses = times;
        let Some(mappings) = mappings else {
            if was_unread {
                self.losses.add(Loss::Processes, 1);
            }
            if life.ended_ns.is_none() && was_unread {
                // It is gone; nobody else will tell so.
                self.ended(at_ns, pid);
            }
            return;
        };
        if was_unread {
            let from_ns = life.from_ns;
            self.add_missing(pid, from_ns, mappings);
        } else if was_lost {
            // It may be another program by now. From when nothing had been lost yet on, it is this.
            let lost = life.push(fresh);
            self.losses.add(Loss::Processes, lost);
            self.add_missing(pid, since_ns, mappings);
        }
    }

    /// Adds what was read, beneath what was told.
    fn add_missing(&mut self, pid: u32, from_ns: u64, mappings: &[Owned]) {
        for mapping in mappings {
            let mapped = Mapped {
                pid,
                name: &mapping.name,
                ..mapping.mapped
            };
            let is_told = |life: &mut Life| {
                let image = life.images.last();
                image.is_some_and(|image| image.table.find(mapped.start, u64::MAX).is_some())
            };
            if !self.newest(pid, from_ns).is_some_and(is_told) {
                self.map(from_ns, &mapped);
            }
        }
    }

    fn empty(&self, from_ns: u64) -> Image {
        Image {
            from_ns,
            table: Arc::new(Table::new(&self.count)),
        }
    }

    /// The process that has the number now. What is heard of a process, it did while it lived: an end
    /// before was that of one of its threads.
    fn newest(&mut self, pid: u32, at_ns: u64) -> Option<&mut Life> {
        let life = self.lives.get_mut(&pid)?.last_mut()?;
        if life.ended_ns.is_some_and(|ended| ended < at_ns) {
            life.ended_ns = None;
            life.is_headless = true;
        }
        Some(life)
    }

    fn begin(&mut self, pid: u32, life: Life) {
        if self.length >= MAX_PROCESSES && !self.drop_oldest() {
            self.losses.add(Loss::Processes, 1);
            return;
        }
        let lives = self
            .lives
            .entry(pid)
            .or_insert_with(|| Vec::with_capacity(1));
        if let Some(last) = lives.last_mut()
            && last.ended_ns.is_none()
        {
            last.ended_ns = Some(life.from_ns);
            self.ended.push_back((pid, life.from_ns));
        }
        lives.push(life);
        self.length += 1;
    }

    /// Appends the places of addresses.
    pub(super) fn places(&self, pid: u32, time_ns: u64, addresses: &[u64], out: &mut Vec<Place>) {
        let lives = self.lives.get(&pid).map_or(&[][..], Vec::as_slice);
        let life = lives.iter().rev().find(|life| life.from_ns <= time_ns);
        let image = life.and_then(|life| life.image_at(time_ns));
        let mut leaf = true;
        out.extend(addresses.iter().map(|&address| {
            let within = if leaf {
                address
            } else {
                address.saturating_sub(1)
            };
            leaf = false;
            let piece = image.and_then(|image| image.table.find(within, time_ns));
            place(pid, within, piece)
        }));
    }

    pub(super) fn files(&self) -> &Files {
        &self.files
    }

    pub(super) fn stats(&self) -> Stats {
        let mappings = self.count.load(Ordering::Relaxed);
        // Tables have room for up to twice as many.
        let memory_bytes = mappings * size_of::<Piece>() * 3 / 2
            + self.length * (size_of::<Life>() + size_of::<Image>() + size_of::<Table>() + 32)
            + self.lives.capacity() * 40
            + self.ended.capacity() * 16
            + self.files.bytes();
        Stats {
            processes: self.length,
            mappings,
            files: self.files.len(),
            open_files: self.files.open().load(Ordering::Relaxed),
            memory_bytes,
        }
    }
}

/// A mapping as it was read.
#[derive(Clone, Debug)]
pub(super) struct Owned {
    /// Without the process and the name.
    pub(super) mapped: Mapped<'static>,
    pub(super) name: Box<[u8]>,
}

/// Whether it is memory that only looks like a file.
fn is_no_file(name: &[u8]) -> bool {
    const NAMES: [&[u8]; 5] = [
        b"//anon",
        b"/anon_hugepage",
        b"/dev/zero",
        b"/SYSV",
        // Where .NET has the code that it generates.
        b"/memfd:doublemapper",
    ];
    NAMES.iter().any(|start| name.starts_with(start)) || name.starts_with(b"[")
}
