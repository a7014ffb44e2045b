//! The page at `/debug/pprof/`, for people. It loads nothing and runs nothing.

use monitoring::server::landing;

use super::query::MAX_SECONDS;
use crate::config::MAX_HERTZ;

/// Captures, or why there are none; and what is kept in the history, `None` while it is empty, or
/// why there is none.
pub(super) fn page(no_captures: Option<&str>, kept: Result<Option<String>, &str>) -> String {
    let mut lead = String::from("What the programs of this node do.");
    let mut links = Vec::new();
    if let Some(why) = no_captures {
        lead.push_str(" There are no profiles on demand: ");
        lead.push_str(why);
        lead.push('.');
    } else {
        links.extend([
            ("/flamegraph?seconds=10", "What CPUs do in the next 10 s"),
            (
                "/flamegraph?seconds=10&type=offcpu",
                "Where threads wait, and why",
            ),
            ("/flamegraph?seconds=10&type=memory", "Where memory grows"),
            (
                "/debug/pprof/profile?seconds=10",
                "A file for go tool pprof and others",
            ),
            ("/folded?seconds=10", "Folded stacks, as plain text"),
        ]);
    }
    match kept {
        Ok(Some(windows)) => {
            lead.push_str(" Kept on disk: ");
            lead.push_str(&windows);
            lead.push('.');
            links.extend([
                ("/flamegraph?from=-1h", "The last hour"),
                (
                    "/flamegraph?from=-1h&base_from=-25h&base_to=-24h",
                    "The last hour, compared with the same one yesterday",
                ),
                ("/debug/pprof/profile?from=-1d", "The last day, as a file"),
            ]);
        }
        Ok(None) => lead.push_str(" Nothing is kept on disk yet."),
        Err(why) => {
            lead.push_str(" There is no history: ");
            lead.push_str(why);
            lead.push('.');
        }
    }
    let notes = format!(
        "Parameters: seconds (1 to {MAX_SECONDS}), hz (1 to {MAX_HERTZ}), type (cpu, offcpu, \
         memory), pid or agent for a part of the node, value for another of the values; from and \
         to for what was, base_from and base_to for what it is compared with, as \
         2026-01-31T03:12:00Z, as seconds since 1970, or as -1h."
    );
    landing::document("monitoring-agent", "profiles", &lead, &links, &notes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_there_is_and_what_not() {
        let check = |page: &str, wants: &[&str], not: &[&str]| {
            for want in wants {
                assert!(page.contains(want), "{want}: {page}");
            }
            for foreign in ["http:", "https:", "src=", "<script", "url("]
                .iter()
                .chain(not)
            {
                assert!(!page.contains(foreign), "{foreign}: {page}");
            }
        };
        let (live, past) = ("href=\"/flamegraph?seconds=10\"", "?from=-1h");
        check(
            &page(None, Ok(Some("3 windows, a/b".to_owned()))),
            &[live, past, "3 windows, a/b", "&amp;type=offcpu"],
            &[],
        );
        check(&page(None, Ok(None)), &[live, "Nothing is kept"], &[past]);
        check(
            &page(Some("a <b>"), Err("c")),
            &["on demand: a &lt;b>.", "no history: c."],
            &[live, past],
        );
    }
}
