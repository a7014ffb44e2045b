//! Ids of TCP connections. Both ends of a connection have the same trace, and know each other's span,
//! without a word between them: see [`monitoring_common::trace::connection`]. Knows no records.

use monitoring_common::trace::connection;

/// What distinguishes the spans of the two ends within their trace.
const CLIENT: u64 = 0x636c_6965_6e74;
const SERVER: u64 = 0x7365_7276_6572;

/// The trace of a connection, by the initial sequence numbers of the side that connected and of the
/// side that accepted. Never 0.
#[must_use]
pub fn trace_id(client_isn: u32, server_isn: u32) -> u128 {
    let [high, low] = connection::trace_id(client_isn, server_isn);
    u128::from(high) << 64 | u128::from(low)
}

/// The span of the end that connected: its trace's root. Never 0.
#[must_use]
pub fn client_span(trace_id: u128) -> u64 {
    span(trace_id, CLIENT)
}

/// The span of the end that accepted, a child of the other one. Never 0.
#[must_use]
pub fn server_span(trace_id: u128) -> u64 {
    span(trace_id, SERVER)
}

#[allow(clippy::cast_possible_truncation, reason = "one half, then the other")]
fn span(trace_id: u128, end: u64) -> u64 {
    let halves = connection::mix((trace_id >> 64) as u64 ^ end) ^ trace_id as u64;
    connection::mix(halves).max(1)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn both_ends_find_the_same_ids_and_different_connections_others() {
        let mut seen = HashSet::new();
        for client in (0..u32::MAX).step_by(20_000_003) {
            for server in [0, 1, client, u32::MAX] {
                let trace = trace_id(client, server);
                assert_eq!(trace, trace_id(client, server));
                assert_ne!(trace, 0);
                let [one, other] = [client_span(trace), server_span(trace)];
                assert!(one != 0 && other != 0 && one != other);
                if seen.insert(trace) {
                    assert!(seen.insert(one.into()) && seen.insert(other.into()));
                }
            }
        }
    }

    /// Worked out by another program, from the words of the documentation.
    #[test]
    fn what_agents_of_different_versions_have_to_agree_on() {
        let trace = trace_id(0x0102_0304, 0xf1f2_f3f4);
        assert_eq!(trace, 0xb03a_c844_70ed_0be1_ef31_fb02_283d_ed04);
        assert_eq!(client_span(trace), 0x1131_0028_6128_fd13);
        assert_eq!(server_span(trace), 0x6eff_77df_f977_9a52);
    }
}
