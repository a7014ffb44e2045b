//! Files that processes execute, programs and libraries: told of as they are mapped, listed, opened,
//! read and remembered. For sources that look into such files.
//!
//! Knows nothing of what is looked for in a file, nor of what is done with it. All of it may be a
//! tenant's work: a look takes bounded time and memory, opens nothing but regular files, and waits
//! for no file system without end.

pub(crate) mod elf;
pub(crate) mod events;
pub(crate) mod files;
pub(crate) mod mappings;
pub(crate) mod opening;
pub(crate) mod pace;
pub(crate) mod patience;
pub(crate) mod signature;

pub use events::{Events, MappedFile};
pub use files::Found;
pub use opening::FileKey;
