//! Finds a field's place in a struct, through nested and anonymous ones. Knows the format's meaning
//! but not its bytes.

use super::{
    Bits, Btf, BtfError, Field, MAX_DEPTH,
    raw::{Member, Type},
};

/// Most members that one question may visit. The kernel's largest struct has about 300, so that
/// only types that contain themselves get there.
const MAX_VISITS: u32 = 1 << 16;

/// A complete struct or union.
pub struct Struct<'a, D> {
    pub(super) btf: &'a Btf<D>,
    pub(super) ty: Type,
}

impl<D: AsRef<[u8]>> Struct<'_, D> {
    /// Its number in the file.
    pub fn id(&self) -> u32 {
        self.ty.id
    }

    /// Its name, empty for an anonymous one.
    pub fn name(&self) -> Result<&str, BtfError> {
        self.btf.0.string(self.ty.name)
    }

    /// Its size in bytes.
    pub fn size(&self) -> u32 {
        self.ty.size_or_id
    }

    /// A field; see [`Btf::field`].
    pub fn field(&self, path: &str) -> Result<Field, BtfError> {
        let mut search = Search {
            btf: self.btf,
            visits_left: MAX_VISITS,
        };
        let mut inside = self.ty;
        let mut begin = 0;
        let mut names = path.split('.').peekable();
        while let Some(name) = names.next() {
            let Some(found) = search.member(&inside, name, begin, MAX_DEPTH)? else {
                break;
            };
            if names.peek().is_none() {
                return search.field(&found);
            }
            inside = self.btf.resolve(found.type_id, found.at)?;
            if !inside.is_composite() {
                break;
            }
            begin = found.bit_offset;
        }
        Err(BtfError::NoMember {
            of: self.name()?.to_owned(),
            path: path.to_owned(),
        })
    }
}

/// One question's way through the types.
struct Search<'a, D> {
    btf: &'a Btf<D>,
    visits_left: u32,
}

impl<D: AsRef<[u8]>> Search<'_, D> {
    /// The member of this name, also of anonymous members; its offset grows by `begin` bits.
    fn member(
        &mut self,
        of: &Type,
        name: &str,
        begin: u64,
        depth_left: u32,
    ) -> Result<Option<Member>, BtfError> {
        let raw = &self.btf.0;
        for index in 0..of.vlen {
            let mut member = raw.member(of, index)?;
            let endless = BtfError::Malformed {
                at: member.at,
                what: "structs without end",
            };
            let Some(left) = self.visits_left.checked_sub(1) else {
                return Err(endless);
            };
            self.visits_left = left;
            member.bit_offset += begin;
            if !raw.is_named(member.name, "") {
                if raw.is_named(member.name, name) {
                    return Ok(Some(member));
                }
                continue;
            }
            // An anonymous member of any other type only pads.
            let inner = self.btf.resolve(member.type_id, member.at)?;
            if inner.is_composite() {
                let Some(depth) = depth_left.checked_sub(1) else {
                    return Err(endless);
                };
                let found = self.member(&inner, name, member.bit_offset, depth)?;
                if found.is_some() {
                    return Ok(found);
                }
            }
        }
        Ok(None)
    }

    fn field(&self, member: &Member) -> Result<Field, BtfError> {
        let malformed = |what| BtfError::Malformed {
            at: member.at,
            what,
        };
        let byte = |bit: u64| {
            let byte = u32::try_from(bit / 8).ok();
            byte.ok_or(malformed("a field beyond 4 GiB"))
        };
        let size = self.btf.bytes_of(member.type_id, member.at)?;
        let Some(width) = member.bit_width else {
            if !member.bit_offset.is_multiple_of(8) {
                return Err(malformed("a field that begins within a byte"));
            }
            return Ok(Field {
                offset: byte(member.bit_offset)?,
                size,
                bits: None,
            });
        };
        // The declared type's word holds the field, except in a packed struct.
        let mut word_bytes = size;
        while matches!(word_bytes, 1 | 2 | 4 | 8) {
            let word_bits = u64::from(word_bytes) * 8;
            let before = member.bit_offset % word_bits;
            let end = before + u64::from(width);
            if end <= word_bits {
                // On big-endian machines a word's first bit is its highest.
                let shift = if self.btf.0.is_little_endian() {
                    before
                } else {
                    word_bits - end
                };
                let shift = u8::try_from(shift).expect("a word has at most 64 bits");
                let offset = byte(member.bit_offset - before)?;
                return Ok(Field {
                    offset,
                    size: word_bytes,
                    bits: Some(Bits { shift, width }),
                });
            }
            word_bytes *= 2;
        }
        Err(malformed("a bit field that no word holds"))
    }
}
