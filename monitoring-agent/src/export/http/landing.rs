//! The page at `/`, for people. It loads nothing and runs nothing.

use super::answer::JSON_PATH;

const STYLE: &str = "\
:root{color-scheme:light dark;--line:#8884;--accent:#2563eb}\
@media(prefers-color-scheme:dark){:root{--accent:#8ab4f8}}\
body{font:16px/1.5 system-ui,sans-serif;max-width:40rem;margin:12vh auto;padding:0 1.5rem}\
h1{font-size:1.4rem;margin:0}small{opacity:.65;font-weight:400}\
p{margin:.3rem 0 2rem;opacity:.8}\
ul{list-style:none;margin:0;padding:0;border:1px solid var(--line);border-radius:.6rem}\
li+li{border-top:1px solid var(--line)}\
a{display:flex;flex-wrap:wrap;gap:0 1rem;padding:.7rem 1rem;color:inherit;text-decoration:none}\
a:hover code,a:focus code{text-decoration:underline}\
code{color:var(--accent);min-width:9rem;font:600 .95rem ui-monospace,monospace}";

/// The page, with a link to each path.
pub(super) fn page(metrics_path: &str) -> String {
    let links = [
        (metrics_path, "Metrics in the text format of Prometheus"),
        (JSON_PATH, "The same metrics as JSON"),
        ("/healthz", "Whether the agent runs"),
        ("/readyz", "Whether its first numbers are there"),
    ];
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>monitoring-agent</title>\n<style>{STYLE}</style>\n\
         <h1>monitoring-agent <small>{}</small></h1>\n\
         <p>Observes this node: the host, its processes and their system calls.</p>\n\
         <ul>\n",
        env!("CARGO_PKG_VERSION"),
    );
    for (path, text) in links {
        let path = escape(path);
        page.push_str("<li><a href=\"");
        page.push_str(&path);
        page.push_str("\"><code>");
        page.push_str(&path);
        page.push_str("</code> ");
        page.push_str(text);
        page.push_str("</a>\n");
    }
    page.push_str("</ul>\n</html>\n");
    page
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('"', "&quot;")
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
        for path in ["/metrics.json", "/healthz", "/readyz"] {
            assert!(page.contains(&format!("href=\"{path}\"")), "{page}");
        }
        assert!(page.contains(env!("CARGO_PKG_VERSION")));
        for foreign in ["http:", "https:", "src=", "<script", "url("] {
            assert!(!page.contains(foreign), "{foreign}");
        }
    }
}
