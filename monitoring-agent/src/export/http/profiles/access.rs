//! Who may have profiles: they tell what a node runs, its programs' names and functions.
//!
//! Looks at addresses and at the name under which the agent was asked; knows no paths.

use std::net::{IpAddr, SocketAddr};

use hyper::{
    HeaderMap, Uri,
    header::{HOST, HeaderValue},
    http::uri::Authority,
};

use crate::config::ProfileAccess;

/// Why a request gets nothing, for people; `None` if it may have profiles.
pub(super) fn refusal(
    access: ProfileAccess,
    peer: Option<SocketAddr>,
    uri: &Uri,
    headers: &HeaderMap,
) -> Option<&'static str> {
    match access {
        ProfileAccess::Off => {
            Some("profiles are not served: sources.profile.access is \"off\" in the configuration")
        }
        ProfileAccess::Loopback if !peer.is_some_and(|peer| is_loopback(peer.ip())) => Some(
            "profiles are served to requests from this machine only, because they tell what it \
             runs: ask on the node itself, or through a tunnel (ssh -L 9090:localhost:9090 NODE). \
             sources.profile.access = \"everywhere\" in the configuration serves them to all",
        ),
        ProfileAccess::Loopback if !is_asked_locally(uri, headers) => Some(
            "profiles are served under the names localhost, 127.0.0.1 and [::1] only: otherwise a \
             page on the web could have a browser on this machine fetch them, under a name of its \
             own that stands for this address. Ask http://localhost, or set \
             sources.profile.access = \"everywhere\" in the configuration",
        ),
        ProfileAccess::Loopback if is_part_of_a_foreign_page(headers) => Some(
            "profiles are not served as a part of a page on the web, which could keep the agent busy \
             with them: open this address by itself, or set sources.profile.access = \"everywhere\" \
             in the configuration",
        ),
        ProfileAccess::Loopback | ProfileAccess::Everywhere => None,
    }
}

/// Whether it is an address of this machine's loopback, in either notation.
fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

/// Whether every name that the request has for this server means this machine. Browsers send one
/// always; programs that send none are no browsers.
fn is_asked_locally(uri: &Uri, headers: &HeaderMap) -> bool {
    let named = headers.get_all(HOST).into_iter().map(HeaderValue::as_bytes);
    let named = named.map(|host| Authority::try_from(host).ok());
    uri.authority()
        .cloned()
        .map(Some)
        .into_iter()
        .chain(named)
        .all(|authority| authority.is_some_and(|authority| is_local_name(authority.host())))
}

/// Whether a browser says that another site's page asks, and not for a page to be opened: see the fetch
/// metadata request headers of W3C. Programs that are no browsers do not send them.
fn is_part_of_a_foreign_page(headers: &HeaderMap) -> bool {
    let is = |name, wanted: &[&str]| {
        let value = headers.get(name).and_then(|value| value.to_str().ok());
        value.is_some_and(|value| wanted.contains(&value))
    };
    let is_opened = is("sec-fetch-mode", &["navigate"]) && is("sec-fetch-dest", &["document"]);
    is("sec-fetch-site", &["cross-site", "same-site"]) && !is_opened
}

fn is_local_name(name: &str) -> bool {
    let address = name.trim_start_matches('[').trim_end_matches(']');
    match address.parse() {
        Ok(address) => is_loopback(address),
        Err(_) => name.trim_end_matches('.').eq_ignore_ascii_case("localhost"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(access: ProfileAccess, peer: &str, hosts: &[&str], want: Option<&str>) {
        let peer = (!peer.is_empty()).then(|| peer.parse().unwrap());
        let mut headers = HeaderMap::new();
        for host in hosts {
            headers.append(HOST, HeaderValue::from_str(host).unwrap());
        }
        let uri = Uri::from_static("/folded");
        let refusal = refusal(access, peer, &uri, &headers);
        let case = format!("{access:?} {peer:?} {hosts:?}: {refusal:?}");
        match (refusal, want) {
            (None, None) => {}
            (Some(why), Some(want)) => assert!(why.contains(want), "{case}"),
            _ => panic!("{case}"),
        }
    }

    #[test]
    fn by_default_only_this_machine() {
        let check = |peer: &str, want| check(ProfileAccess::Loopback, peer, &["localhost"], want);
        check("127.0.0.1:4", None);
        check("127.8.9.10:4", None);
        check("[::1]:4", None);
        check("[::ffff:127.0.0.1]:4", None);
        let remote = Some("sources.profile.access = \"everywhere\"");
        check("10.0.0.1:4", remote);
        check("[::ffff:10.0.0.1]:4", remote);
        check("[fe80::1]:4", remote);
        check("0.0.0.0:4", remote);
        check("", remote);
    }

    #[test]
    fn a_foreign_name_is_refused() {
        let check =
            |hosts: &[&str], want| check(ProfileAccess::Loopback, "127.0.0.1:4", hosts, want);
        let foreign = Some("a page on the web");
        check(&[], None);
        for local in [
            "localhost",
            "LocalHost:9090",
            "localhost.",
            "127.0.0.1:9090",
            "127.1.2.3",
            "[::1]:9090",
            "[::ffff:127.0.0.1]",
        ] {
            check(&[local], None);
        }
        for other in [
            "evil.example",
            "evil.example:9090",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "10.0.0.1",
            "[::2]",
            "user@evil.example",
            "",
            "local host",
        ] {
            check(&[other], foreign);
        }
        check(&["localhost", "evil.example"], foreign);
        let absolute: Uri = "http://evil.example/folded".parse().unwrap();
        let peer = Some("127.0.0.1:4".parse().unwrap());
        let refused = refusal(ProfileAccess::Loopback, peer, &absolute, &HeaderMap::new());
        assert!(refused.is_some());
    }

    #[test]
    fn a_foreign_page_may_open_a_profile_and_not_embed_it() {
        let check = |access, sent: &[(&'static str, &'static str)], refused| {
            let mut headers = HeaderMap::new();
            headers.insert(HOST, HeaderValue::from_static("localhost:9090"));
            for (name, value) in sent {
                headers.insert(*name, HeaderValue::from_static(value));
            }
            let peer = Some("127.0.0.1:4".parse().unwrap());
            let uri = Uri::from_static("/flamegraph");
            let is_refused = refusal(access, peer, &uri, &headers).is_some();
            assert_eq!(is_refused, refused, "{sent:?}");
        };
        let local = ProfileAccess::Loopback;
        let [foreign, port] = ["cross-site", "same-site"].map(|site| ("sec-fetch-site", site));
        let [own, person] = ["same-origin", "none"].map(|site| ("sec-fetch-site", site));
        let image = ("sec-fetch-dest", "image");
        let [opened, embedded] = ["document", "iframe"].map(|place| ("sec-fetch-dest", place));
        let navigates = ("sec-fetch-mode", "navigate");
        check(
            local,
            &[foreign, ("sec-fetch-mode", "no-cors"), image],
            true,
        );
        check(local, &[port, ("sec-fetch-mode", "no-cors"), image], true);
        check(local, &[foreign, navigates, embedded], true);
        check(local, &[foreign], true);
        check(local, &[foreign, navigates, opened], false);
        check(
            local,
            &[own, ("sec-fetch-mode", "cors"), ("sec-fetch-dest", "empty")],
            false,
        );
        check(local, &[person, navigates, opened], false);
        check(ProfileAccess::Everywhere, &[foreign, image], false);
    }

    #[test]
    fn the_setting_decides() {
        let hosts = &["gpu-01:9090"];
        check(ProfileAccess::Everywhere, "10.0.0.1:4", hosts, None);
        check(ProfileAccess::Everywhere, "", &[], None);
        let off = Some("sources.profile.access is \"off\"");
        check(ProfileAccess::Off, "127.0.0.1:4", &["localhost"], off);
    }
}
