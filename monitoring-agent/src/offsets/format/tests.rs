//! Formats as kernels of several versions give them.

use proptest::prelude::*;

use super::*;

/// Ubuntu 22.04, kernel 5.15: names of fixed length, and characters are signed.
const FORK_5_15: &str = "name: sched_process_fork
ID: 312
format:
\tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;
\tfield:unsigned char common_flags;\toffset:2;\tsize:1;\tsigned:0;
\tfield:unsigned char common_preempt_count;\toffset:3;\tsize:1;\tsigned:0;
\tfield:int common_pid;\toffset:4;\tsize:4;\tsigned:1;

\tfield:char parent_comm[16];\toffset:8;\tsize:16;\tsigned:1;
\tfield:pid_t parent_pid;\toffset:24;\tsize:4;\tsigned:1;
\tfield:char child_comm[16];\toffset:28;\tsize:16;\tsigned:1;
\tfield:pid_t child_pid;\toffset:44;\tsize:4;\tsigned:1;

print fmt: \"comm=%s pid=%d child_comm=%s child_pid=%d\", REC->parent_comm, REC->parent_pid, \
REC->child_comm, REC->child_pid
";

/// The style of 5.17 to 6.2, 6.1 among them: the length by its name.
const SWITCH_6_1: &str = "name: sched_switch
ID: 315
format:
\tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;
\tfield:unsigned char common_flags;\toffset:2;\tsize:1;\tsigned:0;
\tfield:unsigned char common_preempt_count;\toffset:3;\tsize:1;\tsigned:0;
\tfield:int common_pid;\toffset:4;\tsize:4;\tsigned:1;

\tfield:char prev_comm[TASK_COMM_LEN];\toffset:8;\tsize:16;\tsigned:0;
\tfield:pid_t prev_pid;\toffset:24;\tsize:4;\tsigned:1;
\tfield:int prev_prio;\toffset:28;\tsize:4;\tsigned:1;
\tfield:long prev_state;\toffset:32;\tsize:8;\tsigned:1;
\tfield:char next_comm[TASK_COMM_LEN];\toffset:40;\tsize:16;\tsigned:0;
\tfield:pid_t next_pid;\toffset:56;\tsize:4;\tsigned:1;
\tfield:int next_prio;\toffset:60;\tsize:4;\tsigned:1;

print fmt: \"prev_comm=%s field:int fake;\"
";

/// Since 6.16 names lie behind the record, so that the offsets after them moved.
const FORK_6_18: &str = "name: sched_process_fork
ID: 366
format:
\tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;
\tfield:unsigned char common_flags;\toffset:2;\tsize:1;\tsigned:0;
\tfield:unsigned char common_preempt_count;\toffset:3;\tsize:1;\tsigned:0;
\tfield:int common_pid;\toffset:4;\tsize:4;\tsigned:1;

\tfield:__data_loc char[] parent_comm;\toffset:8;\tsize:4;\tsigned:0;
\tfield:pid_t parent_pid;\toffset:12;\tsize:4;\tsigned:1;
\tfield:__data_loc char[] child_comm;\toffset:16;\tsize:4;\tsigned:0;
\tfield:pid_t child_pid;\toffset:20;\tsize:4;\tsigned:1;

print fmt: \"comm=%s pid=%d child_comm=%s child_pid=%d\", __get_str(parent_comm)
";

fn field(name: &str, offset: u32, size: u32, signed: bool) -> FormatField {
    FormatField {
        name: name.to_owned(),
        offset,
        size,
        signed,
        location: Location::Inline,
        array_len: None,
    }
}

#[test]
fn the_same_tracepoint_on_several_kernels() {
    let check = |text: &str, want: FormatField| {
        let format = TracepointFormat::parse(text).unwrap();
        assert_eq!(format.field(&want.name), Some(&want));
    };
    let array = |name, offset, size, signed, len| FormatField {
        array_len: Some(len),
        ..field(name, offset, size, signed)
    };
    let behind = |name, offset| FormatField {
        location: Location::FromRecord,
        ..field(name, offset, 4, false)
    };
    check(FORK_5_15, array("parent_comm", 8, 16, true, 16));
    check(FORK_5_15, field("child_pid", 44, 4, true));
    check(SWITCH_6_1, array("prev_comm", 8, 16, false, 16));
    check(SWITCH_6_1, field("prev_state", 32, 8, true));
    check(SWITCH_6_1, field("common_type", 0, 2, false));
    check(FORK_6_18, behind("parent_comm", 8));
    check(FORK_6_18, behind("child_comm", 16));
    check(FORK_6_18, field("child_pid", 20, 4, true));
}

#[test]
fn all_fields_and_no_others() {
    let check = |text: &str, want: &[&str]| {
        let format = TracepointFormat::parse(text).unwrap();
        let names: Vec<_> = format
            .fields
            .iter()
            .map(|field| field.name.as_str())
            .collect();
        assert_eq!(
            names[..4],
            [
                "common_type",
                "common_flags",
                "common_preempt_count",
                "common_pid"
            ]
        );
        assert_eq!(names[4..], *want);
        assert_eq!(format.field("fake"), None);
    };
    check(
        FORK_5_15,
        &["parent_comm", "parent_pid", "child_comm", "child_pid"],
    );
    check(
        FORK_6_18,
        &["parent_comm", "parent_pid", "child_comm", "child_pid"],
    );
    check(
        SWITCH_6_1,
        &[
            "prev_comm",
            "prev_pid",
            "prev_prio",
            "prev_state",
            "next_comm",
            "next_pid",
            "next_prio",
        ],
    );
}

#[test]
fn declarations() {
    let check = |declaration: &str, name: &str, location: Location, array_len: Option<u32>| {
        let line = format!("{declaration};\toffset:8;\tsize:48;\tsigned:0;");
        let want = FormatField {
            location,
            array_len,
            ..field(name, 8, 48, false)
        };
        assert_eq!(FormatField::parse(&line), Ok(want), "{declaration}");
    };
    check("unsigned long args[6]", "args", Location::Inline, Some(6));
    check("const void * skbaddr", "skbaddr", Location::Inline, None);
    check("const char *name", "name", Location::Inline, None);
    check("struct list_head list", "list", Location::Inline, None);
    check("__u8 saddr_v6[16]", "saddr_v6", Location::Inline, Some(16));
    check(
        "unsigned char hash[HASH_LEN]",
        "hash",
        Location::Inline,
        Some(48),
    );
    check("u64 counts[COUNTS]", "counts", Location::Inline, None);
    check("enum { A, B } which", "which", Location::Inline, None);
    check(
        "__data_loc char[] filename",
        "filename",
        Location::FromRecord,
        None,
    );
    check(
        "__data_loc unsigned long[] mask",
        "mask",
        Location::FromRecord,
        None,
    );
    check("__rel_loc char text[]", "text", Location::FromField, None);
    check(
        "__rel_loc unsigned long bitmask[]",
        "bitmask",
        Location::FromField,
        None,
    );
    check("__data_location_t place", "place", Location::Inline, None);
}

#[test]
fn attributes() {
    let check = |line: &str, want: Result<(u32, u32, bool), &'static str>| {
        let parsed = FormatField::parse(line).map(|field| (field.offset, field.size, field.signed));
        assert_eq!(parsed, want, "{line}");
    };
    check("int a;\toffset:8;\tsize:4;\tsigned:1;", Ok((8, 4, true)));
    check("int a; offset:8; size:4; signed:0;", Ok((8, 4, false)));
    check(
        "int a;\tcolour:blue;\tsigned:0;\tsize:4;\toffset:8;",
        Ok((8, 4, false)),
    );
    check("int a", Err("a declaration without end"));
    check(
        "int a;\tsize:4;\tsigned:1;",
        Err("a field without an offset"),
    );
    check(
        "int a;\toffset:-8;\tsize:4;\tsigned:1;",
        Err("a field without an offset"),
    );
    check(
        "int a;\toffset:4294967296;\tsize:4;\tsigned:1;",
        Err("a field without an offset"),
    );
    check(
        "int a;\toffset:8;\tsigned:1;",
        Err("a field without a size"),
    );
    check(
        "int a;\toffset:8;\tsize:4;",
        Err("a field without signedness"),
    );
    check(
        ";\toffset:8;\tsize:4;\tsigned:1;",
        Err("a field without a name"),
    );
    check(
        "int *;\toffset:8;\tsize:4;\tsigned:1;",
        Err("a field without a name"),
    );
}

#[test]
fn errors_name_the_line() {
    let check = |text: &str, want: &str| {
        assert_eq!(TracepointFormat::parse(text).unwrap_err().to_string(), want);
    };
    check("", "malformed tracepoint format in line 1: no fields");
    check(
        "print fmt: \"\"\n\tfield:int a;\toffset:0;\tsize:4;\tsigned:1;\n",
        "malformed tracepoint format in line 1: no fields",
    );
    let broken = FORK_6_18.replace("offset:12", "offset:?");
    check(
        &broken,
        "malformed tracepoint format in line 10: a field without an offset",
    );
}

proptest! {
    #[test]
    fn arbitrary_text_does_no_harm(
        text in "(\tfield:|[a-z\\[\\]*_ ]{0,9}|;\toffset:|[0-9]{1,11}|;|:|\n|é)*",
    ) {
        let _ = TracepointFormat::parse(&text);
    }

    #[test]
    fn what_is_written_is_read(
        of_type in "(const |unsigned )?[a-z_][a-z0-9_]{0,9}( \\*)?",
        name in "[a-z_][a-z0-9_]{0,20}",
        array_len in prop::option::of(1..100_u32),
        offset: u32,
        size: u32,
        signed: bool,
    ) {
        let length = array_len.map_or(String::new(), |length| format!("[{length}]"));
        let text = format!(
            "\tfield:{of_type} {name}{length};\toffset:{offset};\tsize:{size};\tsigned:{};\n",
            u8::from(signed),
        );
        let want = FormatField { array_len, ..field(&name, offset, size, signed) };
        prop_assert_eq!(TracepointFormat::parse(&text).unwrap().fields, [want]);
    }
}
