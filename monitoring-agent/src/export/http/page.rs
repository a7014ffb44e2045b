//! The page at `/`, for people: the node live, from `/metrics`, and flame graphs, from profiles.
//!
//! Owns its bytes and headers. Everything that it shows is fetched and drawn in the browser, by what
//! lies in the folder beside this file; nothing is loaded from anywhere else.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use hyper::{
    HeaderMap, Request, Response, StatusCode,
    body::Incoming,
    header::{self, HeaderValue},
};
use monitoring::server::{
    answer::{HTML, Pieces, page},
    negotiate::wants_gzip,
    rendered::Shared,
};
use ring::digest;

use super::{answer::JSON_PATH, profiles::INDEX_PATH};

const DOCUMENT: &str = include_str!("page/page.html");

const STYLE: &str = concat!(
    include_str!("page/page.css"),
    include_str!("page/parts.css"),
    include_str!("page/flame.css"),
);

/// What the browser runs, as one module: each file is a purpose, and uses those before it.
const SCRIPT: &str = concat!(
    include_str!("page/parse.js"),
    include_str!("page/rates.js"),
    include_str!("page/format.js"),
    include_str!("page/dom.js"),
    include_str!("page/health.js"),
    include_str!("page/node.js"),
    include_str!("page/agents.js"),
    include_str!("page/gpus.js"),
    include_str!("page/kernels.js"),
    include_str!("page/latencies.js"),
    include_str!("page/sources.js"),
    include_str!("page/stacks.js"),
    include_str!("page/flame.js"),
    include_str!("page/profiles.js"),
    include_str!("page/poll.js"),
);

/// The page, ready to be sent.
pub(super) struct Page {
    html: Shared,
    policy: HeaderValue,
    tag: HeaderValue,
}

impl Page {
    /// The page of a server that has its metrics at this path.
    pub(super) fn new(metrics_path: &str) -> Self {
        let html = document(metrics_path);
        let policy = format!(
            "default-src 'none'; script-src '{}'; style-src '{}'; connect-src 'self'; \
             img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
            fingerprint(SCRIPT),
            fingerprint(STYLE)
        );
        // Weak, because the same page may be sent with or without compression.
        let tag = format!("W/\"{}\"", fingerprint(&html));
        Self {
            html: Shared::new(html.into_bytes()),
            policy: visible(policy),
            tag: visible(tag),
        }
    }

    /// The page, or that the browser has it already.
    pub(super) fn answer(&self, request: &Request<Incoming>) -> Response<Pieces> {
        let asked = request.headers();
        let values = |name| asked.get_all(name).into_iter().map(HeaderValue::as_bytes);
        let gzip = wants_gzip(values(header::ACCEPT_ENCODING));
        let mut response = if self.is_known(asked) {
            page(StatusCode::NOT_MODIFIED, HTML, Pieces::from(Bytes::new()))
        } else {
            let pieces = if gzip {
                self.html.gzip(&[])
            } else {
                self.html.identity(Vec::new())
            };
            page(StatusCode::OK, HTML, Pieces::from(pieces))
        };
        if gzip && response.status() == StatusCode::OK {
            let gzip = HeaderValue::from_static("gzip");
            response
                .headers_mut()
                .insert(header::CONTENT_ENCODING, gzip);
        }
        self.describe(response.headers_mut());
        response
    }

    /// Whether one of the tags that a browser has is this page's. Strength does not matter here:
    /// RFC 9110, section 13.1.2.
    fn is_known(&self, asked: &HeaderMap) -> bool {
        let ours = opaque(self.tag.as_bytes());
        asked
            .get_all(header::IF_NONE_MATCH)
            .into_iter()
            .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
            .map(<[u8]>::trim_ascii)
            .any(|tag| tag == b"*" || opaque(tag) == ours)
    }

    fn describe(&self, headers: &mut HeaderMap) {
        let fixed = HeaderValue::from_static;
        for (name, value) in [
            (header::CONTENT_SECURITY_POLICY, self.policy.clone()),
            (header::ETAG, self.tag.clone()),
            // A later agent may have another page at the same address.
            (header::CACHE_CONTROL, fixed("no-cache")),
            (header::VARY, fixed("Accept-Encoding")),
            (header::REFERRER_POLICY, fixed("no-referrer")),
        ] {
            headers.insert(name, value);
        }
    }
}

fn document(metrics_path: &str) -> String {
    // What is put in last is foreign, so that nothing in it is taken for a place to fill.
    DOCUMENT
        .replace("{{style}}", STYLE)
        .replace("{{script}}", SCRIPT)
        .replace("{{version}}", env!("CARGO_PKG_VERSION"))
        .replace("{{json}}", JSON_PATH)
        .replace("{{profiles}}", INDEX_PATH)
        .replace("{{metrics}}", &escape(metrics_path))
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('"', "&quot;")
}

/// By which a policy names a script or a style that is in the page.
fn fingerprint(text: &str) -> String {
    let hash = digest::digest(&digest::SHA256, text.as_bytes());
    format!("sha256-{}", BASE64_STANDARD.encode(hash))
}

/// A tag without what says that it is weak.
fn opaque(tag: &[u8]) -> &[u8] {
    tag.strip_prefix(b"W/").unwrap_or(tag)
}

fn visible(text: String) -> HeaderValue {
    HeaderValue::try_from(text).expect("it is made of visible ASCII")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_to_every_path_and_loads_nothing() {
        let page = document("/a?b=\"<script>&");
        for link in [
            "href=\"/a?b=&quot;&lt;script>&amp;\"",
            "href=\"/metrics.json\"",
            "href=\"/healthz\"",
            "href=\"/readyz\"",
            "href=\"/debug/pprof/\"",
        ] {
            assert!(page.contains(link), "{link}");
        }
        assert!(page.contains(env!("CARGO_PKG_VERSION")));
        let icon = "http://www.w3.org/2000/svg";
        let page = page.replace(icon, "");
        for foreign in ["http:", "https:", " src=", "url(", "@import", "{{"] {
            assert!(!page.contains(foreign), "{foreign}");
        }
    }

    #[test]
    fn texts_of_others_are_never_markup() {
        for way in [
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
            "Function(",
            "createContextualFragment",
            "setHTMLUnsafe",
        ] {
            assert!(!SCRIPT.contains(way), "{way}");
        }
    }

    #[test]
    fn is_small() {
        let page = document("/metrics");
        assert!(page.len() < 96 << 10, "{} bytes", page.len());
        let sent: usize = Page::new("/metrics")
            .html
            .gzip(&[])
            .iter()
            .map(Bytes::len)
            .sum();
        assert!(sent < 40 << 10, "{sent} bytes compressed");
    }

    #[test]
    fn the_policy_names_what_is_in_the_page() {
        let page = document("/metrics");
        for (begin, end, text) in [
            ("<style>", "</style>", STYLE),
            ("<script type=\"module\">", "</script>", SCRIPT),
        ] {
            let (_, rest) = page.split_once(begin).unwrap();
            let (inside, rest) = rest.split_once(end).unwrap();
            assert_eq!(inside, text);
            assert!(!rest.contains(begin));
            // Otherwise browsers would see another text than the one that was hashed.
            assert!(!text.contains('\r'));
        }
        // The example of the specification, Content Security Policy Level 3, section 8.4.
        assert_eq!(
            fingerprint("alert('Hello, world.');"),
            "sha256-qznLcsROx4GACP2dm0UCKCzCG+HiZ1guq6ZZDob/Tng="
        );
    }
}
