//! The ways in which a program can be attached, and why a kernel cannot have one of them.

use std::{fs, path::Path};

use super::WayKind;

/// One way to attach a hook.
#[derive(Clone, Copy, Debug)]
pub(super) enum Way {
    /// Needs no tracefs, and passes the kernel's own arguments.
    RawTracepoint {
        /// Program in the object.
        program: &'static str,
        /// Tracepoint of the kernel.
        hook: &'static str,
    },
    /// Needs tracefs.
    Tracepoint {
        /// Program in the object.
        program: &'static str,
        /// Folder below `events`.
        category: &'static str,
        /// Tracepoints of that folder, all of which are attached.
        hooks: &'static [&'static str],
    },
    /// When a system call has ended, behind one program that sits on the path of all of them: where
    /// nothing else works, since that slows every call of the host.
    Call {
        /// Program in the object.
        program: &'static str,
        /// The call's name.
        call: &'static str,
    },
    /// The same, after the program that waits for the same call as `Call`, if there is one.
    NextCall {
        /// Program in the object.
        program: &'static str,
        /// The call's name.
        call: &'static str,
    },
    /// When the kernel's functions for a system call return, also for 32-bit callers; needs a
    /// kernel with kprobes.
    Return {
        /// Program in the object.
        program: &'static str,
        /// The call's name.
        call: &'static str,
    },
    /// Needs a kernel with kprobes.
    Kprobe {
        /// Program in the object.
        program: &'static str,
        /// Function of the kernel.
        function: &'static str,
    },
    /// When a function returns; needs a kernel with kprobes.
    Kretprobe {
        /// Program in the object.
        program: &'static str,
        /// Function of the kernel.
        function: &'static str,
    },
    /// When a function begins; needs BTF and trampolines, and costs a fraction of a kprobe.
    Fentry {
        /// Program in the object.
        program: &'static str,
        /// Function of the kernel.
        function: &'static str,
    },
    /// When a function ends, with its arguments and its result; needs what `Fentry` needs.
    Fexit {
        /// Program in the object.
        program: &'static str,
        /// Function of the kernel.
        function: &'static str,
    },
    /// A security hook; needs the `bpf` security module and what `Fentry` needs.
    Lsm {
        /// Program in the object.
        program: &'static str,
        /// Hook of the kernel, for instance `file_open`.
        hook: &'static str,
    },
    /// All of these or none, for a signal that takes more than one program.
    All(&'static [Self]),
    /// As many of these as there are, at least one; what is missing is reported.
    Most(&'static [Self]),
}

impl Way {
    /// Returns the way as `doctor` names it.
    pub(super) fn describe(&self) -> String {
        match self {
            Self::RawTracepoint { hook, .. } => format!("raw tracepoint {hook}"),
            Self::Tracepoint { category, hooks, .. } => {
                format!("tracepoint {category}/{}", hooks.join(", "))
            }
            Self::Call { call, .. } | Self::NextCall { call, .. } => {
                format!("end of system call {call}")
            }
            Self::Return { call, .. } => format!("return of system call {call}"),
            Self::Kprobe { function, .. } => format!("kprobe {function}"),
            Self::Kretprobe { function, .. } => format!("kretprobe {function}"),
            Self::Fentry { function, .. } => format!("fentry {function}"),
            Self::Fexit { function, .. } => format!("fexit {function}"),
            Self::Lsm { hook, .. } => format!("lsm {hook}"),
            Self::All(ways) | Self::Most(ways) => describe_all(ways),
        }
    }

    /// Says in plain words why this kernel cannot have this way, when that can be told beforehand;
    /// `avoid` is what the settings forbid.
    pub(super) fn missing(&self, avoid: &[WayKind]) -> Option<&'static str> {
        let kind = match self {
            Self::RawTracepoint { .. } | Self::Call { .. } | Self::NextCall { .. } => {
                WayKind::RawTracepoint
            }
            Self::Tracepoint { .. } => WayKind::Tracepoint,
            Self::Kprobe { .. } | Self::Kretprobe { .. } | Self::Return { .. } => WayKind::Kprobe,
            Self::Fentry { .. } | Self::Fexit { .. } => WayKind::Fentry,
            Self::Lsm { .. } => WayKind::Lsm,
            Self::All(ways) => return ways.iter().find_map(|way| way.missing(avoid)),
            // Each of them is asked for by itself.
            Self::Most(_) => return None,
        };
        if avoid.contains(&kind) {
            return Some("avoided by the configuration");
        }
        match kind {
            WayKind::Kprobe => without_kprobes(),
            WayKind::Fentry => without_types(),
            WayKind::Lsm => without_types().or_else(without_security_module),
            WayKind::RawTracepoint | WayKind::Tracepoint => None,
        }
    }

    /// Returns the functions that the kernel's types have to name for this way.
    pub(super) fn functions(&self) -> Vec<String> {
        let mut functions = Vec::new();
        self.parts(&mut |part| match part {
            Self::Fentry { function, .. } | Self::Fexit { function, .. } => {
                functions.push(function.to_owned());
            }
            Self::Lsm { hook, .. } => functions.push(format!("bpf_lsm_{hook}")),
            _ => {}
        });
        functions
    }

    /// Calls `each` for every single way that this one consists of.
    pub(super) fn parts(&self, each: &mut dyn FnMut(Self)) {
        match self {
            Self::All(ways) | Self::Most(ways) => ways.iter().for_each(|way| way.parts(each)),
            single => each(*single),
        }
    }

    /// Returns the program of a single way.
    pub(super) fn program(&self) -> Option<&'static str> {
        match self {
            Self::RawTracepoint { program, .. }
            | Self::Tracepoint { program, .. }
            | Self::Call { program, .. }
            | Self::NextCall { program, .. }
            | Self::Return { program, .. }
            | Self::Kprobe { program, .. }
            | Self::Kretprobe { program, .. }
            | Self::Fentry { program, .. }
            | Self::Fexit { program, .. }
            | Self::Lsm { program, .. } => Some(program),
            Self::All(_) | Self::Most(_) => None,
        }
    }
}

fn describe_all(ways: &[Way]) -> String {
    let names: Vec<String> = ways.iter().map(Way::describe).collect();
    join(&names)
}

/// Joins names of ways; those of one kind that follow each other name their kind once.
pub(super) fn join(names: &[String]) -> String {
    let mut text = String::new();
    let mut last = "";
    for name in names {
        let (kind, target) = name.rsplit_once(' ').unwrap_or(("", name));
        match (text.is_empty(), kind == last) {
            (true, _) => text.push_str(name),
            (false, true) => text.extend([", ", target]),
            (false, false) => text.extend([" and ", name]),
        }
        last = kind;
    }
    text
}

fn without_kprobes() -> Option<&'static str> {
    let devices = Path::new("/sys/bus/event_source/devices");
    (devices.exists() && !devices.join("kprobe").exists())
        .then_some("this kernel is built without kprobes")
}

fn without_types() -> Option<&'static str> {
    let sysfs = Path::new("/sys/kernel").exists();
    (sysfs && !Path::new(crate::btf::VMLINUX).exists())
        .then_some("this kernel is built without BTF")
}

/// Unknown when securityfs is not mounted; then the attempt tells.
fn without_security_module() -> Option<&'static str> {
    let active = fs::read_to_string("/sys/kernel/security/lsm").ok()?;
    lacks_bpf(&active).then_some("`bpf` is not among the kernel's active security modules")
}

fn lacks_bpf(active: &str) -> bool {
    !active.trim().split(',').any(|module| module == "bpf")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEND: Way = Way::Fentry { program: "a", function: "tcp_sendmsg" };
    const DONE: Way = Way::Fexit { program: "b", function: "tcp_recvmsg" };
    const PROBE: Way = Way::Kprobe { program: "c", function: "udp_sendmsg" };

    #[test]
    fn ways_that_belong_together_are_named_together() {
        assert_eq!(Way::All(&[SEND, SEND]).describe(), "fentry tcp_sendmsg, tcp_sendmsg");
        assert_eq!(Way::Most(&[SEND, DONE]).describe(), "fentry tcp_sendmsg and fexit tcp_recvmsg");
        let mut programs = Vec::new();
        Way::All(&[SEND, Way::Most(&[DONE, PROBE])]).parts(&mut |way| programs.push(way.program()));
        assert_eq!(programs, [Some("a"), Some("b"), Some("c")]);
    }

    #[test]
    fn what_is_avoided_is_missing_with_all_that_needs_it() {
        let avoid = [WayKind::Fentry];
        let why = Some("avoided by the configuration");
        assert_eq!(SEND.missing(&avoid), why);
        assert_eq!(DONE.missing(&avoid), why);
        assert!(Way::All(&[PROBE, SEND]).missing(&avoid).is_some());
        assert_eq!(Way::Most(&[PROBE, SEND]).missing(&avoid), None);
        assert_ne!(PROBE.missing(&avoid), why);
    }

    #[test]
    fn a_security_module_is_active_when_the_kernel_lists_it() {
        assert!(lacks_bpf("lockdown,capability,landlock,yama\n"));
        assert!(lacks_bpf("capability,notbpf"));
        assert!(!lacks_bpf("lockdown,capability,yama,apparmor,bpf\n"));
    }
}
