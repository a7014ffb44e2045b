//! The form of pages for people. They load nothing and run nothing.

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

/// A page of links. Everything that is handed over is plain text.
pub fn document(
    title: &str,
    about: &str,
    lead: &str,
    links: &[(&str, &str)],
    notes: &str,
) -> String {
    let title = escape(title);
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{title}</title>\n<style>{STYLE}</style>\n\
         <h1>{title} <small>{}</small></h1>\n\
         <p>{}</p>\n\
         <ul>\n",
        escape(about),
        escape(lead),
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
    page.push_str("</ul>\n");
    if !notes.is_empty() {
        page.push_str("<p>");
        page.push_str(&escape(notes));
        page.push_str("</p>\n");
    }
    page.push_str("</html>\n");
    page
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('"', "&quot;")
}
