//! cgroup paths → containers and pods, as each engine names its groups. Pure.
//!
//! | engine | group |
//! |---|---|
//! | docker | `/docker/ID`, `docker-ID.scope` |
//! | containerd | `cri-containerd-ID.scope`, `…:cri-containerd:ID`, below `kubepods` a bare `ID` |
//! | CRI-O | `crio-ID.scope`, `crio-ID` |
//! | podman | `libpod-ID.scope`, `libpod-ID.scope/container`, `libpod-payload-ID` |
//! | systemd-nspawn | `systemd-nspawn@NAME.service`, `machine-NAME.scope` |
//! | LXC | `lxc.payload.NAME`, `lxc/NAME` |
//! | Kubernetes | `kubepods/…/podUID/…`, `kubepods-…-podUID.slice/…` |
//!
//! What fits none of these has no container: a wrong one would be worse.

/// Length of the hexadecimal ids that engines give.
const ID_LEN: usize = 64;
/// Longest name of a container that a person gave.
const NAME_MAX: usize = 64;
/// What engines put before the id, with what parts it.
const PREFIXES: [&[u8]; 7] = [
    b"docker-",
    b"cri-containerd-",
    b"containerd-",
    b"nerdctl-",
    b"crio-",
    b"libpod-",
    b"libpod-payload-",
];
/// Digits of a pod's uid between its dashes.
const UID_GROUPS: [usize; 5] = [8, 4, 4, 4, 12];

/// Returns the id of the innermost container in a cgroup path.
pub fn container(path: &[u8]) -> Option<&[u8]> {
    let mut inner: Option<&[u8]> = None;
    let mut outer: &[u8] = b"";
    for component in path.split(|&b| b == b'/') {
        let found = by_id(component).or_else(|| by_name(component, outer));
        inner = found.or(inner);
        outer = component;
    }
    inner
}

/// Returns the uid of the innermost pod in a cgroup path, with dashes.
pub fn pod_uid(path: &[u8]) -> Option<String> {
    let mut is_below = false;
    let mut inner = None;
    for component in path.split(|&b| b == b'/') {
        // With containerd's own form of the systemd driver, the container follows a colon.
        let slice = component.split(|&b| b == b':').next().unwrap_or_default();
        let name = slice.strip_suffix(b".slice").unwrap_or(slice);
        is_below |= contains(name, b"kubepods");
        // `pod` starts the name, or follows a dash; with the systemd driver the uid has no dash.
        let at = name.windows(4).rposition(|window| window == b"-pod").map(|at| at + 1);
        let uid = name.get(at.unwrap_or(0)..).and_then(|rest| rest.strip_prefix(b"pod"));
        if is_below && let Some(uid) = uid.and_then(uid_with_dashes) {
            inner = Some(uid);
        }
    }
    inner
}

fn by_id(component: &[u8]) -> Option<&[u8]> {
    let name = component.strip_suffix(b".scope").unwrap_or(component);
    let (prefix, id) = name.split_at_checked(name.len().checked_sub(ID_LEN)?)?;
    // With containerd's systemd driver the prefix starts with the slice's name.
    let known = prefix.is_empty()
        || PREFIXES.contains(&prefix)
        || (prefix.ends_with(b":cri-containerd:") && contains(prefix, b".slice"));
    (known && id.iter().all(u8::is_ascii_hexdigit)).then_some(id)
}

/// Engines that let people name containers. A monitor of theirs (`lxc.monitor.NAME`) is outside.
fn by_name<'a>(component: &'a [u8], outer: &[u8]) -> Option<&'a [u8]> {
    let machine = || component.strip_prefix(b"machine-")?.strip_suffix(b".scope");
    let nspawn = || component.strip_prefix(b"systemd-nspawn@")?.strip_suffix(b".service");
    let lxc = || match outer {
        b"lxc" => Some(component),
        _ => component.strip_prefix(b"lxc.payload."),
    };
    let name = nspawn().or_else(machine).or_else(lxc)?;
    // Virtual machines have scopes of the same form: `machine-qemu\x2d1\x2dNAME.scope`.
    let is_guest = contains(name, b"qemu");
    (!name.is_empty() && name.len() <= NAME_MAX && !is_guest).then_some(name)
}

fn uid_with_dashes(uid: &[u8]) -> Option<String> {
    let text: String = str::from_utf8(uid).ok()?.replace('_', "-");
    let is_hex = |part: &str| part.bytes().all(|byte| byte.is_ascii_hexdigit());
    let groups: Vec<&str> = text.split('-').collect();
    // A static pod's uid is a hash without dashes.
    let fits = match groups.as_slice() {
        [whole] => whole.len() == 32,
        _ => groups.iter().map(|group| group.len()).eq(UID_GROUPS),
    };
    (fits && groups.iter().all(|group| is_hex(group))).then_some(text)
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const UID: &str = "8d6a1e2f-0b3c-4d5e-8f90-a1b2c3d4e5f6";

    fn id() -> String {
        "0123456789abcdef".repeat(4)
    }

    #[test]
    fn container_ids_are_found_as_each_engine_writes_them() {
        let (id, uid) = (id(), UID.replace('-', "_"));
        let paths = [
            format!("/docker/{id}"),
            format!("/system.slice/docker-{id}.scope"),
            format!("/system.slice/docker-{id}.scope/init.scope"),
            format!("/user.slice/user-1000.slice/user@1000.service/user.slice/docker-{id}.scope"),
            format!("/kubepods.slice/kubepods-burstable.slice/cri-containerd-{id}.scope"),
            format!("/kubepods/besteffort/pod12/{id}"),
            format!("/system.slice/containerd.service/kubepods-pod{uid}.slice:cri-containerd:{id}"),
            format!("/kubepods.slice/kubepods-pod{uid}.slice/crio-{id}"),
            format!("/kubepods.slice/kubepods-pod{uid}.slice/crio-{id}.scope/container"),
            format!("/machine.slice/libpod-{id}.scope/container"),
            format!("/machine.slice/libpod-payload-{id}"),
            format!("/docker/{}/docker/{id}", "f".repeat(64)),
            format!("/docker/{}/kubelet.slice/cri-containerd-{id}.scope", "f".repeat(64)),
            format!("/default/{id}"),
        ];
        for path in paths {
            assert_eq!(container(path.as_bytes()), Some(id.as_bytes()), "{path}");
        }
    }

    #[test]
    fn containers_that_people_named_are_found() {
        let paths: [(&str, &[u8]); 4] = [
            ("/machine.slice/systemd-nspawn@web.service/payload", b"web"),
            ("/machine.slice/machine-web.scope", b"web"),
            ("/lxc.payload.web/system.slice/cron.service", b"web"),
            ("/lxc/web/init.scope", b"web"),
        ];
        for (path, name) in paths {
            assert_eq!(container(path.as_bytes()), Some(name), "{path}");
        }
    }

    #[test]
    fn other_groups_have_no_container() {
        let id = id();
        let paths = [
            "/".to_owned(),
            String::new(),
            "/system.slice/ssh.service".to_owned(),
            "/system.slice/docker.service".to_owned(),
            "/lxc.monitor.web".to_owned(),
            "/lxc".to_owned(),
            r"/machine.slice/machine-qemu\x2d1\x2dweb.scope/libvirt/emulator".to_owned(),
            format!("/machine.slice/libpod-conmon-{id}.scope"),
            format!("/kubepods.slice/crio-conmon-{id}.scope"),
            format!("/system.slice/run-{id}.scope"),
            format!("/user.slice/{}", &id[1..]),
            format!("/user.slice/{}g", &id[1..]),
            format!("/user.slice/docker-{id}0.scope"),
        ];
        for path in paths {
            assert_eq!(container(path.as_bytes()), None, "{path}");
        }
    }

    #[test]
    fn pods_are_found_with_both_drivers() {
        let (id, under) = (id(), UID.replace('-', "_"));
        let paths = [
            format!("/kubepods/besteffort/pod{UID}/{id}"),
            format!("/kubepods/pod{UID}/{id}"),
            format!("/kubepods.slice/kubepods-pod{under}.slice/cri-containerd-{id}.scope"),
            format!(
                "/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-burstable.slice/\
                 kubelet-kubepods-burstable-pod{under}.slice/cri-containerd-{id}.scope"
            ),
            format!("/system.slice/kubepods-besteffort-pod{under}.slice:cri-containerd:{id}"),
        ];
        for path in paths {
            assert_eq!(pod_uid(path.as_bytes()).as_deref(), Some(UID), "{path}");
        }
        let hash = "0123456789abcdef".repeat(2);
        let fixed = format!("/kubepods/burstable/pod{hash}/{id}");
        assert_eq!(pod_uid(fixed.as_bytes()).as_deref(), Some(hash.as_str()));
    }

    #[test]
    fn other_groups_have_no_pod() {
        for path in ["/", "/pod1", "/kubepods/podcast", "/kubepods/pod", "/system.slice/pod.slice"]
        {
            assert_eq!(pod_uid(path.as_bytes()), None, "{path}");
        }
        let outside = format!("/user.slice/pod{UID}");
        assert_eq!(pod_uid(outside.as_bytes()), None);
    }

    proptest! {
        #[test]
        fn any_path_is_read(path in proptest::collection::vec(any::<u8>(), 0..300)) {
            if let Some(id) = container(&path) {
                prop_assert!(id.len() == ID_LEN || id.len() <= NAME_MAX);
            }
            prop_assert!(pod_uid(&path).is_none_or(|uid| uid.len() == 36 || uid.len() == 32));
        }

        #[test]
        fn what_is_around_a_container_does_not_matter(
            before in "(/[a-z.@-]{1,12}){0,4}",
            after in "(/[a-z@-]{1,12}){0,3}",
            id in "[0-9a-f]{64}",
            engine in 0usize..4,
        ) {
            let group = match engine {
                0 => format!("/docker-{id}.scope"),
                1 => format!("/crio-{id}.scope"),
                2 => format!("/libpod-{id}.scope"),
                _ => format!("/{id}"),
            };
            let path = format!("{before}{group}{after}");
            prop_assume!(!after.contains("lxc") && !after.contains("machine"));
            prop_assert_eq!(container(path.as_bytes()), Some(id.as_bytes()));
        }

        #[test]
        fn near_misses_are_nobody(id in "[0-9a-f]{64}", extra in "[0-9a-z]", at in 0usize..64) {
            let longer = format!("/x/docker-{}{extra}{}.scope", &id[..at], &id[at..]);
            prop_assert_eq!(container(longer.as_bytes()), None);
            let shorter = format!("/x/docker-{}{}.scope", &id[..at], &id[at + 1..]);
            prop_assert_eq!(container(shorter.as_bytes()), None);
        }
    }
}
