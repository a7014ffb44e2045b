//! The rows of a profile's tables, and their ids.

use std::hash::Hash;

use indexmap::Equivalent;

/// Defines ids, which are numbers of rows in a table.
macro_rules! ids {
    ($($(#[$meta:meta])* $visibility:vis $name:ident;)+) => {
        $(
            $(#[$meta])*
            #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
            $visibility struct $name(u32);

            impl $name {
                pub(crate) fn of(row: usize) -> Self {
                    Self(u32::try_from(row).expect("a table has at most 2³² rows, as documented"))
                }

                pub(crate) fn row(self) -> usize {
                    self.0 as usize
                }
            }
        )+
    };
}

pub(crate) use ids;

ids! {
    /// A mapping of a [`Profile`](crate::Profile).
    pub MappingId;
    /// A function of a [`Profile`](crate::Profile).
    pub FunctionId;
    /// A location of a [`Profile`](crate::Profile).
    pub LocationId;
    /// A text of a profile.
    pub(crate) StringId;
    /// A stack of a profile.
    pub(crate) StackId;
}

/// A file that was mapped, or another part of memory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[expect(clippy::struct_excessive_bools, reason = "the format has them")]
pub struct Mapping {
    /// The first address.
    pub start: u64,
    /// The first address after it.
    pub limit: u64,
    /// What of the file lies at `start`, in bytes.
    pub offset: u64,
    /// The file's path, or a name in brackets: `[vdso]`, `[kernel]`. Names that begin with
    /// `[kernel` are taken for the kernel's.
    pub file: String,
    /// The file's build id, in hexadecimal digits; may be empty.
    pub build_id: String,
    /// Functions were looked up, so that nobody need do it again.
    pub has_functions: bool,
    /// Their source files were looked up, too.
    pub has_filenames: bool,
    /// Their lines were looked up, too.
    pub has_line_numbers: bool,
    /// Inlined functions were looked up, too.
    pub has_inline_frames: bool,
}

/// A mapping of a profile. Its fields are those of [`Mapping`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "they are documented there")]
#[expect(clippy::struct_excessive_bools, reason = "the format has them")]
pub struct MappingRef<'a> {
    pub start: u64,
    pub limit: u64,
    pub offset: u64,
    pub file: &'a str,
    pub build_id: &'a str,
    pub has_functions: bool,
    pub has_filenames: bool,
    pub has_line_numbers: bool,
    pub has_inline_frames: bool,
}

/// A function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FunctionRef<'a> {
    /// What people call it.
    pub name: &'a str,
    /// What the linker calls it; may be empty.
    pub system_name: &'a str,
    /// Its source file; may be empty.
    pub file: &'a str,
    /// Where it begins there; 0 if that is not known.
    pub start_line: i64,
}

/// A function, and a line in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Line {
    /// The function.
    pub function: FunctionId,
    /// The line in its source file; 0 if that is not known.
    pub line: i64,
}

/// An address, and what it lies in.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Location {
    /// The mapping that has the address, if it is known.
    pub mapping: Option<MappingId>,
    /// The address, in the address space of the process.
    pub address: u64,
    /// Functions, the innermost of inlined ones first. Empty if no name is known.
    pub lines: Box<[Line]>,
}

/// A mapping as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::struct_excessive_bools, reason = "the format has them")]
pub(crate) struct MappingRow {
    pub(crate) start: u64,
    pub(crate) limit: u64,
    pub(crate) offset: u64,
    pub(crate) file: StringId,
    pub(crate) build_id: StringId,
    pub(crate) has_functions: bool,
    pub(crate) has_filenames: bool,
    pub(crate) has_line_numbers: bool,
    pub(crate) has_inline_frames: bool,
}

/// A function as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct FunctionRow {
    pub(crate) name: StringId,
    pub(crate) system_name: StringId,
    pub(crate) file: StringId,
    pub(crate) start_line: i64,
}

/// A location that is looked for. It hashes as a [`Location`] does, field by field.
#[derive(Hash)]
pub(crate) struct LocationKey<'a> {
    pub(crate) mapping: Option<MappingId>,
    pub(crate) address: u64,
    pub(crate) lines: &'a [Line],
}

impl LocationKey<'_> {
    pub(crate) fn to_owned(&self) -> Location {
        Location {
            mapping: self.mapping,
            address: self.address,
            lines: self.lines.into(),
        }
    }
}

impl Equivalent<Location> for LocationKey<'_> {
    fn equivalent(&self, location: &Location) -> bool {
        self.mapping == location.mapping
            && self.address == location.address
            && *self.lines == *location.lines
    }
}
