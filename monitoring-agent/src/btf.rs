//! Where the fields of the kernel's structs are, from the type information that the kernel carries
//! about itself (BTF: <https://docs.kernel.org/bpf/btf.html>).
//!
//! Answers a handful of questions at load time and is then dropped. It builds no objects per type:
//! a question is one walk over the kernel's own bytes. It knows nothing of kernel programs, nor of
//! what an answer is for.

mod fields;
mod image;
mod programs;
mod raw;
#[cfg(test)]
mod tests;

use std::{io, path::Path};

pub use fields::Struct;
pub use image::Image;
pub use programs::Named;
use raw::{Raw, Type, kind};

/// The running kernel's type information.
pub(crate) const KERNEL_BTF: &str = "/sys/kernel/btf/vmlinux";

/// Most typedefs and qualifiers in a row, and most anonymous structs inside each other. The kernel
/// refuses to resolve types that are deeper (`MAX_RESOLVE_DEPTH`); its own reach 6.
const MAX_DEPTH: u32 = 32;

/// Kernels that run the agent's programs have 64 bits.
const POINTER_BYTES: u32 = 8;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum BtfError {
    /// The kernel was built without its type information.
    #[error("this kernel has no BTF (CONFIG_DEBUG_INFO_BTF): {KERNEL_BTF} does not exist")]
    Missing,
    /// The type information is there, but cannot be read.
    #[error("BTF cannot be read")]
    Unreadable(#[source] io::Error),
    /// The bytes contradict the format.
    #[error("malformed BTF at byte {at}: {what}")]
    Malformed {
        /// Offset from the beginning of the file.
        at: usize,
        /// What is wrong there.
        what: &'static str,
    },
    /// The answer may lie behind a type of a kind younger than this reader, of unknown length.
    #[error("this kernel's BTF has types of kind {kind}, which this version does not know")]
    NewerKind {
        /// The unknown kind's number.
        kind: u8,
    },
    /// This kernel has no such type, or only a forward declaration.
    #[error("this kernel has no type `{name}`")]
    NoType {
        /// The type asked for.
        name: String,
    },
    /// This kernel's type has no such field or value.
    #[error("this kernel's `{of}` has no `{path}`")]
    NoMember {
        /// The type asked.
        of: String,
        /// The field or value asked for.
        path: String,
    },
}

/// Where a field is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// Bytes from the beginning of the outermost struct to the field; for a bit field to the
    /// aligned word that holds it.
    pub offset: u32,
    /// Bytes of the field, a whole array for an array; for a bit field of the word that holds it.
    pub size: u32,
    /// Which bits of the word, if it is a bit field.
    pub bits: Option<Bits>,
}

/// The bits of a bit field within the word that holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bits {
    /// How far to shift the word right, on either byte order, to bring the field to bit 0.
    pub shift: u8,
    /// Number of bits, 1 to 64.
    pub width: u8,
}

/// Type information, in `D`: the kernel's own unless said otherwise.
///
/// # Example
///
/// ```no_run
/// let btf = monitoring_agent::btf::Btf::from_kernel()?;
/// let tgid = btf.field("task_struct", "tgid")?;
/// assert_eq!((tgid.size, tgid.bits), (4, None));
/// # Ok::<(), monitoring_agent::btf::BtfError>(())
/// ```
pub struct Btf<D = Image>(Raw<D>);

impl Btf<Image> {
    /// The running kernel's. Its bytes stay the kernel's where it lets them be mapped (since
    /// 6.16), and are a copy of about 6 MB until this is dropped where not.
    pub fn from_kernel() -> Result<Self, BtfError> {
        Self::open(Path::new(KERNEL_BTF))
    }

    pub(crate) fn open(path: &Path) -> Result<Self, BtfError> {
        match Image::open(path) {
            Ok(image) => Self::parse(image),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(BtfError::Missing),
            Err(error) => Err(BtfError::Unreadable(error)),
        }
    }
}

impl<D: AsRef<[u8]>> Btf<D> {
    /// Checks the header and the boundaries of all types. Either byte order; no split BTF, which
    /// modules have.
    pub fn parse(bytes: D) -> Result<Self, BtfError> {
        Raw::parse(bytes).map(Self)
    }

    /// A field of a struct or union. The path goes through structs within the struct by dots, and
    /// through anonymous ones as in C, by nothing: `thread_info.status`. It follows no pointers.
    ///
    /// Of several structs of one name (drivers have such) the first complete one answers.
    pub fn field(&self, of: &str, path: &str) -> Result<Field, BtfError> {
        self.find(of)?.field(path)
    }

    /// Bytes of a struct or union. Of several of one name the first complete one answers.
    pub fn size_of(&self, name: &str) -> Result<u32, BtfError> {
        Ok(self.find(name)?.size())
    }

    /// The value of an enumerator; unsigned ones beyond `i64::MAX` wrap.
    pub fn enum_value(&self, of: &str, name: &str) -> Result<i64, BtfError> {
        let is_enum = |t: &Type| matches!(t.kind, kind::ENUM | kind::ENUM64);
        let found = self
            .0
            .types()
            .find(|t| is_enum(t) && t.vlen != 0 && self.0.is_named(t.name, of));
        let Some(found) = found else {
            self.0.seen_all()?;
            return Err(BtfError::NoType {
                name: of.to_owned(),
            });
        };
        for index in 0..found.vlen {
            let (value_name, value) = self.0.enumerator(&found, index)?;
            if self.0.is_named(value_name, name) {
                return Ok(value);
            }
        }
        Err(BtfError::NoMember {
            of: of.to_owned(),
            path: name.to_owned(),
        })
    }

    /// All complete structs and unions, also those of one name and anonymous ones, in the file's
    /// order.
    pub fn structs(&self) -> impl Iterator<Item = Struct<'_, D>> {
        self.0
            .types()
            .filter(Type::is_composite)
            .map(|ty| Struct { btf: self, ty })
    }

    fn find(&self, name: &str) -> Result<Struct<'_, D>, BtfError> {
        if let Some(found) = self
            .structs()
            .find(|found| self.0.is_named(found.ty.name, name))
        {
            return Ok(found);
        }
        self.0.seen_all()?;
        Err(BtfError::NoType {
            name: name.to_owned(),
        })
    }

    /// The type behind typedefs and qualifiers.
    fn resolve(&self, mut id: u32, from: usize) -> Result<Type, BtfError> {
        for _ in 0..MAX_DEPTH {
            let ty = self.0.by_id(id, from)?;
            if !ty.is_alias() {
                return Ok(ty);
            }
            id = ty.size_or_id;
        }
        Err(BtfError::Malformed {
            at: from,
            what: "typedefs and qualifiers without end",
        })
    }

    /// Bytes of a type.
    fn bytes_of(&self, mut id: u32, from: usize) -> Result<u32, BtfError> {
        let mut elements = 1_u32;
        for _ in 0..MAX_DEPTH {
            let ty = self.resolve(id, from)?;
            let size = match ty.kind {
                kind::ARRAY => {
                    let (element, count) = self.0.array(&ty)?;
                    id = element;
                    count
                }
                kind::PTR => POINTER_BYTES,
                _ if ty.has_size() => ty.size_or_id,
                _ => {
                    return Err(BtfError::Malformed {
                        at: from,
                        what: "a field without a size",
                    });
                }
            };
            let too_large = BtfError::Malformed {
                at: from,
                what: "a field of more than 4 GiB",
            };
            elements = elements.checked_mul(size).ok_or(too_large)?;
            if ty.kind != kind::ARRAY {
                return Ok(elements);
            }
        }
        Err(BtfError::Malformed {
            at: from,
            what: "arrays without end",
        })
    }
}
