//! What differs from kernel to kernel: where fields are, and which hooks there are.

use crate::{
    loader,
    offsets::{ABSENT, Offsets},
    source::StartError,
};

/// Globals of the kernel object, and the fields whose offsets they hold.
const FIELDS: [(&str, &str, &str); 22] = [
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
    ("SK_DPORT", "sock", "__sk_common.skc_dport"),
    ("SK_FLAGS", "sock", "__sk_common.skc_flags"),
    ("TP_SND_UNA", "tcp_sock", "snd_una"),
    ("TP_RCV_NXT", "tcp_sock", "rcv_nxt"),
    ("TP_BYTES_ACKED", "tcp_sock", "bytes_acked"),
    ("TP_BYTES_RECEIVED", "tcp_sock", "bytes_received"),
    ("TP_BYTES_SENT", "tcp_sock", "bytes_sent"),
    ("TP_BYTES_RETRANS", "tcp_sock", "bytes_retrans"),
    ("TP_SPORT", "tcp_sock", "inet_conn.icsk_inet.inet_sport"),
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
    globals.push(("DONE_MASK", vec![done_mask(offsets)?]));
    Ok(globals)
}

/// The bit of `sk_flags` by which the kernel notes that the other side sends nothing more.
fn done_mask(offsets: &mut Offsets) -> Result<u32, StartError> {
    let bit = offsets.enum_value("sock_flags", "SOCK_DONE");
    let bit = bit.map_err(anyhow::Error::new)?;
    // Without it the end counts as a byte received, and nothing else is wrong.
    Ok(bit.map_or(0, |bit| 1 << (bit & 31)))
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
