//! Where kernel programs find what they read: fields of structs from BTF, arguments of tracepoints
//! from tracefs. The loader asks and passes the answers on as globals.
//!
//! It knows no family and no kernel program; those who ask know the names.

mod format;
mod tracefs;

use std::path::PathBuf;

use tracing::{debug, warn};

pub use format::{FormatField, Location, TracepointFormat};
pub use tracefs::{Mount, TracefsError, mount_tracefs, tracepoint};

use crate::btf::{Btf, BtfError, Field, KERNEL_BTF, Named};

/// The offset of a field that this kernel does not have. Kernel programs know the same value by
/// the same name, and have it as the default of their globals: what needs the field is off.
pub const ABSENT: u32 = u32::MAX;

/// Offsets of struct fields, for the time of loading.
///
/// The kernel's type information is opened at the first question and given back when this is
/// dropped.
///
/// # Example
///
/// ```no_run
/// use monitoring_agent::offsets::{ABSENT, Offsets};
///
/// let mut offsets = Offsets::new();
/// let tgid = offsets.field_or_absent("task_struct", "tgid")?;
/// if tgid == ABSENT {
///     println!("off: {}", offsets.absent().join(", "));
/// }
/// # Ok::<(), monitoring_agent::btf::BtfError>(())
/// ```
pub struct Offsets {
    btf: Source,
    absent: Vec<String>,
    /// Tracepoints that are said to be absent.
    hidden: &'static [&'static str],
}

enum Source {
    Unopened(PathBuf),
    Open(Btf),
    Missing,
}

impl Offsets {
    /// Opens nothing yet.
    pub fn new() -> Self {
        Self::of(KERNEL_BTF.into())
    }

    fn of(path: PathBuf) -> Self {
        Self {
            btf: Source::Unopened(path),
            absent: Vec::new(),
            hidden: &[],
        }
    }

    /// As on a kernel that does not have these tracepoints, so that tests can reach what is done
    /// there.
    pub fn without(tracepoints: &'static [&'static str]) -> Self {
        Self {
            hidden: tracepoints,
            ..Self::new()
        }
    }

    /// A field's offset in bytes, or [`ABSENT`] if this kernel has no BTF, no such struct or no
    /// such field. See [`Btf::field`] for paths.
    ///
    /// A bit field counts as absent: an offset alone would tell a program to read its neighbours.
    ///
    /// # Errors
    ///
    /// When the kernel has BTF that cannot be read or understood.
    pub fn field_or_absent(&mut self, of: &str, path: &str) -> Result<u32, BtfError> {
        let field = self.field(of, path)?.filter(|field| field.bits.is_none());
        if let Some(field) = field {
            return Ok(field.offset);
        }
        debug!("this kernel has no {of}.{path}");
        self.absent.push(format!("{of}.{path}"));
        Ok(ABSENT)
    }

    /// All that is known of a field, `None` if it is absent.
    ///
    /// # Errors
    ///
    /// As [`Self::field_or_absent`].
    pub fn field(&mut self, of: &str, path: &str) -> Result<Option<Field>, BtfError> {
        let Some(btf) = self.open()? else {
            return Ok(None);
        };
        match btf.field(of, path) {
            Ok(field) => Ok(Some(field)),
            Err(BtfError::NoType { .. } | BtfError::NoMember { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The value of an enumerator, `None` if this kernel has no such type or value.
    ///
    /// # Errors
    ///
    /// As [`Self::field_or_absent`].
    pub fn enum_value(&mut self, of: &str, name: &str) -> Result<Option<i64>, BtfError> {
        let Some(btf) = self.open()? else {
            return Ok(None);
        };
        match btf.enum_value(of, name) {
            Ok(value) => Ok(Some(value)),
            Err(BtfError::NoType { .. } | BtfError::NoMember { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The number of a type that programs attach to, `None` if this kernel has no such type.
    ///
    /// # Errors
    ///
    /// As [`Self::field_or_absent`].
    pub fn number_of(&mut self, named: Named, name: &str) -> Result<Option<u32>, BtfError> {
        let tracepoint = name.strip_prefix("btf_trace_");
        if tracepoint.is_some_and(|tracepoint| self.hidden.contains(&tracepoint)) {
            return Ok(None);
        }
        let btf = self.open()?;
        btf.map_or(Ok(None), |btf| btf.number_of(named, name))
    }

    /// How many arguments a tracepoint has, `None` if this kernel has no such tracepoint.
    ///
    /// # Errors
    ///
    /// As [`Self::field_or_absent`].
    pub fn tracepoint_arguments(&mut self, name: &str) -> Result<Option<u32>, BtfError> {
        if self.hidden.contains(&name) {
            return Ok(None);
        }
        let btf = self.open()?;
        btf.map_or(Ok(None), |btf| btf.tracepoint_arguments(name))
    }

    /// What [`Self::field_or_absent`] did not find, as `struct.path`, in the order of asking.
    pub fn absent(&self) -> &[String] {
        &self.absent
    }

    fn open(&mut self) -> Result<Option<&Btf>, BtfError> {
        if let Source::Unopened(path) = &self.btf {
            self.btf = match Btf::open(path) {
                Ok(btf) => Source::Open(btf),
                Err(error @ BtfError::Missing) => {
                    warn!("{error}: what needs the offset of a struct field is off");
                    Source::Missing
                }
                Err(error) => return Err(error),
            };
        }
        Ok(if let Source::Open(btf) = &self.btf {
            Some(btf)
        } else {
            None
        })
    }
}

impl Default for Offsets {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// Little-endian BTF of `struct s { int a; int: 0 b; }`, where `b` is a bit field of 3 bits.
    const SMALL: &[u8] = b"\x9f\xeb\x01\0\x18\0\0\0\
        \0\0\0\0\x34\0\0\0\x34\0\0\0\x0b\0\0\0\
        \x01\0\0\0\0\0\0\x01\x04\0\0\0\x20\0\0\0\
        \x05\0\0\0\x02\0\0\x84\x08\0\0\0\
        \x07\0\0\0\x01\0\0\0\0\0\0\0\
        \x09\0\0\0\x01\0\0\0\x20\0\0\x03\
        \0int\0s\0a\0b\0";

    #[test]
    fn absent_fields_are_told_and_remembered() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("btf");
        fs::write(&path, SMALL).unwrap();
        let mut offsets = Offsets::of(path);
        let mut check = |of, path, want| {
            assert_eq!(
                offsets.field_or_absent(of, path).unwrap(),
                want,
                "{of}.{path}"
            );
        };
        check("s", "a", 0);
        check("s", "c", ABSENT);
        check("s", "b", ABSENT);
        check("t", "a", ABSENT);
        assert_eq!(offsets.absent(), ["s.c", "s.b", "t.a"]);
        assert_eq!(
            offsets.field("s", "b").unwrap().map(|field| field.offset),
            Some(4)
        );
        assert_eq!(offsets.enum_value("s", "a").unwrap(), None);
    }

    #[test]
    fn without_btf_all_fields_are_absent() {
        let folder = tempfile::tempdir().unwrap();
        let mut offsets = Offsets::of(folder.path().join("none"));
        for _ in 0..2 {
            assert_eq!(
                offsets.field_or_absent("task_struct", "tgid").unwrap(),
                ABSENT
            );
        }
        assert_eq!(offsets.absent().len(), 2);
    }

    #[test]
    fn malformed_btf_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("btf");
        fs::write(&path, &SMALL[..40]).unwrap();
        let mut offsets = Offsets::of(path);
        for _ in 0..2 {
            let answer = offsets.field_or_absent("s", "a");
            assert!(
                matches!(answer, Err(BtfError::Malformed { .. })),
                "{answer:?}"
            );
        }
        assert!(offsets.absent().is_empty());
    }
}
