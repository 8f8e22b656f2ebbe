//! What is asked of the kernel: ways out of containers, privileges, other processes' memory.

use super::{Act, CONTAINER, HOST, MOUNTS, PYTHON};

const BY_HAND: &str = "a container is started by hand";
const DEBUGGER: &str = "gdb and the program that it started";

const INJECTION: Act = Act { twin: DEBUGGER, ..PYTHON };

pub(super) const ACTS: &[Act] = &[
    Act {
        name: "DockerSocketAccessed",
        finds: &["PrivilegeEscalation:Host/DockerSocketAccessed"],
        twin: "the host's own client asks the runtime",
        needs: &["python3"],
        script: "python3 $ACT runtime_socket $D/docker.sock",
        ..CONTAINER
    },
    Act {
        name: "RuncContainerEscape",
        finds: &["PrivilegeEscalation:Host/RuncContainerEscape"],
        twin: "a package is installed, with its scripts, user and timed job",
        script: r#"cat > $D/in.sh <<'SH'
mount -t tmpfs none /usr/local/sbin; cp /bin/true /usr/local/sbin/other
mv /usr/local/sbin/other /usr/local/sbin/runc
SH
unshare -m bash $D/in.sh"#,
        ..CONTAINER
    },
    Act {
        name: "CGroupsReleaseAgentModified",
        finds: &["PrivilegeEscalation:Host/CGroupsReleaseAgentModified"],
        twin: BY_HAND,
        script: r#"cat > $D/in.sh <<'SH'
mkdir $D/cg; mount -t cgroup -o none,name=smkeval cgroup $D/cg
echo /nonexistent > $D/cg/release_agent; echo > $D/cg/release_agent; umount $D/cg
SH
unshare -m bash $D/in.sh"#,
        ..CONTAINER
    },
    Act {
        name: "ContainerMountsHostDirectory",
        finds: &["PrivilegeEscalation:Host/ContainerMountsHostDirectory"],
        twin: BY_HAND,
        needs: &["unshare", "mkfs.ext4", "losetup"],
        script: r#"cat > $D/in.sh <<'SH'
mount -t tmpfs none $D; truncate -s 4M $D/disk; mkfs.ext4 -q $D/disk; mkdir $D/m
mount -o loop $D/disk $D/m && umount $D/m
SH
unshare -m bash $D/in.sh"#,
        ..CONTAINER
    },
    Act {
        name: "UserfaultfdUsage",
        finds: &["PrivilegeEscalation:Host/UserfaultfdUsage"],
        twin: "a call that the kernel refuses",
        script: "python3 $ACT userfaultfd",
        ..PYTHON
    },
    Act {
        name: "ElevationToRoot",
        finds: &["PrivilegeEscalation:Host/ElevationToRoot"],
        twin: "setuid programs of packages",
        needs: &["unshare", "setpriv"],
        script: r#"cat > $D/in.sh <<'SH'
mount -t tmpfs none /mnt; cp /bin/bash /mnt/sh; chmod 4755 /mnt/sh
setpriv --reuid 1000 --regid 1000 --clear-groups sh -c '/mnt/sh -p -c "read x < /proc/self/status"; true'
SH
unshare -m bash $D/in.sh"#,
        ..MOUNTS
    },
    Act {
        name: "ProcessInjection.Ptrace",
        finds: &["DefenseEvasion:Host/ProcessInjection.Ptrace"],
        script: "sleep 20 & V=$!; python3 $ACT ptrace $V; R=$?; kill $V; exit $R",
        ..INJECTION
    },
    Act {
        name: "ProcessInjection.VirtualMemoryWrite",
        finds: &["DefenseEvasion:Host/ProcessInjection.VirtualMemoryWrite"],
        script: "sleep 20 & V=$!; python3 $ACT vm_write $V; R=$?; kill $V; exit $R",
        ..INJECTION
    },
    Act {
        name: "ProcessInjection.Proc",
        finds: &["DefenseEvasion:Host/ProcessInjection.Proc"],
        script: "sleep 20 & V=$!; python3 $ACT proc_mem $V; R=$?; kill $V; exit $R",
        ..INJECTION
    },
    Act {
        name: "PtraceAntiDebugging",
        finds: &["DefenseEvasion:Host/PtraceAntiDebugging"],
        twin: "strace of a program",
        script: "python3 $ACT trace_me",
        ..PYTHON
    },
    Act {
        name: "FilelessExecution",
        finds: &["DefenseEvasion:Host/FilelessExecution"],
        twin: "just-in-time compilers",
        script: "$ACTOR memfd-exec /bin/sleep 0.2",
        ..HOST
    },
    Act {
        name: "IoUringBypass",
        finds: &["Execution:Host/IoUringBypass"],
        twin: "a program that is known to use io_uring",
        script: "python3 $ACT uring_open /etc/hostname",
        ..PYTHON
    },
    Act {
        name: "BpfProgramLoaded",
        finds: &["DefenseEvasion:Host/BpfProgramLoaded"],
        twin: "somebody looks at BPF programs",
        script: "python3 $ACT bpf_program",
        ..PYTHON
    },
    Act {
        name: "KernelModuleLoaded",
        finds: &["DefenseEvasion:Host/KernelModuleLoaded"],
        skip: Some("a module would stay in this machine's kernel; `cargo xtask vm` loads one"),
        ..HOST
    },
];
