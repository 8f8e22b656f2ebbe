//! Facts about the host and about this process that are read, not observed.

/// Facts that a session begins with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// The host's name.
    pub name: String,
    /// Kernel release.
    pub kernel: String,
    /// Differs for every boot.
    pub boot_id: String,
    /// Processors online.
    pub cpus: u32,
}

/// Longest fact taken; the kernel's own are far shorter.
const FACT_MAX: usize = 255;

impl Host {
    /// Reads the facts; `name` overrides the kernel's host name.
    pub fn read(name: Option<&str>) -> Self {
        let cpus = nix::unistd::sysconf(nix::unistd::SysconfVar::_NPROCESSORS_ONLN);
        Self {
            name: name.map_or_else(|| fact("/proc/sys/kernel/hostname"), str::to_owned),
            kernel: fact("/proc/sys/kernel/osrelease"),
            boot_id: fact("/proc/sys/kernel/random/boot_id"),
            cpus: cpus.ok().flatten().and_then(|count| u32::try_from(count).ok()).unwrap_or(1),
        }
    }
}

/// Returns the memory of this process that is not a file's, in bytes: of a program that runs twice,
/// the files are there once.
pub fn private_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap_or_default();
    line.split_whitespace().next().and_then(|word| word.parse::<u64>().ok()).unwrap_or(0) * 1024
}

/// Returns the resident memory of this process, in bytes.
pub fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split(' ').nth(1).and_then(|word| word.parse::<u64>().ok()).unwrap_or(0);
    let page = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE).ok().flatten();
    pages * page.and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or(4096)
}

fn fact(path: &str) -> String {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.trim().chars().take(FACT_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_are_there() {
        let host = Host::read(None);
        assert!(!host.name.is_empty() && host.kernel.contains('.') && host.cpus > 0);
        assert_eq!(host.boot_id.len(), 36);
        assert_eq!(Host::read(Some("web-1")).name, "web-1");
        assert!(resident_bytes() > 100_000 && private_bytes() < resident_bytes());
    }
}
