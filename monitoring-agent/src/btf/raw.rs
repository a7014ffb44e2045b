//! The format's bytes: header, boundaries of types, strings. Knows no names and follows no types.

use std::{ffi::CStr, ops::Range};

use super::BtfError;

/// The kinds of types, `BTF_KIND_*`.
pub(super) mod kind {
    pub(in super::super) const INT: u8 = 1;
    pub(in super::super) const PTR: u8 = 2;
    pub(in super::super) const ARRAY: u8 = 3;
    pub(in super::super) const STRUCT: u8 = 4;
    pub(in super::super) const UNION: u8 = 5;
    pub(in super::super) const ENUM: u8 = 6;
    pub(in super::super) const FWD: u8 = 7;
    pub(in super::super) const TYPEDEF: u8 = 8;
    pub(in super::super) const VOLATILE: u8 = 9;
    pub(in super::super) const CONST: u8 = 10;
    pub(in super::super) const RESTRICT: u8 = 11;
    pub(in super::super) const FUNC: u8 = 12;
    pub(in super::super) const FUNC_PROTO: u8 = 13;
    pub(in super::super) const VAR: u8 = 14;
    pub(in super::super) const DATASEC: u8 = 15;
    pub(in super::super) const FLOAT: u8 = 16;
    pub(in super::super) const DECL_TAG: u8 = 17;
    pub(in super::super) const TYPE_TAG: u8 = 18;
    pub(in super::super) const ENUM64: u8 = 19;
}

/// Every this many types, one position is remembered: 8 KB for a kernel's 130 000 types, and at
/// most this many steps to a type.
const STRIDE: u32 = 64;

/// Bytes that every type begins with.
const TYPE_BYTES: usize = 12;

/// The file's bytes, with the boundaries checked.
pub(super) struct Raw<D> {
    data: D,
    little_endian: bool,
    types: Range<usize>,
    strings: Range<usize>,
    /// How long types of each kind are, told by the file itself since kernel commit 01504da43e67.
    layout: Range<usize>,
    /// Positions of the types 1, 1 + STRIDE, 1 + 2 * STRIDE, …
    positions: Vec<u32>,
    /// The last type's number. The first one's is 1; 0 is `void`.
    last_id: u32,
    /// The kind that ended the walk over the types, if one did.
    newer_kind: Option<u8>,
}

/// What every type begins with.
#[derive(Clone, Copy)]
pub(super) struct Type {
    pub(super) id: u32,
    pub(super) kind: u8,
    pub(super) name: u32,
    pub(super) vlen: u32,
    pub(super) kind_flag: bool,
    pub(super) size_or_id: u32,
    /// Position of what follows, which depends on the kind.
    rest: usize,
}

/// A member of a struct or union.
pub(super) struct Member {
    pub(super) at: usize,
    pub(super) name: u32,
    pub(super) type_id: u32,
    pub(super) bit_offset: u64,
    pub(super) bit_width: Option<u8>,
}

impl Type {
    pub(super) fn is_composite(&self) -> bool {
        matches!(self.kind, kind::STRUCT | kind::UNION)
    }

    pub(super) fn is_alias(&self) -> bool {
        use kind::{CONST, RESTRICT, TYPE_TAG, TYPEDEF, VOLATILE};
        matches!(self.kind, TYPEDEF | VOLATILE | CONST | RESTRICT | TYPE_TAG)
    }

    /// Whether `size_or_id` is a size in bytes.
    pub(super) fn has_size(&self) -> bool {
        use kind::{ENUM, ENUM64, FLOAT, INT, STRUCT, UNION};
        matches!(self.kind, INT | STRUCT | UNION | ENUM | FLOAT | ENUM64)
    }
}

impl<D: AsRef<[u8]>> Raw<D> {
    pub(super) fn parse(data: D) -> Result<Self, BtfError> {
        let little_endian = match data.as_ref() {
            [0x9f, 0xeb, 1, ..] => true,
            [0xeb, 0x9f, 1, ..] => false,
            _ => {
                return Err(malformed(
                    0,
                    "neither byte order's magic number with version 1",
                ));
            }
        };
        let mut raw = Self {
            data,
            little_endian,
            types: 0..0,
            strings: 0..0,
            layout: 0..0,
            positions: Vec::new(),
            last_id: 0,
            newer_kind: None,
        };
        let header_bytes = raw.u32(4)?;
        if header_bytes < 24 {
            return Err(malformed(4, "a header of less than 24 bytes"));
        }
        raw.types = raw.section(header_bytes, 8)?;
        raw.strings = raw.section(header_bytes, 16)?;
        if header_bytes >= 32 {
            raw.layout = raw.section(header_bytes, 24)?;
        }
        raw.walk()?;
        Ok(raw)
    }

    pub(super) fn is_little_endian(&self) -> bool {
        self.little_endian
    }

    /// All types, in order.
    pub(super) fn types(&self) -> impl Iterator<Item = Type> {
        let mut at = self.types.start;
        (1..=self.last_id).map_while(move |id| {
            // The walk at the beginning has seen each of them.
            let (ty, next) = self.decode(at, id).ok()?;
            at = next;
            Some(ty)
        })
    }

    /// The type of this number, which is mentioned at `from`.
    pub(super) fn by_id(&self, id: u32, from: usize) -> Result<Type, BtfError> {
        if id > self.last_id {
            self.seen_all()?;
        }
        if id == 0 || id > self.last_id {
            return Err(malformed(from, "a type number beyond the types"));
        }
        let start = self.positions[((id - 1) / STRIDE) as usize];
        let mut at = self.types.start + start as usize;
        for id in id - (id - 1) % STRIDE..id {
            at = self.decode(at, id)?.1;
        }
        Ok(self.decode(at, id)?.0)
    }

    /// An error if types of an unknown kind hide others.
    pub(super) fn seen_all(&self) -> Result<(), BtfError> {
        self.newer_kind
            .map_or(Ok(()), |kind| Err(BtfError::NewerKind { kind }))
    }

    pub(super) fn member(&self, of: &Type, index: u32) -> Result<Member, BtfError> {
        let at = of.rest + 12 * index as usize;
        let (name, type_id, place) = (self.u32(at)?, self.u32(at + 4)?, self.u32(at + 8)?);
        let (bit_offset, width) = if of.kind_flag {
            (place & 0x00ff_ffff, place >> 24)
        } else {
            (place, 0)
        };
        let bit_width = u8::try_from(width).ok().filter(|width| *width != 0);
        Ok(Member {
            at,
            name,
            type_id,
            bit_offset: bit_offset.into(),
            bit_width,
        })
    }

    /// An array's element type and number of elements.
    pub(super) fn array(&self, of: &Type) -> Result<(u32, u32), BtfError> {
        Ok((self.u32(of.rest)?, self.u32(of.rest + 8)?))
    }

    /// Name and value.
    pub(super) fn enumerator(&self, of: &Type, index: u32) -> Result<(u32, i64), BtfError> {
        if of.kind == kind::ENUM64 {
            let at = of.rest + 12 * index as usize;
            let (low, high) = (self.u32(at + 4)?, self.u32(at + 8)?);
            return Ok((
                self.u32(at)?,
                (u64::from(high) << 32 | u64::from(low)).cast_signed(),
            ));
        }
        let at = of.rest + 8 * index as usize;
        let value = self.u32(at + 4)?;
        let value = if of.kind_flag {
            value.cast_signed().into()
        } else {
            value.into()
        };
        Ok((self.u32(at)?, value))
    }

    /// Whether the string at this offset is `name`.
    pub(super) fn is_named(&self, offset: u32, name: &str) -> bool {
        let strings = self.data.as_ref().get(self.strings.clone());
        let tail = strings.and_then(|strings| strings.get(offset as usize..));
        let rest = tail.and_then(|tail| tail.strip_prefix(name.as_bytes()));
        rest.is_some_and(|rest| rest.first() == Some(&0))
    }

    /// The string at this offset.
    pub(super) fn string(&self, offset: u32) -> Result<&str, BtfError> {
        let at = self.strings.start.saturating_add(offset as usize);
        let tail = self.data.as_ref().get(at..self.strings.end);
        let name = tail.and_then(|tail| CStr::from_bytes_until_nul(tail).ok());
        let name = name.and_then(|name| name.to_str().ok());
        name.ok_or(malformed(at, "no text that ends in a zero byte"))
    }

    /// A section's bytes, from its offset and length in the header at `at`.
    fn section(&self, header_bytes: u32, at: usize) -> Result<Range<usize>, BtfError> {
        let (offset, length) = (self.u32(at)?, self.u32(at + 4)?);
        let start = (header_bytes as usize).saturating_add(offset as usize);
        let end = start.saturating_add(length as usize);
        if end > self.data.as_ref().len() {
            return Err(malformed(at, "a section beyond the end"));
        }
        Ok(start..end)
    }

    /// Goes over all types once, to check their boundaries and remember some positions.
    fn walk(&mut self) -> Result<(), BtfError> {
        let mut at = self.types.start;
        while at < self.types.end {
            let next = match self.decode(at, self.last_id + 1) {
                Ok((_, next)) => next,
                Err(BtfError::NewerKind { kind }) => {
                    self.newer_kind = Some(kind);
                    break;
                }
                Err(error) => return Err(error),
            };
            if self.last_id.is_multiple_of(STRIDE) {
                let from_start = u32::try_from(at - self.types.start);
                self.positions
                    .push(from_start.expect("a section's length has 32 bits"));
            }
            self.last_id += 1;
            at = next;
        }
        Ok(())
    }

    /// The type at a position, and the position of the next one.
    fn decode(&self, at: usize, id: u32) -> Result<(Type, usize), BtfError> {
        let info = self.u32(at + 4)?;
        // Until kernel commit f7a6b9eaff3e the number of members had 16 bits and the kind 5; the
        // bits beside them were 0.
        let (vlen, kind) = (info & 0x00ff_ffff, (info >> 24 & 0x7f) as u8);
        let rest = at + TYPE_BYTES;
        let each = vlen as usize;
        let rest_bytes = match kind {
            0 => return Err(malformed(at, "a type of kind 0")),
            kind::INT | kind::VAR | kind::DECL_TAG => 4,
            kind::ARRAY => 12,
            kind::STRUCT | kind::UNION | kind::DATASEC | kind::ENUM64 => 12 * each,
            kind::ENUM | kind::FUNC_PROTO => 8 * each,
            kind::PTR
            | kind::FWD
            | kind::TYPEDEF
            | kind::VOLATILE
            | kind::CONST
            | kind::RESTRICT
            | kind::FUNC
            | kind::FLOAT
            | kind::TYPE_TAG => 0,
            newer => self.newer_kind_bytes(newer, each)?,
        };
        let next = rest + rest_bytes;
        if next > self.types.end {
            return Err(malformed(at, "a type beyond the end of the types"));
        }
        let (name, size_or_id) = (self.u32(at)?, self.u32(at + 8)?);
        let kind_flag = info >> 31 != 0;
        Ok((
            Type {
                id,
                kind,
                name,
                vlen,
                kind_flag,
                size_or_id,
                rest,
            },
            next,
        ))
    }

    /// How long a type of an unknown kind is. The file may tell: `struct btf_layout`.
    fn newer_kind_bytes(&self, kind: u8, each: usize) -> Result<usize, BtfError> {
        let at = self.layout.start + 4 * usize::from(kind);
        let layout = self
            .data
            .as_ref()
            .get(at..at + 4)
            .filter(|_| at + 4 <= self.layout.end);
        let Some(&[once_bytes, each_bytes, ..]) = layout else {
            return Err(BtfError::NewerKind { kind });
        };
        Ok(usize::from(once_bytes) + usize::from(each_bytes) * each)
    }

    fn u32(&self, at: usize) -> Result<u32, BtfError> {
        let word = self
            .data
            .as_ref()
            .get(at..)
            .and_then(|tail| tail.first_chunk());
        let word = *word.ok_or(malformed(at, "the end of the file within a word"))?;
        Ok(if self.little_endian {
            u32::from_le_bytes(word)
        } else {
            u32::from_be_bytes(word)
        })
    }
}

fn malformed(at: usize, what: &'static str) -> BtfError {
    BtfError::Malformed { at, what }
}
