//! The fields that the programs read, looked up on the running kernel.

use std::fs;

use sensor_abi::config::Offsets;
use tracing::warn;

use crate::btf::{Btf, VMLINUX};

/// What the running kernel's types say.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout {
    /// Where fields are.
    pub(super) offsets: Offsets,
    /// Whether `sched_process_exit` says which thread is the last one.
    pub(super) exit_says_group_dead: bool,
}

/// Reads the kernel's types; without them every offset is unknown, and what needs one is left out.
pub(super) fn layout() -> Layout {
    let bytes = fs::read(VMLINUX).unwrap_or_default();
    match Btf::parse(&bytes) {
        Ok(btf) => Layout {
            offsets: offsets(&btf),
            // The task, and since 6.16 whether it is the last of its group.
            exit_says_group_dead: btf.tracepoint_arguments("btf_trace_sched_process_exit")
                == Some(2),
        },
        Err(error) => {
            warn!(file = VMLINUX, %error, "kernel fields cannot be read");
            Layout { offsets: UNKNOWN, exit_says_group_dead: false }
        }
    }
}

macro_rules! fields {
    ($($offset:ident = $structure:literal $path:literal,)*) => {
        const UNKNOWN: Offsets = Offsets { $($offset: Offsets::UNKNOWN,)* };

        fn offsets(btf: &Btf<'_>) -> Offsets {
            let find = |structure, path| {
                btf.offset(structure, path).unwrap_or_else(|| {
                    warn!(structure, path, "this kernel has no such field");
                    Offsets::UNKNOWN
                })
            };
            Offsets { $($offset: find($structure, $path),)* }
        }
    };
}

fields! {
    task_mm = "task_struct" "mm",
    task_real_parent = "task_struct" "real_parent",
    task_tgid = "task_struct" "tgid",
    task_group_leader = "task_struct" "group_leader",
    task_start_boottime = "task_struct" "start_boottime",
    task_exit_code = "task_struct" "exit_code",
    task_files = "task_struct" "files",
    mm_arg_start = "mm_struct" "arg_start",
    mm_arg_end = "mm_struct" "arg_end",
    mm_exe_file = "mm_struct" "exe_file",
    files_fdt = "files_struct" "fdt",
    fdt_fd = "fdtable" "fd",
    fdt_max_fds = "fdtable" "max_fds",
    file_inode = "file" "f_inode",
    file_dentry = "file" "f_path.dentry",
    file_mnt = "file" "f_path.mnt",
    file_private_data = "file" "private_data",
    inode_mode = "inode" "i_mode",
    inode_ino = "inode" "i_ino",
    inode_nlink = "inode" "i_nlink",
    inode_sb = "inode" "i_sb",
    sb_dev = "super_block" "s_dev",
    sb_magic = "super_block" "s_magic",
    dentry_name = "dentry" "d_name.name",
    dentry_parent = "dentry" "d_parent",
    vfsmount_root = "vfsmount" "mnt_root",
    mount_mnt = "mount" "mnt",
    mount_parent = "mount" "mnt_parent",
    mount_mountpoint = "mount" "mnt_mountpoint",
    socket_sk = "socket" "sk",
    sock_family = "sock" "__sk_common.skc_family",
    sock_daddr = "sock" "__sk_common.skc_daddr",
    sock_saddr = "sock" "__sk_common.skc_rcv_saddr",
    sock_dport = "sock" "__sk_common.skc_dport",
    sock_num = "sock" "__sk_common.skc_num",
    sock_v6_daddr = "sock" "__sk_common.skc_v6_daddr",
    sock_v6_saddr = "sock" "__sk_common.skc_v6_rcv_saddr",
    sock_net = "sock" "__sk_common.skc_net.net",
    net_inum = "net" "ns.inum",
    module_name = "module" "name",
    task_pid = "task_struct" "pid",
    task_cred = "task_struct" "cred",
    cred_euid = "cred" "euid",
    task_signal = "task_struct" "signal",
    signal_live = "signal_struct" "live",
    signal_group_exit_code = "signal_struct" "group_exit_code",
    inet_sport = "inet_sock" "inet_sport",
    sock_protocol = "sock" "sk_protocol",
}
