//! Reads the file of a configuration, of bounded size.
//!
//! Knows nothing of what is in it.

use std::{
    fs::File,
    io::{ErrorKind, Read},
    path::Path,
};

use super::problem::Fault;

/// Largest file that is read. A configuration with all that is allowed in it is far smaller.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// The file's text; `None` where it does not exist and need not.
pub fn text_of(path: &Path, may_be_missing: bool) -> Result<Option<String>, Fault> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound && may_be_missing => {
            return Ok(None);
        }
        Err(error) => {
            let cure = match error.kind() {
                ErrorKind::NotFound => "name a file that exists; without one, the defaults hold",
                ErrorKind::PermissionDenied => "let this program's user read it",
                _ => "name a file that can be read",
            };
            return Err(Fault::new(format!("cannot be opened: {error}"), cure));
        }
    };
    let mut bytes = Vec::new();
    // A byte more than allowed tells a file of the largest size from one that is larger.
    file.take(MAX_FILE_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| match error.kind() {
            ErrorKind::IsADirectory => Fault::new("a directory", "name the file in it"),
            _ => Fault::new(
                format!("cannot be read: {error}"),
                "name a file that can be read",
            ),
        })?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        let cure = "name a configuration file; each is smaller than that";
        return Err(Fault::new("larger than 1 MiB", cure));
    }
    String::from_utf8(bytes).map(Some).map_err(|error| {
        let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = valid.split(|byte| *byte == b'\n').count();
        Fault::new(
            format!("not UTF-8 in line {line}"),
            "save the file as UTF-8",
        )
    })
}
