//! What this kernel allows: a table of every hook, and what is lost where one is missing.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::cgroup;
use crate::config::Config;
use crate::health::is_needless;
use crate::host::Host;
use crate::probe::{HookReport, OBJECT_EMBEDDED, Probes, Settings};
use crate::procfs;
use crate::sandbox::{account, folders};

/// The running kernel's type information.
const BTF: &str = "/sys/kernel/btf/vmlinux";
/// Exists when the kernel has kprobes that programs can be attached to.
const KPROBES: &str = "/sys/bus/event_source/devices/kprobe";

/// Exists when system calls can be filtered.
const SECCOMP: &str = "/proc/sys/kernel/seccomp/actions_avail";
/// Sizes of machines for which the maps' memory is told.
const PROCESSORS: [usize; 4] = [2, 8, 64, 256];

/// A fact about the system, with how it is and what follows from it.
type Fact = (&'static str, String);

/// Attaches everything, reports, and detaches it again.
pub fn run(config: &Config, as_json: bool) -> Result<ExitCode> {
    let host = Host::read(config.hostname.as_deref());
    let mut facts = facts(config, &host);
    // A sensor that runs already goes on undisturbed.
    let probes = Probes::load(&Settings { beside: true, ..config.probe_settings() });
    let (hooks, maps) = match &probes {
        Ok(probes) => (probes.report(), probes.map_bytes()),
        Err(_) => (&[][..], Vec::new()),
    };
    if let Ok(probes) = &probes {
        facts.push(("maps elsewhere", growth(probes)));
    }
    let good = probes.is_ok() && hooks.iter().all(|hook| hook.attached.is_some() || !hook.required);
    let error = probes.as_ref().err().map(ToString::to_string);
    let text = match as_json {
        true => json_lines(&facts, hooks, &maps, error.as_deref(), good),
        false => table(&host, &facts, hooks, &maps, error.as_deref(), good),
    };
    std::io::stdout().write_all(text.as_bytes()).context("cannot write the report")?;
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Tells what the maps take on other machines, as counters are per processor.
fn growth(probes: &Probes) -> String {
    let told =
        PROCESSORS.map(|number| format!("{} on {number}", size(probes.map_bytes_with(number))));
    format!("about {} processors, once the tables that grow are full", told.join(", "))
}

fn facts(config: &Config, host: &Host) -> Vec<Fact> {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let found = |path: &str, missing: &str| match Path::new(path).exists() {
        true => path.to_owned(),
        false => format!("missing; {missing}"),
    };
    let shown = |path: &Option<std::path::PathBuf>, none: &str| {
        path.as_ref().map_or_else(|| none.to_owned(), |path| path.display().to_string())
    };
    let mut facts = vec![
        ("kernel", format!("{} on {} processors", host.kernel, host.cpus)),
        (
            "kernel programs",
            match OBJECT_EMBEDDED {
                true => "in this binary".to_owned(),
                false => "missing; this binary was built without them".to_owned(),
            },
        ),
        ("BTF", found(BTF, "arguments, paths and lineage cannot be read from the kernel")),
        ("kprobes", found(KPROBES, "hooks that prefer one use what stands in for it")),
        (
            "cgroup v2",
            match cgroup::cgroup2_mount(&mounts) {
                Some(mount) => mount.display().to_string(),
                None => "missing; records have no cgroup and no container".to_owned(),
            },
        ),
        ("sandbox", sandbox(config)),
        ("watched tasks", shown(&config.scope.cgroup, "all")),
        ("watched network", shown(&config.scope.netns, "this namespace")),
    ];
    if let Some(pid) = running_sensor() {
        let means = "it holds XDP, so a classifier stands in for it here";
        facts.push(("running sensor", format!("pid {pid}; {means}")));
    }
    facts
}

/// Tells what the process that parses will be held by.
fn sandbox(config: &Config) -> String {
    let landlock = match folders::version() {
        Some(version) => format!("landlock version {version}"),
        None => "no landlock; the worker reads what its user may read".to_owned(),
    };
    let seccomp = match Path::new(SECCOMP).exists() {
        true => "seccomp",
        false => "no seccomp; any system call is let through",
    };
    let user = match account::find(config.user.as_deref()) {
        Some(account) => format!("user {}", account.uid),
        None => "no such user; the sensor will not start".to_owned(),
    };
    format!("no new privileges, {landlock}, {seccomp}, {user}")
}

/// Returns the pid of a sensor that runs on this host already.
fn running_sensor() -> Option<u32> {
    let ours = std::process::id();
    let sensors = procfs::all().into_iter().filter(|process| {
        let mut args = process.args.split(|&b| b == 0);
        let program = args.next().unwrap_or_default();
        program.ends_with(b"sakuramori-sensor") && args.any(|arg| arg == b"run")
    });
    sensors.map(|process| process.pid).find(|&pid| pid != ours)
}

fn table(
    host: &Host,
    facts: &[Fact],
    hooks: &[HookReport],
    maps: &[(String, u64)],
    error: Option<&str>,
    good: bool,
) -> String {
    let mut text = format!("sakuramori-sensor {} on {}\n\n", env!("CARGO_PKG_VERSION"), host.name);
    for (name, fact) in facts {
        // Writing to a string cannot fail, here and below.
        let _ = writeln!(text, "  {name:<16} {fact}");
    }
    if !hooks.is_empty() {
        let width = hooks.iter().map(|hook| hook.name.len()).max().unwrap_or(0).max(4);
        let _ = writeln!(text, "\n  {:<width$}  {:<8}  {:<9}  HOW", "HOOK", "SIGNAL", "STATE");
        for hook in hooks {
            hook_lines(&mut text, hook, width);
        }
    }
    if !maps.is_empty() {
        let total: u64 = maps.iter().map(|(_, bytes)| bytes).sum();
        let largest = maps.iter().max_by_key(|(_, bytes)| bytes);
        let _ = write!(text, "\n  {} maps use {} of kernel memory", maps.len(), size(total));
        if let Some((name, bytes)) = largest {
            let _ = writeln!(text, ", the largest is {name} with {}", size(*bytes));
        }
    }
    let verdict = match (error, good) {
        (Some(error), _) => format!("nothing is attached: {error}"),
        (None, true) => "every required hook is attached".to_owned(),
        (None, false) => "a required hook is missing".to_owned(),
    };
    let _ = writeln!(text, "\n  {verdict}");
    text
}

fn hook_lines(text: &mut String, hook: &HookReport, width: usize) {
    let needless = is_needless(hook);
    let how = hook.attached.as_deref().or(hook.error.as_deref());
    let how = how.or(hook.stands_in.as_deref().filter(|_| needless)).unwrap_or("not attached");
    let (name, signal, state) = (hook.name, hook.signal, state(hook));
    let _ = writeln!(text, "  {name:<width$}  {signal:<8}  {state:<9}  {how}");
    let lost = hook.lost.filter(|_| hook.attached.is_none());
    let why = hook.stands_in.as_deref().filter(|_| !needless);
    let notes = [("why", why), ("lost", lost)];
    for (label, note) in notes {
        if let Some(note) = note {
            let _ = writeln!(text, "  {:<width$}  {:<8}  {:<9}    {label}: {note}", "", "", "");
        }
    }
}

fn state(hook: &HookReport) -> &'static str {
    if is_needless(hook) {
        return "no need";
    }
    match (&hook.attached, &hook.stands_in, hook.required) {
        (Some(_), None, _) => "ok",
        (Some(_), Some(_), _) => "stands in",
        (None, _, true) => "MISSING",
        (None, _, false) => "off",
    }
}

fn json_lines(
    facts: &[Fact],
    hooks: &[HookReport],
    maps: &[(String, u64)],
    error: Option<&str>,
    good: bool,
) -> String {
    let facts: serde_json::Map<String, Value> =
        facts.iter().map(|(name, fact)| (name.replace(' ', "_"), json!(fact))).collect();
    let mut lines = vec![json!({"kind": "system", "facts": facts})];
    lines.extend(hooks.iter().map(|hook| {
        json!({
            "kind": "hook", "name": hook.name, "signal": hook.signal, "state": state(hook),
            "required": hook.required, "attached": hook.attached, "stands_in": hook.stands_in,
            "lost": hook.lost.filter(|_| hook.attached.is_none()), "error": hook.error,
        })
    }));
    lines.extend(
        maps.iter().map(|(name, bytes)| json!({"kind": "map", "name": name, "bytes": bytes})),
    );
    lines.push(json!({"kind": "verdict", "good": good, "error": error}));
    lines.iter().map(|line| format!("{line}\n")).collect()
}

/// Shows a number of bytes to three digits.
pub fn size(bytes: u64) -> String {
    match bytes {
        0..1024 => format!("{bytes} B"),
        1024..1_048_576 => format!("{:.1} KiB", bytes as f64 / 1024.0),
        _ => format!("{:.1} MiB", bytes as f64 / 1_048_576.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hook(required: bool, attached: Option<&str>, stands_in: Option<&str>) -> HookReport {
        HookReport {
            name: "module-load",
            signal: "module",
            required,
            attached: attached.map(str::to_owned),
            stands_in: stands_in.map(str::to_owned),
            lost: Some("loaded kernel modules"),
            error: attached.is_none().then(|| "permission denied".to_owned()),
        }
    }

    #[test]
    fn a_hook_says_how_it_is_and_what_is_lost() {
        let mut text = String::new();
        hook_lines(&mut text, &hook(false, Some("tracepoint x"), Some("no kprobes")), 11);
        hook_lines(&mut text, &hook(true, None, None), 11);
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        assert_eq!(
            lines,
            [
                "module-load  module    stands in  tracepoint x",
                "why: no kprobes",
                "module-load  module    MISSING    permission denied",
                "lost: loaded kernel modules",
            ]
        );
    }

    #[test]
    fn json_has_one_object_per_line() {
        let hooks = [hook(true, Some("tracepoint x"), None)];
        let text = json_lines(&[("BTF", "yes".into())], &hooks, &[("FLOWS".into(), 9)], None, true);
        let lines: Vec<Value> = text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
        let kinds: Vec<&str> = lines.iter().map(|l| l["kind"].as_str().unwrap()).collect();
        assert_eq!(kinds, ["system", "hook", "map", "verdict"]);
        assert_eq!((&lines[1]["state"], &lines[1]["lost"]), (&json!("ok"), &Value::Null));
    }
}
