//! The kernel's type information as `bpftool` reads it is what the agent reads.

use std::{
    collections::{BTreeMap, HashSet},
    process::Command,
    sync::LazyLock,
};

use monitoring_agent::btf::{Btf, BtfError, Field};
use serde::Deserialize;

const KERNEL_BTF: &str = "/sys/kernel/btf/vmlinux";

#[derive(Deserialize)]
struct Dump {
    types: Vec<Type>,
}

/// A type as bpftool tells it; each kind has some of these.
#[derive(Deserialize)]
struct Type {
    id: u32,
    kind: String,
    name: String,
    #[serde(default)]
    encoding: String,
    #[serde(default)]
    size: u32,
    #[serde(default, rename = "type_id")]
    target: u32,
    #[serde(default)]
    nr_elems: u32,
    #[serde(default)]
    members: Vec<Member>,
    #[serde(default)]
    values: Vec<Value>,
}

#[derive(Deserialize)]
struct Member {
    name: String,
    type_id: u32,
    bits_offset: u32,
    #[serde(default)]
    bitfield_size: u8,
}

#[derive(Deserialize)]
struct Value {
    name: String,
    val: i128,
}

impl Dump {
    fn of_kernel() -> &'static Self {
        static DUMP: LazyLock<Dump> = LazyLock::new(Dump::take);
        &DUMP
    }

    fn take() -> Self {
        let arguments = ["-j", "btf", "dump", "file", KERNEL_BTF, "format", "raw"];
        let output = Command::new("bpftool").args(arguments).output();
        let output = output.expect("bpftool is missing: run `cargo xtask setup`");
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "bpftool failed: {complaint}");
        serde_json::from_slice(&output.stdout).expect("bpftool writes JSON")
    }

    /// Types are numbered from 1, without gaps.
    fn get(&self, id: u32) -> &Type {
        let found = &self.types[id as usize - 1];
        assert_eq!(found.id, id);
        found
    }

    fn resolve(&self, id: u32) -> &Type {
        let found = self.get(id);
        let is_alias = ["TYPEDEF", "CONST", "VOLATILE", "RESTRICT", "TYPE_TAG"];
        if is_alias.contains(&found.kind.as_str()) {
            self.resolve(found.target)
        } else {
            found
        }
    }

    fn bytes_of(&self, id: u32) -> u32 {
        let found = self.resolve(id);
        match found.kind.as_str() {
            "PTR" => 8,
            "ARRAY" => found.nr_elems * self.bytes_of(found.target),
            _ => found.size,
        }
    }

    /// The members that C code can name, with those of anonymous members.
    fn members<'a>(&'a self, of: &'a Type, begin: u32, found: &mut Vec<Expected<'a>>) {
        for member in &of.members {
            let bit_offset = begin + member.bits_offset;
            if member.name == "(anon)" {
                self.members(self.resolve(member.type_id), bit_offset, found);
            } else {
                found.push(Expected { member, bit_offset });
            }
        }
    }
}

/// A member, and where it is in the struct that it counts as a member of.
struct Expected<'a> {
    member: &'a Member,
    bit_offset: u32,
}

impl Type {
    fn is_composite(&self) -> bool {
        self.kind == "STRUCT" || self.kind == "UNION"
    }

    fn c_name(&self) -> &str {
        if self.name == "(anon)" {
            ""
        } else {
            &self.name
        }
    }
}

/// The first bit that a field occupies, and the number of bits if it is a bit field.
fn bits_of(field: Field) -> (u32, u8) {
    let Some(bits) = field.bits else {
        return (field.offset * 8, 0);
    };
    let shift = u32::from(bits.shift);
    let before = if cfg!(target_endian = "little") {
        shift
    } else {
        field.size * 8 - shift - u32::from(bits.width)
    };
    (field.offset * 8 + before, bits.width)
}

#[test]
fn every_member_of_every_struct() {
    let dump = Dump::of_kernel();
    let btf = Btf::from_kernel().expect("the kernel's BTF");
    let composites: Vec<_> = dump
        .types
        .iter()
        .filter(|found| found.is_composite())
        .collect();
    assert_eq!(btf.structs().count(), composites.len());
    let mut compared = 0;
    for (own, theirs) in btf.structs().zip(composites) {
        let name = own.name().expect("a name");
        assert_eq!(
            (own.id(), name, own.size()),
            (theirs.id, theirs.c_name(), theirs.size)
        );
        let mut expected = vec![];
        dump.members(theirs, 0, &mut expected);
        for Expected { member, bit_offset } in expected {
            let path = format!("{name}.{}", member.name);
            let field = own
                .field(&member.name)
                .unwrap_or_else(|error| panic!("{path}: {error}"));
            assert_eq!(bits_of(field), (bit_offset, member.bitfield_size), "{path}");
            if field.bits.is_none() {
                assert_eq!(field.size, dump.bytes_of(member.type_id), "{path}");
            }
            compared += 1;
        }
    }
    assert!(
        compared > 10_000,
        "a kernel with only {compared} members of structs"
    );
}

/// By name and by paths into nested structs; asked as the loader asks.
#[test]
fn paths_from_the_name_on() {
    let dump = Dump::of_kernel();
    let btf = Btf::from_kernel().expect("the kernel's BTF");
    let mut seen = HashSet::new();
    let mut compared = 0;
    // The first of each name, also where there are several, and of all these one in 100.
    let first = dump
        .types
        .iter()
        .filter(|found| found.is_composite() && seen.insert(&found.name));
    for theirs in first.filter(|found| found.name == "task_struct" || found.id % 100 == 0) {
        if theirs.name == "(anon)" {
            continue;
        }
        assert_eq!(btf.size_of(&theirs.name).expect("a struct"), theirs.size);
        let mut outer = vec![];
        dump.members(theirs, 0, &mut outer);
        for Expected { member, bit_offset } in outer {
            let inner = dump.resolve(member.type_id);
            let mut within = vec![];
            if inner.is_composite() {
                dump.members(inner, bit_offset, &mut within);
            }
            for leaf in within.iter().take(3) {
                let path = format!("{}.{}", member.name, leaf.member.name);
                let field = btf.field(&theirs.name, &path).expect(&path);
                assert_eq!(bits_of(field).0, leaf.bit_offset, "{}.{path}", theirs.name);
                compared += 1;
            }
        }
    }
    assert!(compared > 50, "only {compared} paths compared");
}

#[test]
fn several_structs_of_one_name() {
    let dump = Dump::of_kernel();
    let btf = Btf::from_kernel().expect("the kernel's BTF");
    let mut by_name: BTreeMap<&str, Vec<&Type>> = BTreeMap::new();
    for found in dump
        .types
        .iter()
        .filter(|found| found.is_composite() && found.name != "(anon)")
    {
        by_name.entry(&found.name).or_default().push(found);
    }
    for (name, same) in by_name.iter().filter(|(_, same)| same.len() > 1) {
        assert_eq!(btf.size_of(name).expect(name), same[0].size, "{name}");
    }
    let forward = dump
        .types
        .iter()
        .find(|found| found.kind == "FWD" && !by_name.contains_key(found.name.as_str()));
    let forward = forward.expect("kernels have opaque types");
    assert!(
        matches!(btf.size_of(&forward.name), Err(BtfError::NoType { .. })),
        "{}",
        forward.name
    );
}

#[test]
fn enumerators() {
    let dump = Dump::of_kernel();
    let btf = Btf::from_kernel().expect("the kernel's BTF");
    let mut seen = HashSet::new();
    let mut compared = 0;
    for theirs in dump
        .types
        .iter()
        .filter(|found| found.kind == "ENUM" || found.kind == "ENUM64")
    {
        let is_first =
            theirs.name == "(anon)" || theirs.values.is_empty() || !seen.insert(&theirs.name);
        if is_first || theirs.id % 10 != 0 {
            continue;
        }
        for value in theirs.values.iter().take(3) {
            let own = btf
                .enum_value(&theirs.name, &value.name)
                .expect(&theirs.name);
            // Some versions of bpftool print unsigned values of 32 bits as if they were signed.
            let bits = if theirs.kind == "ENUM" { 32 } else { 64 };
            let mask = (1_i128 << bits) - 1;
            assert_eq!(i128::from(own) & mask, value.val & mask, "{}", value.name);
            assert!(
                own >= 0 || theirs.encoding == "SIGNED" || bits == 64,
                "{}",
                value.name
            );
            compared += 1;
        }
    }
    assert!(compared > 20, "only {compared} enumerators compared");
}
