//! Source lines and inlined functions, from the debug information of a file, where it has some.
//!
//! blazesym reads that, out of a copy of nothing but what it needs: it maps files, and one that its
//! owner cuts short meanwhile would end the process. The copy cannot change, is of bounded size, and
//! is gone when the question is answered, as is everything that blazesym has made of it.

use std::{
    ffi::CStr,
    fs::File,
    io,
    os::{
        fd::{AsRawFd as _, FromRawFd as _},
        unix::fs::FileExt as _,
    },
    path::PathBuf,
    sync::Arc,
};

use blazesym::symbolize::{
    CodeInfo, Input, Sym, Symbolized, Symbolizer,
    source::{Elf as Source, Source as Sources},
};

use super::{
    Function,
    bytes::Bytes,
    demangle::demangled,
    elf::{Elf, Problem},
};
use crate::printable::printable;

/// Most debug information of one file that is copied. That of libraries which have more takes ten
/// times as much memory to understand, and seconds; their functions have names all the same.
const MAX_BYTES: u64 = 64 * 1024 * 1024;

/// Longest path of a source file, in characters.
const PATH_CHARS: usize = 512;

/// How much is copied at a time.
const PIECE_BYTES: usize = 256 * 1024;

/// The functions at some addresses of a file, those first that were inlined innermost. `None` for
/// addresses of which the debug information says nothing; an error if there is none, or too much. They
/// end behind the one with which they take more than `room` bytes.
pub(super) fn look_up(
    bytes: &Bytes,
    elf: &Elf<'_>,
    addresses: &[u64],
    room: usize,
) -> Result<Vec<Option<Arc<[Function]>>>, Problem> {
    let copy = copy(bytes, elf)?;
    let path = PathBuf::from(format!("/proc/self/fd/{}", copy.as_raw_fd()));
    let symbolizer = Symbolizer::builder()
        .enable_auto_reload(false)
        .enable_demangling(false)
        // Nothing is looked for elsewhere.
        .set_debug_dirs(Some(std::iter::empty::<PathBuf>()))
        .build();
    let source = Sources::Elf(Source::new(path));
    let found = symbolizer.symbolize(&source, Input::VirtOffset(addresses));
    let found = found.map_err(|_| Problem::Torn)?;
    let mut taken = 0;
    let mut all = Vec::new();
    for found in &found {
        let functions = functions(found);
        taken += functions.as_deref().map_or(0, super::bytes_of);
        all.push(functions);
        if taken > room {
            break;
        }
    }
    Ok(all)
}

fn functions(found: &Symbolized<'_>) -> Option<Arc<[Function]>> {
    let Symbolized::Sym(symbol) = found else {
        return None;
    };
    // Where in a function the next one was inlined is what is told of that one.
    let Sym {
        name,
        code_info,
        inlined,
        ..
    } = symbol;
    let outermost = (&**name, code_info.as_deref());
    let within = inlined
        .iter()
        .map(|inner| (&*inner.name, inner.code_info.as_ref()));
    let all = std::iter::once(outermost).chain(within);
    let mut functions: Vec<Function> = all.map(|(name, place)| function(name, place)).collect();
    functions.reverse();
    Some(functions.into())
}

fn function(symbol: &str, place: Option<&CodeInfo<'_>>) -> Function {
    let path = place.map(|place| place.to_path().into_owned());
    let path = path.map_or_else(String::new, |path| {
        printable(path.as_os_str().as_encoded_bytes(), PATH_CHARS)
    });
    Function {
        name: demangled(symbol.as_bytes()).into(),
        system_name: printable(symbol.as_bytes(), super::elf::NAME_BYTES).into(),
        file: path.into(),
        line: place.and_then(|place| place.line).unwrap_or(0),
    }
}

/// A file in memory that has what is needed at the places where the file has it.
fn copy(bytes: &Bytes, elf: &Elf<'_>) -> Result<File, Problem> {
    let parts = elf.debug_parts()?;
    if parts.is_empty() {
        return Err(Problem::Foreign);
    }
    let lengths = parts.iter().map(|(_, length)| *length);
    let all = lengths.fold(0, u64::saturating_add);
    if all > MAX_BYTES {
        return Err(Problem::Torn);
    }
    let memory = memory(c"debug information").map_err(|_| Problem::Torn)?;
    let mut piece = vec![0; PIECE_BYTES];
    for (offset, length) in parts {
        let end = offset.checked_add(length).ok_or(Problem::Torn)?;
        let mut at = offset;
        while at < end {
            let left = usize::try_from(end - at).unwrap_or(PIECE_BYTES);
            let piece = &mut piece[..left.min(PIECE_BYTES)];
            bytes.exact(at, piece).map_err(|_| Problem::Torn)?;
            memory.write_all_at(piece, at).map_err(|_| Problem::Torn)?;
            at += piece.len() as u64;
        }
    }
    let seals = libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_WRITE | libc::F_SEAL_SEAL;
    // SAFETY: the descriptor is open; the call takes numbers only.
    let sealed = unsafe { libc::fcntl(memory.as_raw_fd(), libc::F_ADD_SEALS, seals) };
    if sealed < 0 {
        return Err(Problem::Torn);
    }
    Ok(memory)
}

fn memory(name: &CStr) -> io::Result<File> {
    let flags = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING;
    // SAFETY: the name lives across the call.
    let descriptor = unsafe { libc::memfd_create(name.as_ptr(), flags) };
    if descriptor < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is new, and nobody else's.
    Ok(unsafe { File::from_raw_fd(descriptor) })
}

#[cfg(test)]
mod tests {
    use std::{fs, process::Command};

    use proptest::prelude::*;

    use super::*;

    const SOURCE: &str = "int x;\nstatic inline __attribute__((always_inline)) void within(void) { x = 7; }\n\
                          int main(void) { within(); return 0; }\n";

    fn program() -> Vec<u8> {
        let folder = tempfile::tempdir().unwrap();
        let [source, program] = ["source.c", "program"].map(|name| folder.path().join(name));
        fs::write(&source, SOURCE).unwrap();
        let mut build = Command::new("cc");
        build
            .args(["-g", "-gz=none", "-O1", "-o"])
            .arg(&program)
            .arg(&source);
        let status = build.status();
        assert!(status.expect("`cc` builds the program").success());
        fs::read(&program).unwrap()
    }

    #[test]
    fn any_change_of_debug_information_is_survived() {
        let whole = program();
        let addresses: Vec<u64> = (0x1000..0x1300).collect();
        let look = |whole: Vec<u8>| {
            let bytes = Bytes::Memory(whole);
            let elf = Elf::read(&bytes)?;
            look_up(&bytes, &elf, &addresses, usize::MAX)
        };
        let found = look(whole.clone()).unwrap();
        assert!(found.iter().flatten().any(|functions| functions.len() == 2));
        // Behind what is loaded there is little else.
        let places = 0x3000..whole.len();
        let changes = prop::collection::vec((places, any::<u8>()), 1..8);
        proptest!(|(changes in changes)| {
            let mut torn = whole.clone();
            for (place, byte) in changes {
                torn[place] = byte;
            }
            if let Ok(found) = look(torn) {
                prop_assert_eq!(found.len(), addresses.len());
            }
        });
    }

    #[test]
    fn functions_end_where_they_have_no_room() {
        let bytes = Bytes::Memory(program());
        let elf = Elf::read(&bytes).unwrap();
        let addresses: Vec<u64> = (0x1000..0x1300).collect();
        let found = look_up(&bytes, &elf, &addresses, 0).unwrap();
        let named = found.iter().flatten().count();
        assert_eq!(named, 1);
        assert!(found.len() < addresses.len() && found[found.len() - 1].is_some());
    }

    #[test]
    fn too_much_debug_information_is_not_copied() {
        let mut whole = program();
        let bytes = Bytes::Memory(whole.clone());
        let elf = Elf::read(&bytes).unwrap();
        assert!(!elf.debug_parts().unwrap().is_empty());
        // The length of the last section, which has the names of all.
        let last = whole.len() - 64 + 32;
        whole[last..last + 8].copy_from_slice(&(MAX_BYTES + 1).to_ne_bytes());
        let bytes = Bytes::Memory(whole);
        let elf = Elf::read(&bytes).unwrap();
        assert_eq!(
            look_up(&bytes, &elf, &[0x1000], usize::MAX),
            Err(Problem::Torn)
        );
    }
}
