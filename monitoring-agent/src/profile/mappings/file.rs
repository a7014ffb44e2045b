//! Files that are mapped: which they are, each known once however many processes map it, and held
//! open so that they can still be read when the process has ended or the file was deleted.

use std::{
    collections::HashMap,
    fs::{File, Metadata},
    hash::{Hash, Hasher},
    io,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
};

use super::opening::{self, Mapper};

/// Most files that are known at a time. A node with many containers has some thousand.
const MAX_FILES: usize = 16 * 1024;

/// Most files that are held open, of all that the agent may have open: others need some, too. With
/// more, those that came later are found by what maps them, or by their paths.
const MAX_OPEN: usize = 512;
const SHARE_OPEN: usize = 4;

/// What is kept of a path. Longer ones are nobody's but a tester's, and cannot be opened by them.
const MAX_PATH_BYTES: usize = 1024;

/// Which file it is, as the kernel tells of mappings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileId {
    /// The device.
    pub device: libc::dev_t,
    /// The inode's number.
    pub inode: u64,
    /// Tells files apart that have had the same inode one after the other; 0 where that is not known.
    pub generation: u64,
}

#[derive(Debug)]
struct Entry {
    id: FileId,
    path: Box<[u8]>,
    /// Who mapped it first.
    mapper: Mapper,
    handle: OnceLock<Handle>,
}

/// A place among the files held open.
#[derive(Debug)]
struct Handle {
    file: File,
    open: Arc<AtomicUsize>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A file that is or was mapped. Cheap to copy; equal to another if it is the same file.
#[derive(Clone, Debug)]
pub struct FileRef(Arc<Entry>);

impl FileRef {
    /// Which file it is.
    pub fn id(&self) -> FileId {
        self.0.id
    }

    /// Its path when it was mapped, in the view of the process that did so first, without a remark
    /// that it was deleted. Of a very long one the end.
    pub fn path(&self) -> &[u8] {
        &self.0.path
    }

    /// Opens it for reading, the very file and no other that has its path by now. May wait without
    /// end for the server of its file system.
    pub(in crate::profile) fn open(&self) -> io::Result<File> {
        match self.0.handle.get() {
            Some(handle) => opening::for_reading(&handle.file),
            None => opening::for_reading(&self.find()?),
        }
    }

    /// Its state by now, without opening it. May wait without end as well.
    pub(in crate::profile) fn metadata(&self) -> io::Result<Metadata> {
        match self.0.handle.get() {
            Some(handle) => handle.file.metadata(),
            None => self.find()?.metadata(),
        }
    }

    fn find(&self) -> io::Result<File> {
        opening::find(&self.0.mapper, &self.0.id, &self.0.path)
    }

    /// Holds it open from now on, if there is room. Whether it is held. May wait without end.
    pub(super) fn hold(&self, open: &Arc<AtomicUsize>) -> bool {
        if self.0.handle.get().is_some() {
            return true;
        }
        if open.fetch_add(1, Ordering::Relaxed) >= most_open() {
            open.fetch_sub(1, Ordering::Relaxed);
            return false;
        }
        let Ok(file) = self.find() else {
            open.fetch_sub(1, Ordering::Relaxed);
            return false;
        };
        let open = Arc::clone(open);
        // Another one that was faster is the same; this one then gives its place back.
        let _ = self.0.handle.set(Handle { file, open });
        true
    }

    /// A file for tests, by its path.
    #[cfg(test)]
    pub(in crate::profile) fn of(path: &std::path::Path) -> Self {
        use std::os::unix::{ffi::OsStrExt as _, fs::MetadataExt as _};
        let inode = std::fs::metadata(path).unwrap();
        let id = FileId {
            device: inode.dev(),
            inode: inode.ino(),
            generation: 0,
        };
        let mapper = Mapper {
            pid: std::process::id(),
            at_ns: crate::clock::monotonic_ns(),
            ..Mapper::default()
        };
        Self(Arc::new(Entry {
            id,
            path: path.as_os_str().as_bytes().into(),
            mapper,
            handle: OnceLock::new(),
        }))
    }
}

impl PartialEq for FileRef {
    fn eq(&self, other: &Self) -> bool {
        self.0.id == other.0.id
    }
}

impl Eq for FileRef {}

impl Hash for FileRef {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.id.hash(state);
    }
}

fn most_open() -> usize {
    static MOST: OnceLock<usize> = OnceLock::new();
    *MOST.get_or_init(|| {
        let mut limit = libc::rlimit {
            rlim_cur: 0,
            rlim_max: 0,
        };
        // SAFETY: the result lives across the call.
        unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) };
        let limit = usize::try_from(limit.rlim_cur).unwrap_or(usize::MAX);
        (limit / SHARE_OPEN).min(MAX_OPEN)
    })
}

/// All files that are known.
#[derive(Debug, Default)]
pub(super) struct Files {
    /// By device and inode the one that has that now.
    known: HashMap<(libc::dev_t, u64), FileRef>,
    open: Arc<AtomicUsize>,
}

impl Files {
    /// The file, and whether it was not known before. `None` if there is no room for another.
    pub(super) fn get(&mut self, id: FileId, path: &[u8], by: Mapper) -> Option<(FileRef, bool)> {
        let place = (id.device, id.inode);
        if let Some(file) = self.known.get(&place) {
            let known = file.id().generation;
            let is_same = known == id.generation
                || id.generation == 0
                // As long as it is held, no other can have its inode.
                || known == 0 && file.0.handle.get().is_some();
            if is_same {
                return Some((file.clone(), false));
            }
        } else if self.known.len() >= MAX_FILES {
            return None;
        }
        let path = &path[path.len().saturating_sub(MAX_PATH_BYTES)..];
        let file = FileRef(Arc::new(Entry {
            id,
            path: path.into(),
            mapper: by,
            handle: OnceLock::new(),
        }));
        self.known.insert(place, file.clone());
        Some((file, true))
    }

    /// Forgets those that nobody maps any more, and closes them.
    pub(super) fn forget_unused(&mut self) {
        self.known.retain(|_, file| Arc::strong_count(&file.0) > 1);
        self.known.shrink_to(2 * self.known.len());
    }

    /// Counts those that are held open.
    pub(super) fn open(&self) -> &Arc<AtomicUsize> {
        &self.open
    }

    pub(super) fn len(&self) -> usize {
        self.known.len()
    }

    /// About how much memory they take.
    pub(super) fn bytes(&self) -> usize {
        let paths: usize = self.known.values().map(|file| file.path().len()).sum();
        paths + self.known.capacity() * 32 + self.known.len() * size_of::<Entry>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_inode_may_be_several_files_in_turn() {
        let mut files = Files::default();
        let mut get = |generation| {
            let id = FileId {
                device: 1,
                inode: 2,
                generation,
            };
            files.get(id, b"/a", Mapper::default()).unwrap()
        };
        let (first, new) = get(0);
        assert!(new);
        let (again, new) = get(0);
        assert!(!new && first == again);
        let (next, new) = get(5);
        assert!(new && next != first, "nobody held the first one");
        assert_eq!(get(5), (next.clone(), false));
        assert_eq!(get(0), (next.clone(), false));
        drop((next, first, again));
        assert_eq!(files.len(), 1);
        files.forget_unused();
        assert_eq!(files.len(), 0);
    }

    #[test]
    fn files_are_bounded_and_closed_when_nobody_maps_them() {
        let mut files = Files::default();
        let program = FileRef::of(&std::env::current_exe().unwrap());
        let by = program.0.mapper;
        let (file, _) = files.get(program.id(), program.path(), by).unwrap();
        assert!(file.hold(files.open()));
        assert!(file.hold(files.open()));
        assert_eq!(files.open().load(Ordering::Relaxed), 1);
        drop(file);
        files.forget_unused();
        assert_eq!(files.open().load(Ordering::Relaxed), 0);
        for inode in 0..=MAX_FILES as u64 {
            let id = FileId {
                device: 1,
                inode,
                generation: 0,
            };
            let got = files.get(id, b"/a", Mapper::default());
            assert_eq!(got.is_some(), inode < MAX_FILES as u64);
        }
    }
}
