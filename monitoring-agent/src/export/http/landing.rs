//! The page at `/`, for people.

use monitoring::server::landing;

use super::{answer::JSON_PATH, profiles::INDEX_PATH};

/// The page, with a link to each path.
pub(super) fn page(metrics_path: &str) -> String {
    let links = [
        (metrics_path, "Metrics, for Prometheus"),
        (JSON_PATH, "The same metrics as JSON"),
        ("/healthz", "Whether the agent runs"),
        ("/readyz", "Whether its first numbers are there"),
        (INDEX_PATH, "Profiles: what the node's programs do"),
    ];
    let lead = "Observes this node: the host, its processes and their system calls.";
    document(env!("CARGO_PKG_VERSION"), lead, &links, "")
}

/// A page of links. Everything that is handed over is plain text.
pub(super) fn document(about: &str, lead: &str, links: &[(&str, &str)], notes: &str) -> String {
    landing::document("monitoring-agent", about, lead, links, notes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_to_every_path_and_loads_nothing() {
        let page = page("/a?b=\"<script>&");
        assert!(
            page.contains("href=\"/a?b=&quot;&lt;script>&amp;\""),
            "{page}"
        );
        for path in ["/metrics.json", "/healthz", "/readyz", "/debug/pprof/"] {
            assert!(page.contains(&format!("href=\"{path}\"")), "{page}");
        }
        assert!(page.contains(env!("CARGO_PKG_VERSION")));
        for foreign in ["http:", "https:", "src=", "<script", "url("] {
            assert!(!page.contains(foreign), "{foreign}");
        }
    }
}
