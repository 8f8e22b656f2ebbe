//! Reads the settings file of a built-in detector.

use std::sync::Arc;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::node::{self, line_of};
use super::settings::{Active, Check, Settings};
use super::{PolicyFile, Problem};
use crate::finding::PolicyRef;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File<T> {
    detector: String,
    #[serde(default)]
    author: Option<String>,
    #[serde(default = "yes")]
    enabled: bool,
    #[serde(default)]
    settings: T,
}

fn yes() -> bool {
    true
}

/// Reads `file` into the settings of the detector that it names.
pub(super) fn read(
    file: &PolicyFile,
    policy: impl Fn(String, Option<String>) -> Arc<PolicyRef>,
    all: &mut Settings,
) -> Result<(), Problem> {
    let name = file.name.rsplit('/').next().unwrap_or("");
    let name = name.trim_end_matches(".yaml").trim_end_matches(".yml");
    match name {
        "port_scan" => all.port_scan = one(file, name, policy)?,
        "reverse_shell" => all.reverse_shell = one(file, name, policy)?,
        "fileless" => all.fileless = one(file, name, policy)?,
        "kernel_module" => all.kernel_module = one(file, name, policy)?,
        "listed_address" => all.listed_address = one(file, name, policy)?,
        "anti_debug" => all.anti_debug = one(file, name, policy)?,
        "bpf_program" => all.bpf_program = one(file, name, policy)?,
        "container_escape" => all.container_escape = one(file, name, policy)?,
        "elevation" => all.elevation = one(file, name, policy)?,
        "injection" => all.injection = one(file, name, policy)?,
        "metadata_rebind" => all.metadata_rebind = one(file, name, policy)?,
        "new_binary" => all.new_binary = one(file, name, policy)?,
        "persistence_command" => all.persistence_command = one(file, name, policy)?,
        "preload" => all.preload = one(file, name, policy)?,
        "ransomware" => all.ransomware = one(file, name, policy)?,
        "recon_burst" => all.recon_burst = one(file, name, policy)?,
        "runtime_socket" => all.runtime_socket = one(file, name, policy)?,
        "sensitive_file" => all.sensitive_file = one(file, name, policy)?,
        "sensitive_read" => all.sensitive_read = one(file, name, policy)?,
        "shared_identity" => all.shared_identity = one(file, name, policy)?,
        "service_shell" => all.service_shell = one(file, name, policy)?,
        "uring_bypass" => all.uring_bypass = one(file, name, policy)?,
        "userfault" => all.userfault = one(file, name, policy)?,
        "listed_name" => all.listed_name = one(file, name, policy)?,
        "listed_file" => all.listed_file = one(file, name, policy)?,
        "malware" => all.malware = one(file, name, policy)?,
        "sigma" => all.sigma = one(file, name, policy)?,
        _ => {
            let message = format!("no detector is called `{name}`; name the file after one");
            return Err(Problem { line: None, message });
        }
    }
    Ok(())
}

fn one<T: DeserializeOwned + Default + Check>(
    file: &PolicyFile,
    name: &str,
    policy: impl Fn(String, Option<String>) -> Arc<PolicyRef>,
) -> Result<Option<Active<T>>, Problem> {
    // The tree comes first, for its bounds; the values second, for the parser's line numbers.
    node::parse(&file.text)?;
    let read: File<T> = serde_norway::from_str(&file.text).map_err(|e| node::problem(&e))?;
    if read.detector != name {
        let message = format!("`detector` is `{}`, the file is called `{name}`", read.detector);
        return Err(Problem::at(line_of(&file.text, &["detector"]), message));
    }
    read.settings.check().map_err(|range| {
        let key = range.name.split(' ').next().unwrap_or("");
        let message = format!("`{}` must be {} to {}", range.name, range.min, range.max);
        Problem::at(line_of(&file.text, &["settings", key]), message)
    })?;
    let active =
        Active { settings: read.settings, policy: policy(name.replace('_', "-"), read.author) };
    Ok(read.enabled.then_some(active))
}
