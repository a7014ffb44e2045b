//! The library's own state: its script, read again when it was replaced, and who initialized it.
//!
//! Each copy of the library has its own, because each has its own statics. Knows nothing of calls.

use std::{
    ffi::{CStr, OsStr, OsString, c_void},
    fs::{self, File},
    os::unix::{ffi::OsStrExt as _, fs::MetadataExt as _},
    path::{self, Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::{Duration, Instant},
};

use crate::{
    abi::{Answer, Code},
    afterlife, clock,
    script::Script,
};

/// The script's file is looked at no more often.
const CHECK_INTERVAL: Duration = Duration::from_millis(1);

/// What tells one version of a file from the next: device, inode, size, and its last change.
type Version = (u64, u64, u64, i64, i64);

struct Library {
    script: Mutex<Loaded>,
    users: Mutex<Users>,
}

#[derive(Default)]
struct Loaded {
    script: Option<Arc<Script>>,
    version: Option<Version>,
    // Kept open, so that no later version gets its inode's number.
    file: Option<File>,
    checked: Option<Instant>,
}

#[derive(Default)]
struct Users {
    count: u64,
    present: Vec<usize>,
}

fn library() -> &'static Library {
    static LIBRARY: OnceLock<Library> = OnceLock::new();
    LIBRARY.get_or_init(|| Library {
        script: Mutex::default(),
        users: Mutex::default(),
    })
}

/// A panic of somebody else's call leaves nothing half done in what these locks hold.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Another user of the library.
pub(crate) fn initialize() -> Answer {
    let script = script()?;
    let mut users = lock(&library().users);
    if users.count == 0 {
        let gpus = script.gpus.iter().enumerate();
        users.present = gpus
            .filter(|(_, gpu)| !gpu.absent)
            .map(|(place, _)| place)
            .collect();
    }
    users.count += 1;
    Ok(())
}

/// A user less.
pub(crate) fn shut_down() -> Answer {
    let mut users = lock(&library().users);
    users.count = users.count.checked_sub(1).ok_or(Code::UNINITIALIZED)?;
    Ok(())
}

pub(crate) fn is_initialized() -> bool {
    lock(&library().users).count > 0
}

/// The GPUs that were there at initialization, as places in the script; NVML's index counts them.
pub(crate) fn present() -> Vec<usize> {
    lock(&library().users).present.clone()
}

/// Seconds since the script was first read: the zero of all changing values.
pub(crate) fn seconds() -> f64 {
    let since = clock::monotonic_ns().saturating_sub(afterlife::first_ns());
    Duration::from_nanos(since).as_secs_f64()
}

/// The script as it is now. One that does not parse is as if it were not there.
pub(crate) fn script() -> Answer<Arc<Script>> {
    let mut loaded = lock(&library().script);
    let now = Instant::now();
    let due = loaded
        .checked
        .is_none_or(|checked| now.duration_since(checked) >= CHECK_INTERVAL);
    if due {
        loaded.checked = Some(now);
        loaded.look(script_file());
    }
    loaded.script.clone().ok_or(Code::UNKNOWN)
}

impl Loaded {
    /// Reads the script if it is another than before.
    fn look(&mut self, path: &Path) {
        let version = version(path);
        if self.version == Some(version) {
            return;
        }
        self.file = File::open(path).ok();
        let text = fs::read_to_string(path).map_err(|error| error.to_string());
        match text.and_then(|text| Script::parse(&text)) {
            Ok(script) => {
                self.script = Some(Arc::new(script));
                afterlife::first_ns();
            }
            // Said once for each version, and once if there is none.
            Err(error) => complain(path, &error, self.script.is_some()),
        }
        self.version = Some(version);
    }
}

fn complain(path: &Path, error: &str, has_script: bool) {
    let error = error.split_whitespace().collect::<Vec<_>>().join(" ");
    let then = if has_script {
        "the script from before stays"
    } else {
        "no GPU is simulated"
    };
    eprintln!("nvml-sim: {}: {error}; {then}", path.display());
}

/// All zeros where there is no file.
fn version(path: &Path) -> Version {
    let Ok(data) = fs::metadata(path) else {
        return Version::default();
    };
    (
        data.dev(),
        data.ino(),
        data.size(),
        data.mtime(),
        data.mtime_nsec(),
    )
}

/// The script's file: beside the library's own, with `.toml` behind its name.
fn script_file() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| {
        let mut path = own_file().as_os_str().to_owned();
        path.push(".toml");
        PathBuf::from(path)
    })
}

/// The file that this code was loaded from.
pub(crate) fn own_file() -> &'static Path {
    static FILE: OnceLock<PathBuf> = OnceLock::new();
    FILE.get_or_init(|| {
        let file = PathBuf::from(loaded_from());
        // Programs may name it relative to a folder that they leave later.
        path::absolute(&file).unwrap_or(file)
    })
}

/// What the dynamic linker says.
fn loaded_from() -> OsString {
    let address = loaded_from as fn() -> OsString as *const c_void;
    let mut info = libc::Dl_info {
        dli_fname: std::ptr::null(),
        dli_fbase: std::ptr::null_mut(),
        dli_sname: std::ptr::null(),
        dli_saddr: std::ptr::null_mut(),
    };
    // SAFETY: `info` is ours to fill; any address may be asked for.
    let found = unsafe { libc::dladdr(address, &raw mut info) };
    if found == 0 || info.dli_fname.is_null() {
        return OsString::new();
    }
    // SAFETY: a text of the dynamic linker's, which stays while the library is loaded.
    let name = unsafe { CStr::from_ptr(info.dli_fname) };
    OsStr::from_bytes(name.to_bytes()).to_owned()
}
