//! What processes spent on processors, to the nanosecond.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// Sums the time of all threads of some processes; those that ended count nothing.
pub fn spent(processes: &[u32]) -> u64 {
    processes.iter().map(|process| of_process(*process)).sum()
}

fn of_process(process: u32) -> u64 {
    let Ok(threads) = fs::read_dir(format!("/proc/{process}/task")) else { return 0 };
    threads.flatten().map(|thread| of_thread(&thread.path())).sum()
}

/// The first number is the time on a processor; finer than the clock ticks of `stat`.
fn of_thread(folder: &Path) -> u64 {
    let text = fs::read_to_string(folder.join("schedstat")).unwrap_or_default();
    text.split(' ').next().and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// Lets a process run only where no other one wants to.
pub fn leave_to_others(process: u32) -> Result<()> {
    let mut chrt = Command::new("chrt");
    chrt.args(["--all-tasks", "--idle", "--pid", "0", &process.to_string()]);
    let status = chrt.status().context("failed to start chrt")?;
    ensure!(status.success(), "chrt ended with {status}");
    Ok(())
}

/// Returns a process and all that descend from it.
pub fn family(process: u32) -> Vec<u32> {
    let mut found = vec![process];
    let mut next = 0;
    while let Some(&parent) = found.get(next) {
        next += 1;
        let threads = fs::read_dir(format!("/proc/{parent}/task")).into_iter().flatten().flatten();
        let children = threads.filter_map(|t| fs::read_to_string(t.path().join("children")).ok());
        let children: Vec<u32> = children
            .flat_map(|text| text.split(' ').filter_map(|n| n.parse().ok()).collect::<Vec<_>>())
            .filter(|child| !found.contains(child))
            .collect();
        found.extend(children);
    }
    found
}

/// Bytes of memory that processes hold and share with nobody else, plus their part of what they
/// share.
pub fn memory(processes: &[u32]) -> u64 {
    sum(processes, "smaps_rollup", "Pss:")
}

/// Bytes of memory that processes have resident, shared pages counted for each.
pub fn resident(processes: &[u32]) -> u64 {
    sum(processes, "status", "VmRSS:")
}

/// Adds up a line in KiB of each process's file.
fn sum(processes: &[u32], file: &str, line: &str) -> u64 {
    let of_one = |process: &u32| {
        let text = fs::read_to_string(format!("/proc/{process}/{file}")).unwrap_or_default();
        let found = text.lines().find_map(|text| text.strip_prefix(line));
        let kib = found.and_then(|rest| rest.trim().split(' ').next()?.parse::<u64>().ok());
        kib.unwrap_or(0) * 1024
    };
    processes.iter().map(of_one).sum()
}

/// Finds a kernel thread by its name.
pub fn kernel_thread(name: &str) -> Option<u32> {
    fs::read_dir("/proc").ok()?.flatten().find_map(|entry| {
        let process: u32 = entry.file_name().to_str()?.parse().ok()?;
        let comm = fs::read_to_string(entry.path().join("comm")).ok()?;
        // A kernel thread has no command line; a program may call itself anything.
        let is_kernel = fs::read(entry.path().join("cmdline")).ok()?.is_empty();
        (is_kernel && comm.trim() == name).then_some(process)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_time_grows_with_work() {
        let own = [std::process::id()];
        let before = spent(&own);
        let sum: u64 = (0..20_000_000_u64).map(std::hint::black_box).sum();
        assert!(sum > 0);
        assert!(spent(&own) > before, "work should cost time");
        assert_eq!(spent(&[u32::MAX]), 0);
    }
}
