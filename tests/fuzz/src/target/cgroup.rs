//! A cgroup path, or the text of a `/proc/PID/cgroup` → container and pod.

use sensor::{cgroup, container};

use super::{KIB, Target, choice};

pub(super) const TARGET: Target = Target {
    name: "cgroup",
    what: "a cgroup path or /proc/PID/cgroup: container, pod",
    input_max: 2 * KIB,
    memory_max: 64 * KIB,
    control: false,
    check,
    seeds,
};

/// Hexadecimal digits of an engine's id, and characters of a pod's uid; a static pod's is a hash.
const ID_LEN: usize = 64;
const UID_LENGTHS: [usize; 2] = [36, 32];

fn check(input: &[u8]) {
    let Some((choice, text)) = choice(input, 3) else { return };
    match choice {
        0 => path(text),
        1 => {
            if let Some(unified) = cgroup::unified_path(text) {
                path(unified);
            }
            if let Some(legacy) = cgroup::legacy_path(text) {
                assert!(container::container(legacy).is_some());
                path(legacy);
            }
        }
        _ => {
            if let Ok(text) = str::from_utf8(text) {
                let _any = cgroup::cgroup2_mount(text);
            }
        }
    }
}

fn path(path: &[u8]) {
    let id = container::container(path);
    if let Some(id) = id {
        assert!((1..=ID_LEN).contains(&id.len()), "{:?}", id.escape_ascii().to_string());
        assert!(!id.contains(&b'/') && path.windows(id.len()).any(|part| part == id));
        let is_id = id.len() == ID_LEN && id.iter().all(u8::is_ascii_hexdigit);
        let below_docker = [b"/docker/", id].concat();
        assert!(!is_id || container::container(&below_docker) == Some(id));
    }
    let slash = [path, b"/"].concat();
    assert_eq!(container::container(&slash), id, "an empty component is nobody's");
    let uid = container::pod_uid(path);
    if let Some(uid) = &uid {
        assert!(UID_LENGTHS.contains(&uid.len()), "{uid}");
        assert!(uid.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-'), "{uid}");
    }
    assert_eq!(container::pod_uid(&slash), uid);
}

fn seeds() -> Vec<Vec<u8>> {
    let id = "0123456789abcdef".repeat(4);
    let uid = "01234567-89ab-cdef-0123-456789abcdef";
    let slice = uid.replace('-', "_");
    let paths = [
        format!("/docker/{id}"),
        format!("/system.slice/docker-{id}.scope"),
        format!("/kubepods/burstable/pod{uid}/{id}"),
        format!(
            "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{slice}.slice/\
             cri-containerd-{id}.scope"
        ),
        format!("/kubepods-besteffort-pod{slice}.slice:cri-containerd:{id}"),
        format!("/machine.slice/libpod-{id}.scope/container"),
        format!("/kubepods.slice/kubepods-pod{slice}.slice/crio-{id}.scope"),
        "/machine.slice/systemd-nspawn@web.service/payload".to_owned(),
        "/lxc.payload.web/x".to_owned(),
        "/lxc/web".to_owned(),
        "/user.slice/user-1000.slice/session-1.scope".to_owned(),
    ];
    let table = format!("12:pids:/\n4:memory,cpu:/docker/{id}\n0::/docker/{id}/x\n");
    let mounts = "cgroup2 /sys/fs/cgroup cgroup2 rw,nosuid 0 0\n";
    let mut seeds: Vec<Vec<u8>> =
        paths.iter().map(|path| [&[0], path.as_bytes()].concat()).collect();
    seeds.push([&[1], table.as_bytes()].concat());
    seeds.push([&[2], mounts.as_bytes()].concat());
    seeds
}
