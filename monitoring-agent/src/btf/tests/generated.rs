//! Random structs, written as BTF, are found back.

use proptest::prelude::*;

use super::build::{Builder, bits};
use crate::btf::{Bits, Btf, Field, raw::kind};

/// A member's type.
#[derive(Clone, Debug)]
enum Shape {
    Int(u32),
    /// A bit field of this width in an `int` of 4 bytes, aligned to it so that it never crosses.
    Bits(u8),
    Pointer,
    Array(Box<Shape>, u32),
    /// Through this many typedefs and qualifiers.
    Alias(Box<Shape>, u8),
    Composite {
        union: bool,
        anonymous: bool,
        members: Vec<Shape>,
    },
}

fn shape() -> impl Strategy<Value = Shape> {
    let leaf = prop_oneof![
        (0..4_u32).prop_map(|log| Shape::Int(1 << log)),
        (1..=31_u8).prop_map(Shape::Bits),
        Just(Shape::Pointer),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        let unit = inner
            .clone()
            .prop_filter("no arrays of bits", |shape| !has_bits(shape));
        prop_oneof![
            (unit.clone(), 0..5_u32).prop_map(|(of, count)| Shape::Array(Box::new(of), count)),
            (unit, 0..5_u8).prop_map(|(of, depth)| Shape::Alias(Box::new(of), depth)),
            (
                any::<bool>(),
                any::<bool>(),
                prop::collection::vec(inner, 0..6)
            )
                .prop_map(|(union, anonymous, members)| Shape::Composite {
                    union,
                    anonymous,
                    members
                }),
        ]
    })
}

fn has_bits(shape: &Shape) -> bool {
    matches!(shape, Shape::Bits(_))
}

/// A member that the reader must find.
#[derive(Clone, Debug)]
struct Want {
    path: String,
    bit_offset: u32,
    size: u32,
    width: Option<u8>,
}

/// Writes types, and remembers what is to be found.
struct Writer {
    builder: Builder,
    names: u32,
}

/// A written type: its number, its bytes, and what is to be found inside, by path within it.
struct Written {
    id: u32,
    size: u32,
    inside: Vec<Want>,
    /// Whether its members count as its parent's.
    transparent: bool,
    width: Option<u8>,
}

impl Writer {
    fn write(&mut self, shape: &Shape) -> Written {
        let plain = |id, size| Written {
            id,
            size,
            inside: vec![],
            transparent: false,
            width: None,
        };
        match shape {
            Shape::Int(bytes) => plain(self.builder.int(*bytes), *bytes),
            Shape::Bits(width) => Written {
                width: Some(*width),
                ..plain(self.builder.int(4), 4)
            },
            Shape::Pointer => plain(self.builder.add(kind::PTR, "", 0, 0, &[]), 8),
            Shape::Array(of, count) => {
                let of = self.write(of);
                let id = self
                    .builder
                    .add(kind::ARRAY, "", 0, 0, &[of.id, of.id, *count]);
                plain(id, of.size * count)
            }
            Shape::Alias(of, depth) => {
                let mut of = self.write(of);
                let kinds = [
                    kind::TYPEDEF,
                    kind::CONST,
                    kind::VOLATILE,
                    kind::RESTRICT,
                    kind::TYPE_TAG,
                ];
                for kind in kinds.into_iter().take(usize::from(*depth)) {
                    of.id = self.builder.add(kind, "alias", 0, of.id, &[]);
                }
                of
            }
            Shape::Composite {
                union,
                anonymous,
                members,
            } => {
                let name = if *anonymous { "" } else { "inner" };
                let mut written = self.composite(name, *union, members);
                written.transparent = *anonymous;
                written
            }
        }
    }

    fn composite(&mut self, name: &str, union: bool, members: &[Shape]) -> Written {
        let (mut end, mut largest) = (0_u32, 0_u32);
        let mut inside = vec![];
        let mut raw = vec![];
        for member in members {
            let written = self.write(member);
            // Bit fields sit at the end of their word, so that their offsets are not trivial.
            let lead = written.width.map_or(0, |width| 32 - u32::from(width));
            let begin = if union { 0 } else { end };
            let holds_bits = written.width.is_some() || !written.inside.is_empty();
            let begin = if holds_bits {
                begin.next_multiple_of(4)
            } else {
                begin
            };
            end = begin + written.size;
            largest = largest.max(end);
            self.names += 1;
            let name = if written.transparent {
                String::new()
            } else {
                format!("m{}", self.names)
            };
            let bit_offset = begin * 8 + lead;
            for want in written.inside {
                let path = if name.is_empty() {
                    want.path
                } else {
                    format!("{name}.{}", want.path)
                };
                inside.push(Want {
                    path,
                    bit_offset: want.bit_offset + bit_offset,
                    ..want
                });
            }
            if !name.is_empty() {
                let (path, width) = (name.clone(), written.width);
                inside.push(Want {
                    path,
                    bit_offset,
                    size: written.size,
                    width,
                });
            }
            let place = bits(bit_offset, written.width.map_or(0, u32::from));
            raw.push((name, written.id, place));
        }
        // A multiple of the bit fields' word, so that they stay aligned wherever this is put.
        let size = largest.next_multiple_of(4);
        let raw: Vec<_> = raw
            .iter()
            .map(|(name, id, place)| (name.as_str(), *id, *place))
            .collect();
        let kind = if union { kind::UNION } else { kind::STRUCT };
        let id = self.builder.composite(kind, name, size, &raw);
        self.builder.flag(3 + 3 * raw.len());
        Written {
            id,
            size,
            inside,
            transparent: false,
            width: None,
        }
    }
}

/// The field as the reader should give it: bit fields by the 4-byte word that holds them.
fn field(want: &Want, big_endian: bool) -> Field {
    let Some(width) = want.width else {
        return Field {
            offset: want.bit_offset / 8,
            size: want.size,
            bits: None,
        };
    };
    let before = u8::try_from(want.bit_offset % 32).unwrap();
    let shift = if big_endian {
        32 - before - width
    } else {
        before
    };
    let bits = Some(Bits { shift, width });
    Field {
        offset: want.bit_offset / 32 * 4,
        size: 4,
        bits,
    }
}

proptest! {
    #[test]
    fn random_structs_are_found_back(
        members in prop::collection::vec(shape(), 0..8),
        earlier_types in 0..200_usize,
        big_endian: bool,
    ) {
        let mut writer = Writer { builder: Builder::new(big_endian), names: 0 };
        for _ in 0..earlier_types {
            writer.builder.int(4);
        }
        writer.builder.add(kind::FWD, "outer", 0, 0, &[]);
        let outer = writer.composite("outer", false, &members);
        writer.builder.composite(kind::STRUCT, "outer", 1, &[]);
        let bytes = writer.builder.finish();

        let btf = Btf::parse(&bytes).unwrap();
        prop_assert_eq!(btf.size_of("outer").unwrap(), outer.size);
        for want in &outer.inside {
            let found = btf.field("outer", &want.path).unwrap();
            prop_assert_eq!(found, field(want, big_endian), "{:?}", want);
        }
        prop_assert!(btf.field("outer", "m0").is_err());
    }
}
