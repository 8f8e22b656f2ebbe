//! Kubernetes' pod security standards, check by check, as the admission plugin names them: what of
//! a pod each level refuses.

use std::collections::BTreeSet;

use serde_json::Value;

/// Capabilities that "baseline" lets a container add.
const CAPABILITIES: [&str; 13] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];
/// SELinux types that "baseline" allows.
const SELINUX_TYPES: [&str; 5] =
    ["", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"];
/// Kernel parameters of a pod's own namespaces.
const SYSCTLS: [&str; 10] = [
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.ping_group_range",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
];
/// Kinds of volume that "restricted" allows.
const VOLUMES: [&str; 8] = [
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
];

/// What a level refuses: level, check, and what of the pod.
pub type Violation = (&'static str, &'static str, String);

/// Names everything that "baseline" and "restricted" refuse of a pod's specification.
pub fn audit(pod: &Value) -> BTreeSet<Violation> {
    let mut found = BTreeSet::new();
    baseline(pod, &mut |check, what| found.extend([("baseline", check, what)]));
    restricted(pod, &mut |check, what| found.extend([("restricted", check, what)]));
    found
}

fn baseline(pod: &Value, on: &mut dyn FnMut(&'static str, String)) {
    for name in ["hostNetwork", "hostPID", "hostIPC"] {
        if pod[name] == true {
            on("hostNamespaces", name.to_owned());
        }
    }
    for volume in list(&pod["volumes"]).filter(|volume| !volume["hostPath"].is_null()) {
        on("hostPathVolumes", word(&volume["hostPath"]["path"]));
    }
    for parameter in list(&pod["securityContext"]["sysctls"]).map(|one| word(&one["name"])) {
        if !SYSCTLS.contains(&parameter.as_str()) {
            on("sysctls", parameter);
        }
    }
    for context in contexts(pod) {
        if context["windowsOptions"]["hostProcess"] == true {
            on("hostProcess", "hostProcess".to_owned());
        }
        if context["appArmorProfile"]["type"] == "Unconfined" {
            on("appArmorProfile", "Unconfined".to_owned());
        }
        if context["seccompProfile"]["type"] == "Unconfined" {
            on("seccompProfile_baseline", "Unconfined".to_owned());
        }
        selinux(&context["seLinuxOptions"], on);
    }
    for container in containers(pod) {
        let context = &container["securityContext"];
        if context["privileged"] == true {
            on("privileged", word(&container["name"]));
        }
        if !context["procMount"].is_null() && context["procMount"] != "Default" {
            on("procMount", word(&context["procMount"]));
        }
        for added in list(&context["capabilities"]["add"]).map(word) {
            if !CAPABILITIES.contains(&added.as_str()) {
                on("capabilities_baseline", added);
            }
        }
        ports_and_probes(pod, container, on);
    }
}

fn selinux(options: &Value, on: &mut dyn FnMut(&'static str, String)) {
    let kind = word(&options["type"]);
    if !SELINUX_TYPES.contains(&kind.as_str()) {
        on("seLinuxOptions", kind);
    }
    for name in ["user", "role"].into_iter().filter(|name| !word(&options[*name]).is_empty()) {
        on("seLinuxOptions", name.to_owned());
    }
}

fn ports_and_probes(pod: &Value, container: &Value, on: &mut dyn FnMut(&'static str, String)) {
    for port in list(&container["ports"]) {
        // On the node's network every port is the node's.
        let of_host = pod["hostNetwork"] == true || port["hostPort"].as_u64().unwrap_or(0) > 0;
        if of_host {
            on("hostPorts", port["containerPort"].to_string());
        }
    }
    let (probes, life) = (["livenessProbe", "readinessProbe", "startupProbe"], "lifecycle");
    let hooks = [&container[life]["postStart"], &container[life]["preStop"]];
    for asked in probes.iter().map(|name| &container[*name]).chain(hooks) {
        for host in [&asked["httpGet"]["host"], &asked["tcpSocket"]["host"]] {
            if !word(host).is_empty() {
                on("hostProbesAndHostLifecycle", word(host));
            }
        }
    }
}

fn restricted(pod: &Value, on: &mut dyn FnMut(&'static str, String)) {
    for volume in list(&pod["volumes"]) {
        let kinds = volume.as_object().into_iter().flatten().map(|(kind, _)| kind.as_str());
        for kind in kinds.filter(|kind| *kind != "name" && !VOLUMES.contains(kind)) {
            on("restrictedVolumes", kind.to_owned());
        }
    }
    for container in containers(pod) {
        let context = &container["securityContext"];
        let inherited = |name: &str| match &context[name] {
            Value::Null => pod["securityContext"][name].clone(),
            own => own.clone(),
        };
        if context["allowPrivilegeEscalation"] != false {
            on("allowPrivilegeEscalation", word(&container["name"]));
        }
        if inherited("runAsNonRoot") != true {
            on("runAsNonRoot", word(&container["name"]));
        }
        if inherited("runAsUser") == 0 {
            on("runAsUser", "0".to_owned());
        }
        if !["RuntimeDefault", "Localhost"].contains(&&*word(&inherited("seccompProfile")["type"]))
        {
            on("seccompProfile_restricted", word(&container["name"]));
        }
        if !list(&context["capabilities"]["drop"]).any(|dropped| dropped == "ALL") {
            on("capabilities_restricted", "not all are dropped".to_owned());
        }
        for added in list(&context["capabilities"]["add"]).map(word) {
            if added != "NET_BIND_SERVICE" {
                on("capabilities_restricted", added);
            }
        }
    }
}

/// All containers of a pod, of whichever kind.
fn containers(pod: &Value) -> impl Iterator<Item = &Value> {
    let kinds = ["containers", "initContainers", "ephemeralContainers"];
    kinds.into_iter().flat_map(|kind| list(&pod[kind]))
}

/// The security contexts of a pod and of its containers.
fn contexts(pod: &Value) -> impl Iterator<Item = &Value> {
    let own = std::iter::once(&pod["securityContext"]);
    own.chain(containers(pod).map(|container| &container["securityContext"]))
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn word(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A pod of which nothing is refused.
    fn harmless() -> Value {
        json!({
            "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{"name": "c", "securityContext": {
                "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}
            }}],
            "volumes": [{"name": "v", "emptyDir": {}}]
        })
    }

    fn checks(pod: &Value) -> Vec<&'static str> {
        audit(pod).into_iter().map(|(_, check, _)| check).collect()
    }

    #[test]
    fn a_harmless_pod_passes() {
        assert!(audit(&harmless()).is_empty());
    }

    #[test]
    fn each_check_finds_what_it_is_for() {
        for (at, value, expected) in [
            ("/hostIPC", json!(true), "hostNamespaces"),
            ("/hostPID", json!(true), "hostNamespaces"),
            ("/hostNetwork", json!(true), "hostNamespaces"),
            ("/containers/0/securityContext/privileged", json!(true), "privileged"),
            ("/containers/0/securityContext/procMount", json!("Unmasked"), "procMount"),
            (
                "/containers/0/securityContext/windowsOptions",
                json!({"hostProcess": true}),
                "hostProcess",
            ),
            (
                "/containers/0/securityContext/capabilities/add",
                json!(["SYS_ADMIN"]),
                "capabilities_baseline",
            ),
            (
                "/containers/0/securityContext/seccompProfile",
                json!({"type": "Unconfined"}),
                "seccompProfile_baseline",
            ),
            ("/securityContext/appArmorProfile", json!({"type": "Unconfined"}), "appArmorProfile"),
            ("/securityContext/seLinuxOptions", json!({"type": "spc_t"}), "seLinuxOptions"),
            ("/securityContext/sysctls", json!([{"name": "kernel.core_pattern"}]), "sysctls"),
            ("/containers/0/ports", json!([{"hostPort": 1, "containerPort": 1}]), "hostPorts"),
            (
                "/containers/0/livenessProbe",
                json!({"httpGet": {"host": "10.0.0.1"}}),
                "hostProbesAndHostLifecycle",
            ),
            ("/volumes/0/hostPath", json!({"path": "/"}), "hostPathVolumes"),
            ("/volumes/0/nfs", json!({"path": "/"}), "restrictedVolumes"),
            ("/securityContext/runAsNonRoot", json!(false), "runAsNonRoot"),
            ("/securityContext/runAsUser", json!(0), "runAsUser"),
            ("/securityContext/seccompProfile", json!(null), "seccompProfile_restricted"),
            (
                "/containers/0/securityContext/allowPrivilegeEscalation",
                json!(true),
                "allowPrivilegeEscalation",
            ),
            (
                "/containers/0/securityContext/capabilities/drop",
                json!([]),
                "capabilities_restricted",
            ),
        ] {
            let mut pod = harmless();
            let (parent, key) = at.rsplit_once('/').unwrap();
            pod.pointer_mut(parent).unwrap()[key] = value;
            assert!(checks(&pod).contains(&expected), "{at}: {:?}", checks(&pod));
        }
    }
}
