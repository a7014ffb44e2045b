//! Finds containers and Kubernetes pods in the paths of cgroups.
//!
//! Runtimes put the 64 hexadecimal digits of a container's id into the name of its cgroup, bare
//! (`/docker/ID`, `/kubepods/burstable/podUID/ID`) or as a systemd scope (`docker-ID.scope`,
//! `cri-containerd-ID.scope`, `crio-ID.scope`, `libpod-ID.scope`). The kubelet names a pod's cgroup
//! `podUID`, or `kubepods-burstable-podUID.slice` with `_` for each `-` of the uid. Where containers
//! run inside each other, the innermost is meant: that one the process sees around itself.

/// Digits of a container's id.
const ID_DIGITS: usize = 64;

/// Characters of a pod's uid that the kubelet makes up: a UUID, or 32 digits for static pods.
const UID_LENGTHS: [usize; 2] = [36, 32];

/// The innermost container's id in any hierarchy of `/proc/PID/cgroup`, or nothing.
pub(super) fn container(file: &str) -> &str {
    innermost(file, container_of)
}

/// The innermost pod's uid, with `-` as Kubernetes writes it, or nothing.
pub(super) fn pod(file: &str) -> String {
    innermost(file, pod_of).replace('_', "-")
}

/// The last component that tells something, of the first hierarchy that has one.
fn innermost(file: &str, tells: fn(&str) -> Option<&str>) -> &str {
    let paths = file.lines().filter_map(|line| line.splitn(3, ':').nth(2));
    let mut found = paths.filter_map(|path| path.rsplit('/').find_map(tells));
    found.next().unwrap_or_default()
}

/// `ID`, `RUNTIME-ID.scope`, or either with something behind it, as `ID:name` of cri-o.
fn container_of(component: &str) -> Option<&str> {
    let name = component.strip_suffix(".scope").unwrap_or(component);
    // A runtime's name may have dashes of its own, an id has none.
    let id = name.rsplit('-').next().unwrap_or(name);
    let digits = |text: &str| {
        text.bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    (id.len() == ID_DIGITS && digits(id)).then_some(id)
}

/// `podUID`, or `…-podUID.slice`.
fn pod_of(component: &str) -> Option<&str> {
    let name = component.strip_suffix(".slice").unwrap_or(component);
    let uid = match name.strip_prefix("pod") {
        Some(uid) => uid,
        None => name.rsplit_once("-pod")?.1,
    };
    let of_uid = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f' | b'-' | b'_');
    (UID_LENGTHS.contains(&uid.len()) && uid.bytes().all(of_uid)).then_some(uid)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{container, pod};

    const ID: &str = "3f4c1a0be2d95867a1b2c3d4e5f60718293a4b5c6d7e8f900112233445566778";
    const OUTER: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
    const UID: &str = "0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0";

    fn check(path: &str, in_container: bool, in_pod: bool) {
        let path = path
            .replace("ID", ID)
            .replace("OUTER", OUTER)
            .replace("UI_D", &UID.replace('-', "_"))
            .replace("UI-D", UID);
        for file in [
            format!("0::{path}\n"),
            format!("5:name=x:/\n4:memory,cpu:{path}\n0::/\n"),
        ] {
            assert_eq!(
                container(&file),
                if in_container { ID } else { "" },
                "{file}"
            );
            assert_eq!(pod(&file), if in_pod { UID } else { "" }, "{file}");
        }
    }

    #[test]
    fn containers_and_pods_of_the_usual_runtimes() {
        check("/docker/ID", true, false);
        check("/system.slice/docker-ID.scope", true, false);
        check(
            "/system.slice/docker-OUTER.scope/docker/ID/init",
            true,
            false,
        );
        check("/machine.slice/libpod-ID.scope/container", true, false);
        check("/kubepods/burstable/podUI-D/ID", true, true);
        check("/kubepods/podUI-D", false, true);
        let slices = "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-podUI_D.slice";
        check(&format!("{slices}/cri-containerd-ID.scope"), true, true);
        check(&format!("{slices}/crio-ID.scope"), true, true);
        check(slices, false, true);
        let nested = format!("/docker/OUTER/kubelet{slices}/cri-containerd-ID.scope");
        check(&nested, true, true);
    }

    #[test]
    fn what_only_looks_like_one() {
        check("/", false, false);
        check("/system.slice/docker.service", false, false);
        check("/docker/ID0", false, false);
        check("/docker/0ID", false, false);
        check("/user.slice/podcast.service", false, false);
        check("/kubepods/pod", false, false);
        check("/kubepods/podUI-D0", false, false);
        assert_eq!(container(&format!("0::/docker/{}", ID.to_uppercase())), "");
        assert_eq!(container("garbage"), "");
    }

    proptest! {
        #[test]
        fn hostile_paths_give_an_id_or_nothing(
            file in "([0-9]{0,2}:[a-z,=]{0,4}:)?(/(docker-|pod|kubepods-pod)?[0-9a-f:_\\-\\PC]{0,66}(\\.scope|\\.slice)?){0,4}\n?",
        ) {
            let id = container(&file);
            prop_assert!(id.is_empty() || id.len() == 64, "{id:?}");
            prop_assert!(id.bytes().all(|byte| byte.is_ascii_hexdigit()));
            let uid = pod(&file);
            prop_assert!(uid.is_empty() || uid.len() == 36 || uid.len() == 32, "{uid:?}");
            prop_assert!(uid.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-'));
        }

        #[test]
        fn an_id_is_found_wherever_it_lies(
            id in "[0-9a-f]{64}", before in "(/[a-z.\\-]{1,9}){0,3}", after in "(/[a-z.]{1,9}){0,2}",
        ) {
            let file = format!("0::{before}/crio-{id}.scope{after}");
            prop_assert_eq!(container(&file), id);
        }
    }
}
