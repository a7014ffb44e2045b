//! What differs from kernel to kernel: where fields are, and which hooks there are.

use crate::{
    loader,
    offsets::{ABSENT, Offsets},
    source::StartError,
};

/// Globals of the kernel object, and the fields whose offsets they hold.
const FIELDS: [(&str, &str, &str); 13] = [
    ("TASK_TGID", "task_struct", "tgid"),
    ("SOCKET_SK", "socket", "sk"),
    ("SK_FAMILY", "sock", "__sk_common.skc_family"),
    ("SK_STATE", "sock", "__sk_common.skc_state"),
    ("SK_DADDR", "sock", "__sk_common.skc_daddr"),
    ("SK_RCV_SADDR", "sock", "__sk_common.skc_rcv_saddr"),
    ("SK_TYPE", "sock", "sk_type"),
    ("SK_PROTOCOL", "sock", "sk_protocol"),
    ("SK_ERR", "sock", "sk_err"),
    ("TP_SRTT_US", "tcp_sock", "srtt_us"),
    ("TP_MSTAMP", "tcp_sock", "tcp_mstamp"),
    ("TP_TOTAL_RETRANS", "tcp_sock", "total_retrans"),
    ("TP_SEGS_OUT", "tcp_sock", "segs_out"),
];

/// The same, of what a kernel without IPv6 does not have.
const FIELDS_OF_V6: [(&str, &str, &str); 2] = [
    ("SK_V6_DADDR", "sock", "__sk_common.skc_v6_daddr"),
    ("SK_V6_RCV_SADDR", "sock", "__sk_common.skc_v6_rcv_saddr"),
];

/// Values of the kernel object's globals on this machine.
pub(super) fn globals(offsets: &mut Offsets) -> Result<Vec<(&'static str, Vec<u32>)>, StartError> {
    let mut globals = Vec::new();
    for (name, structure, path) in FIELDS {
        let offset = loader::field(offsets, structure, path)?;
        if offset == ABSENT {
            return Err(StartError::Unsupported(format!(
                "this kernel does not tell where {structure}.{path} is"
            )));
        }
        globals.push((name, vec![offset]));
    }
    for (name, structure, path) in FIELDS_OF_V6 {
        globals.push((name, vec![loader::field(offsets, structure, path)?]));
    }
    Ok(globals)
}

/// Whether this kernel tells of every send and receive; since 6.3.
pub(super) fn tells_of_messages(offsets: &mut Offsets) -> Result<bool, StartError> {
    for tracepoint in ["sock_send_length", "sock_recv_length"] {
        let arguments = offsets.tracepoint_arguments(tracepoint);
        if arguments.map_err(anyhow::Error::new)?.is_none() {
            return Ok(false);
        }
    }
    Ok(true)
}
