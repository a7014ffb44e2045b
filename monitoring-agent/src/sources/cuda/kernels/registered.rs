//! What processes have registered, as the kernel side keeps it: where a function's name lies in
//! the process, or of which function it is another handle. Asked only for what the kernel side
//! could not send: it reads no memory that is not there at the moment, and knows nothing of forks.

use std::{collections::HashSet, fs::File, io, os::unix::fs::FileExt as _};

use aya::maps::{HashMap, Map, MapData, MapError};
use monitoring_common::cuda::{Address, NAME_BYTES, ProcessId};

use super::Name;

/// Marks that the rest is another handle of the function, as in the kernel programs.
const SAME_AS: u64 = 1 << 63;

/// Most handles of one function that are followed, as in the kernel programs.
const MAX_HANDLES: usize = 4;

/// Memory is there or not by pieces of this size; on some machines by larger ones.
const PAGE_BYTES: u64 = 4_096;

/// The maps of processes and of what they have registered, where there are any.
#[derive(Debug, Default)]
pub struct Registered(Option<Maps>);

#[derive(Debug)]
struct Maps {
    registered: HashMap<MapData, Address, u64>,
    processes: HashMap<MapData, u32, ProcessId>,
}

/// A function by the handle that the program itself has for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Host {
    pub(super) function: u64,
    /// Where its name lies in the process, if it said so.
    pub(super) name: Option<u64>,
}

impl Registered {
    /// From the maps `REGISTERED` and `PROCESSES`.
    ///
    /// # Errors
    ///
    /// One is another kind of map.
    pub fn new(registered: MapData, processes: MapData) -> Result<Self, MapError> {
        Ok(Self(Some(Maps {
            registered: HashMap::try_from(Map::HashMap(registered))?,
            processes: HashMap::try_from(Map::HashMap(processes))?,
        })))
    }

    /// The process that has this number now, if it is one that has made calls.
    pub(super) fn process(&self, pid: u32) -> Option<ProcessId> {
        self.0.as_ref()?.processes.get(&pid, 0).ok()
    }

    /// What a process's function stands for: itself, where it said nothing.
    pub(super) fn host(&self, process: Option<ProcessId>, function: u64) -> Host {
        host(function, |value| {
            let address = Address {
                value,
                process: process?,
            };
            self.0.as_ref()?.registered.get(&address, 0).ok()
        })
    }
}

fn host(function: u64, said: impl Fn(u64) -> Option<u64>) -> Host {
    let mut handle = function;
    let mut seen = HashSet::new();
    while seen.len() < MAX_HANDLES && seen.insert(handle) {
        match said(handle) {
            Some(other) if other & SAME_AS != 0 => handle = other & !SAME_AS,
            name => {
                return Host {
                    function: handle,
                    name,
                };
            }
        }
    }
    Host {
        function,
        name: None,
    }
}

/// The name that lies at an address of a process, if there is one.
pub(super) fn name_at(pid: u32, address: u64) -> Option<Name> {
    let memory = File::open(format!("/proc/{pid}/mem")).ok()?;
    let (text, cut) = text_at(address, |piece, place| memory.read_at(piece, place))?;
    Some(Name::new(&text, cut))
}

/// Text up to its zero, or as much as fits.
fn text_at(
    address: u64,
    read: impl Fn(&mut [u8], u64) -> io::Result<usize>,
) -> Option<(Vec<u8>, bool)> {
    let mut text = Vec::new();
    // The zero has its place, as in the kernel programs.
    while text.len() < NAME_BYTES - 1 {
        let place = address.checked_add(text.len() as u64)?;
        // No further than the page, behind which there may be nothing.
        let left = usize::try_from(PAGE_BYTES - place % PAGE_BYTES).ok()?;
        let mut piece = vec![0; left.min(NAME_BYTES - 1 - text.len())];
        let read = read(&mut piece, place).ok().filter(|read| *read > 0)?;
        let end = piece[..read].iter().position(|byte| *byte == 0);
        text.extend_from_slice(&piece[..end.unwrap_or(read)]);
        if end.is_some() {
            return (!text.is_empty()).then_some((text, false));
        }
    }
    Some((text, true))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handles_are_followed_to_the_host() {
        let said = |handle| match handle {
            3 => Some(2 | SAME_AS),
            2 => Some(1 | SAME_AS),
            1 => Some(0x1000),
            // Not known itself.
            7 => Some(8 | SAME_AS),
            // Of each other.
            4 => Some(5 | SAME_AS),
            5 => Some(4 | SAME_AS),
            _ => None,
        };
        let check = |function, want: (u64, Option<u64>)| {
            let host = host(function, said);
            assert_eq!((host.function, host.name), want, "{function}");
        };
        check(3, (1, Some(0x1000)));
        check(1, (1, Some(0x1000)));
        check(7, (8, None));
        check(9, (9, None));
        check(4, (4, None));
        let endless = host(1, |handle| Some((handle + 1) | SAME_AS));
        assert_eq!((endless.function, endless.name), (1, None));
    }

    #[test]
    fn names_end_with_a_zero() {
        let own = |text: &[u8]| {
            let place = text.as_ptr().expose_provenance() as u64;
            name_at(std::process::id(), place).map(|name| name.full.to_string())
        };
        assert_eq!(
            own(b"_Z6matmulPf\0other").as_deref(),
            Some("matmul(float*)")
        );
        assert_eq!(own(b"\0"), None);
        let long = own(&[b'x'; 2_000]).unwrap();
        assert_eq!(long, format!("{}…", "x".repeat(NAME_BYTES - 1)));
        assert_eq!(name_at(std::process::id(), 8), None);
        assert_eq!(name_at(std::process::id(), u64::MAX), None);
        assert_eq!(name_at(u32::MAX, 8), None);
    }

    #[test]
    fn names_lie_across_pages_and_end_where_memory_ends() {
        let memory = [b'y'; 8_192];
        let read = |piece: &mut [u8], place: u64| {
            let place = usize::try_from(place).unwrap();
            assert_eq!(place / 4_096, (place + piece.len() - 1) / 4_096);
            let Some(rest) = memory.get(place..) else {
                return Err(io::ErrorKind::InvalidInput.into());
            };
            let read = rest.len().min(piece.len());
            piece[..read].copy_from_slice(&rest[..read]);
            Ok(read)
        };
        let (text, cut) = text_at(PAGE_BYTES - 10, read).unwrap();
        assert_eq!((text.len(), cut), (NAME_BYTES - 1, true));
        assert_eq!(text_at(8_192 - 10, read), None);
    }
}
