//! Writes BTF, in either byte order, for the reader to read.

use crate::btf::raw::kind;

/// BTF under construction.
pub(super) struct Builder {
    big_endian: bool,
    types: Vec<u8>,
    strings: Vec<u8>,
    layout: Vec<u8>,
    last_id: u32,
}

/// A member as the format has it: name, type, place.
pub(super) type RawMember<'a> = (&'a str, u32, u32);

/// The place of a bit field, for a composite whose flag is set.
pub(super) fn bits(offset: u32, width: u32) -> u32 {
    width << 24 | offset
}

impl Builder {
    pub(super) fn new(big_endian: bool) -> Self {
        Self {
            big_endian,
            types: vec![],
            strings: vec![0],
            layout: vec![],
            last_id: 0,
        }
    }

    fn string(&mut self, text: &str) -> u32 {
        if text.is_empty() {
            return 0;
        }
        let offset = u32::try_from(self.strings.len()).unwrap();
        self.strings.extend_from_slice(text.as_bytes());
        self.strings.push(0);
        offset
    }

    fn word(big_endian: bool, word: u32) -> [u8; 4] {
        if big_endian {
            word.to_be_bytes()
        } else {
            word.to_le_bytes()
        }
    }

    /// Adds a type of any kind, and says its number.
    pub(super) fn add(
        &mut self,
        kind: u8,
        name: &str,
        vlen: usize,
        size_or_id: u32,
        rest: &[u32],
    ) -> u32 {
        let info = u32::from(kind) << 24 | u32::try_from(vlen).unwrap();
        let words = [self.string(name), info, size_or_id];
        for word in words.iter().chain(rest) {
            self.types
                .extend_from_slice(&Self::word(self.big_endian, *word));
        }
        self.last_id += 1;
        self.last_id
    }

    pub(super) fn int(&mut self, bytes: u32) -> u32 {
        self.add(kind::INT, "int", 0, bytes, &[bytes * 8])
    }

    /// A struct or union whose members' places are plain bit offsets.
    pub(super) fn composite(
        &mut self,
        kind: u8,
        name: &str,
        size: u32,
        members: &[RawMember<'_>],
    ) -> u32 {
        let mut rest = vec![];
        for (name, type_id, place) in members {
            rest.extend([self.string(name), *type_id, *place]);
        }
        self.add(kind, name, members.len(), size, &rest)
    }

    /// Sets the flag of the last type: its members' places have the width in the upper byte, or
    /// its enumerators are signed.
    pub(super) fn flag(&mut self, of_words: usize) {
        let info = self.types.len() - of_words * 4 + 4;
        let highest = if self.big_endian { info } else { info + 3 };
        self.types[highest] |= 0x80;
    }

    /// Tells how long types of one kind are: once, and for each member.
    pub(super) fn layout(&mut self, kind: u8, once: u8, each: u8) {
        self.layout.resize(usize::from(kind) * 4, 0);
        self.layout.extend([once, each, 0, 0]);
    }

    /// The next type's number.
    pub(super) fn next_id(&self) -> u32 {
        self.last_id + 1
    }

    pub(super) fn finish(self) -> Vec<u8> {
        let length = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap();
        let [types, strings] = [length(&self.types), length(&self.strings)];
        let mut header = vec![
            if self.layout.is_empty() { 24 } else { 32 },
            0,
            types,
            types,
            strings,
        ];
        if !self.layout.is_empty() {
            header.extend([types + strings, length(&self.layout)]);
        }
        let magic = if self.big_endian {
            [0xeb, 0x9f]
        } else {
            [0x9f, 0xeb]
        };
        let mut bytes = vec![magic[0], magic[1], 1, 0];
        bytes.extend(
            header
                .iter()
                .flat_map(|word| Self::word(self.big_endian, *word)),
        );
        bytes.extend(self.types);
        bytes.extend(self.strings);
        bytes.extend(self.layout);
        bytes
    }
}
