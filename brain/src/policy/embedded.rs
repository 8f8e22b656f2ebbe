//! The policies that this build carries, so that a brain without a policy folder still finds.

use super::PolicyFile;

macro_rules! embedded {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("../../../policies/", $name)))),*]
    };
}

const FILES: &[(&str, &str)] = embedded![
    "detectors/anti_debug.samples.yml",
    "detectors/anti_debug.yml",
    "detectors/bpf_program.samples.yml",
    "detectors/bpf_program.yml",
    "detectors/container_escape.samples.yml",
    "detectors/container_escape.yml",
    "detectors/elevation.samples.yml",
    "detectors/elevation.yml",
    "detectors/fileless.samples.yml",
    "detectors/fileless.yml",
    "detectors/injection.samples.yml",
    "detectors/injection.yml",
    "detectors/kernel_module.samples.yml",
    "detectors/kernel_module.yml",
    "detectors/listed_address.samples.yml",
    "detectors/listed_address.yml",
    "detectors/listed_file.samples.yml",
    "detectors/listed_file.yml",
    "detectors/listed_name.samples.yml",
    "detectors/listed_name.yml",
    "detectors/malware.samples.yml",
    "detectors/malware.yml",
    "detectors/metadata_rebind.samples.yml",
    "detectors/metadata_rebind.yml",
    "detectors/new_binary.samples.yml",
    "detectors/new_binary.yml",
    "detectors/persistence_command.samples.yml",
    "detectors/persistence_command.yml",
    "detectors/port_scan.samples.yml",
    "detectors/port_scan.yml",
    "detectors/preload.samples.yml",
    "detectors/preload.yml",
    "detectors/ransomware.samples.yml",
    "detectors/ransomware.yml",
    "detectors/recon_burst.samples.yml",
    "detectors/recon_burst.yml",
    "detectors/reverse_shell.samples.yml",
    "detectors/reverse_shell.yml",
    "detectors/runtime_socket.samples.yml",
    "detectors/runtime_socket.yml",
    "detectors/sensitive_file.samples.yml",
    "detectors/sensitive_file.yml",
    "detectors/sensitive_read.samples.yml",
    "detectors/sensitive_read.yml",
    "detectors/service_shell.samples.yml",
    "detectors/service_shell.yml",
    "detectors/shared_identity.samples.yml",
    "detectors/shared_identity.yml",
    "detectors/sigma.yml",
    "detectors/uring_bypass.samples.yml",
    "detectors/uring_bypass.yml",
    "detectors/userfault.samples.yml",
    "detectors/userfault.yml",
    "intel/abused.txt",
    "intel/blackhole.txt",
    "intel/c2.txt",
    "intel/crypto.txt",
    "intel/crypto_reputation.txt",
    "intel/custom.txt",
    "intel/dga.txt",
    "intel/drive_by.txt",
    "intel/drop_point.txt",
    "intel/malicious.txt",
    "intel/phishing.txt",
    "intel/suspicious.txt",
    "intel/tor.txt",
    "sigma/account_locked_out.samples.yml",
    "sigma/account_locked_out.yml",
    "sigma/crypto_miner_command_line.samples.yml",
    "sigma/crypto_miner_command_line.yml",
    "sigma/defenses_disabled.samples.yml",
    "sigma/defenses_disabled.yml",
    "sigma/discovery_command.samples.yml",
    "sigma/discovery_command.yml",
    "sigma/download_to_shell.samples.yml",
    "sigma/download_to_shell.yml",
    "sigma/dual_use_tool.samples.yml",
    "sigma/dual_use_tool.yml",
    "sigma/firewall_configuration.samples.yml",
    "sigma/firewall_configuration.yml",
    "sigma/history_or_logs_wiped.samples.yml",
    "sigma/history_or_logs_wiped.yml",
    "sigma/mail_copied.samples.yml",
    "sigma/mail_copied.yml",
    "sigma/masqueraded_program.samples.yml",
    "sigma/masqueraded_program.yml",
    "sigma/offensive_tool.samples.yml",
    "sigma/offensive_tool.yml",
    "sigma/password_guessed.samples.yml",
    "sigma/password_guessed.yml",
    "sigma/password_spray.samples.yml",
    "sigma/password_spray.yml",
    "sigma/privilege_command.samples.yml",
    "sigma/privilege_command.yml",
    "sigma/secrets_collected.samples.yml",
    "sigma/secrets_collected.yml",
    "sigma/secrets_searched.samples.yml",
    "sigma/secrets_searched.yml",
    "sigma/service_ended.samples.yml",
    "sigma/service_ended.yml",
    "sigma/shell_from_tool.samples.yml",
    "sigma/shell_from_tool.yml",
    "yara/coin_miner.yar",
    "yara/preload_rootkit.yar",
    "yara/test_file.yar",
];

/// Returns all of them.
pub(super) fn files() -> Vec<PolicyFile> {
    let file =
        |(name, text): &(&str, &str)| PolicyFile { name: (*name).into(), text: (*text).into() };
    FILES.iter().map(file).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::policy::{Folders, source};

    #[test]
    fn the_list_is_what_lies_in_the_folder() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies");
        let read = source::read(&Folders::new(Some(folder), &[])).unwrap();
        assert_eq!(read.errors, Vec::new());
        let mut on_disk: Vec<PolicyFile> = read.files.into_iter().map(|s| s.file).collect();
        on_disk.sort();
        assert_eq!(on_disk, files());
    }
}
