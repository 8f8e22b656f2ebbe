//! Pods' uids → their names, from the folders that the kubelet makes for their logs.

use std::collections::HashMap;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use crate::observation::Text;

/// Where the kubelet keeps containers' logs: a folder `NAMESPACE_NAME_UID` per pod.
pub const FOLDER: &str = "/var/log/pods";
/// Pods remembered; a node has some 250 at most, and old folders stay for a while.
const PODS_MAX: usize = 4_096;
/// Time between two looks at the folder; a uid that is still unknown is told as it is until then.
const LOOK_INTERVAL_NS: u64 = 5_000_000_000;

/// The names of the host's pods.
#[derive(Debug)]
pub struct Pods {
    folder: PathBuf,
    names: HashMap<String, Text>,
    looked_ns: Option<u64>,
}

impl Pods {
    /// Returns the pods of a folder, which is read when a pod is first asked for.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into(), names: HashMap::new(), looked_ns: None }
    }

    /// Returns `namespace/name` of a pod, or its uid as long as that is all there is.
    pub fn name(&mut self, uid: &str, now_ns: u64) -> Text {
        let due = self.looked_ns.is_none_or(|last| now_ns.saturating_sub(last) >= LOOK_INTERVAL_NS);
        if due && !self.names.contains_key(uid) {
            self.looked_ns = Some(now_ns);
            self.look();
        }
        self.names.get(uid).cloned().unwrap_or_else(|| uid.as_bytes().into())
    }

    fn look(&mut self) {
        let Ok(entries) = self.folder.read_dir() else { return };
        let folders = entries.flatten().take(PODS_MAX);
        self.names = folders.filter_map(|entry| parse(entry.file_name().as_bytes())).collect();
    }
}

/// Splits `NAMESPACE_NAME_UID`. Kubernetes allows no underscore in any of them.
fn parse(folder: &[u8]) -> Option<(String, Text)> {
    let parts: Vec<&str> = str::from_utf8(folder).ok()?.split('_').collect();
    let [namespace, name, uid] = parts[..] else { return None };
    let fits = !namespace.is_empty() && !name.is_empty() && !uid.is_empty();
    fits.then(|| (uid.to_owned(), format!("{namespace}/{name}").into_bytes().into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_is_named_once_its_folder_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let mut pods = Pods::new(dir.path());
        assert_eq!(&pods.name("u-1", 0)[..], b"u-1");
        std::fs::create_dir(dir.path().join("shop_web-7f9_u-1")).unwrap();
        std::fs::create_dir(dir.path().join("odd")).unwrap();
        assert_eq!(&pods.name("u-1", LOOK_INTERVAL_NS - 1)[..], b"u-1");
        assert_eq!(&pods.name("u-1", LOOK_INTERVAL_NS)[..], b"shop/web-7f9");
    }

    #[test]
    fn only_three_parts_are_a_pod() {
        assert_eq!(parse(b"a_b"), None);
        assert_eq!(parse(b"a_b_c_d"), None);
        assert_eq!(parse(b"a__c"), None);
        assert_eq!(parse(b"\xff_b_c"), None);
    }
}
