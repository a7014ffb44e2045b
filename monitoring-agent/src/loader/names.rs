//! The types that programs attach to by name, in the form that aya asks for.
//!
//! aya looks a name's number up in type information of its own, which for a whole kernel is 20 MB
//! of small objects on the heap. What it really needs is one name at one number, so it gets just
//! that: as many nameless types as there are numbers, and the wanted names in their places.

use anyhow::Context as _;
use aya::{Btf, Endianness};

use super::Attach;
use crate::{btf::Named, offsets::Offsets};

/// `BTF_KIND_FWD`: the shortest type there is. See <https://docs.kernel.org/bpf/btf.html>.
const NAMELESS: u32 = 7 << 24;

const HEADER_BYTES: u32 = 24;

/// Type information in which the attach points of these programs have their numbers in this
/// kernel. Those that the kernel does not have are absent.
pub(super) fn of_programs(programs: &[Attach], offsets: &mut Offsets) -> anyhow::Result<Btf> {
    let mut wanted = Vec::new();
    for attach in programs {
        let (kind, name) = match attach {
            Attach::BtfTracepoint(_, name) => (Named::Typedef, format!("btf_trace_{name}")),
            Attach::Iterator(_, name) => (Named::Function, format!("bpf_iter_{name}")),
            Attach::RawTracepoint(..) | Attach::Cgroup(_) | Attach::PerfEvent(_) => continue,
        };
        let number = offsets.number_of(kind, &name);
        if let Some(number) = number.with_context(|| format!("find {name} in this kernel"))? {
            wanted.push((number, kind, name));
        }
    }
    Btf::parse(&image(&wanted), Endianness::default()).context("name the attach points for aya")
}

fn image(wanted: &[(u32, Named, String)]) -> Vec<u8> {
    let last = wanted.iter().map(|(number, ..)| *number).max().unwrap_or(0);
    let mut strings = vec![0];
    let mut types = Vec::new();
    for number in 1..=last {
        let named = wanted.iter().find(|(wanted, ..)| *wanted == number);
        let (name, info) = named.map_or((0, NAMELESS), |(_, kind, name)| {
            let at = u32::try_from(strings.len()).expect("a few names");
            strings.extend(name.bytes().chain([0]));
            (at, kind.kind() << 24)
        });
        types.extend([name, info, 0].into_iter().flat_map(u32::to_ne_bytes));
    }
    let bytes_of = |section: &[u8]| u32::try_from(section.len()).expect("a kernel's types fit");
    let header = [
        // Magic number, version, and no flags.
        0x0001_eb9f_u32,
        HEADER_BYTES,
        0,
        bytes_of(&types),
        bytes_of(&types),
        bytes_of(&strings),
    ];
    let header = header.into_iter().flat_map(u32::to_ne_bytes);
    header.chain(types).chain(strings).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_at_their_numbers() {
        let wanted = [
            (7, Named::Typedef, "btf_trace_x".to_owned()),
            (3, Named::Function, "bpf_iter_y".to_owned()),
        ];
        let raw = crate::btf::Btf::parse(image(&wanted)).unwrap();
        for (number, kind, name) in &wanted {
            assert_eq!(raw.number_of(*kind, name).unwrap(), Some(*number), "{name}");
        }
        assert_eq!(raw.number_of(Named::Typedef, "bpf_iter_y").unwrap(), None);
        assert!(Btf::parse(&image(&wanted), Endianness::default()).is_ok());
        assert!(Btf::parse(&image(&[]), Endianness::default()).is_ok());
    }
}
