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
            offsets: with_overlay(&btf),
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

/// Where a kernel keeps the types of its overlay file system when that is a module.
const OVERLAY: &str = "/sys/kernel/btf/overlay";
/// Fields that kernels lack by configuration; nothing is wrong without them.
const OPTIONAL: [&str; 5] =
    ["loginuid", "sessionid", "vfs_inode", "__upperdentry", "thread_info.status"];

fn with_overlay(kernel: &Btf<'_>) -> Offsets {
    let bytes = fs::read(OVERLAY).unwrap_or_default();
    let overlay = Btf::parse_module(&bytes, kernel);
    offsets(kernel, overlay.ok().as_ref())
}

/// Finds a field under the first of its names that there is; kernels have renamed some.
fn find(
    kernel: &Btf<'_>,
    overlay: Option<&Btf<'_>>,
    structure: &'static str,
    paths: &[&'static str],
) -> u32 {
    let found = paths.iter().find_map(|path| {
        kernel.offset(structure, path).or_else(|| overlay?.offset(structure, path))
    });
    found.unwrap_or_else(|| {
        if !paths.iter().any(|path| OPTIONAL.contains(path)) {
            warn!(structure, ?paths, "this kernel has no such field");
        }
        Offsets::UNKNOWN
    })
}

macro_rules! fields {
    ($($offset:ident = $structure:literal $($path:literal)+,)*) => {
        const UNKNOWN: Offsets = Offsets { $($offset: Offsets::UNKNOWN,)* };

        fn offsets(kernel: &Btf<'_>, overlay: Option<&Btf<'_>>) -> Offsets {
            Offsets { $($offset: find(kernel, overlay, $structure, &[$($path),+]),)* }
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
    bprm_filename = "linux_binprm" "filename",
    bprm_interp = "linux_binprm" "interp",
    mm_env_start = "mm_struct" "env_start",
    mm_env_end = "mm_struct" "env_end",
    cred_uid = "cred" "uid",
    cred_egid = "cred" "egid",
    cred_cap_effective = "cred" "cap_effective",
    cred_user_ns = "cred" "user_ns",
    user_ns_inum = "user_namespace" "ns.inum",
    task_nsproxy = "task_struct" "nsproxy",
    nsproxy_mnt_ns = "nsproxy" "mnt_ns",
    nsproxy_net_ns = "nsproxy" "net_ns",
    mnt_ns_inum = "mnt_namespace" "ns.inum",
    task_thread_pid = "task_struct" "thread_pid",
    pid_level = "pid" "level",
    pid_numbers = "pid" "numbers",
    upid_ns = "upid" "ns",
    pid_ns_inum = "pid_namespace" "ns.inum",
    task_loginuid = "task_struct" "loginuid",
    task_sessionid = "task_struct" "sessionid",
    signal_tty = "signal_struct" "tty",
    tty_name = "tty_struct" "name",
    inode_size = "inode" "i_size",
    inode_mtime_sec = "inode" "i_mtime_sec" "__i_mtime.tv_sec" "i_mtime.tv_sec",
    inode_mtime_nsec = "inode" "i_mtime_nsec" "__i_mtime.tv_nsec" "i_mtime.tv_nsec",
    inode_ctime_sec = "inode" "i_ctime_sec" "__i_ctime.tv_sec" "i_ctime.tv_sec",
    inode_ctime_nsec = "inode" "i_ctime_nsec" "__i_ctime.tv_nsec" "i_ctime.tv_nsec",
    ovl_vfs_inode = "ovl_inode" "vfs_inode",
    ovl_upperdentry = "ovl_inode" "__upperdentry",
    sock_hash = "sock" "__sk_common.skc_hash",
    tcp_copied_seq = "tcp_sock" "copied_seq",
    tcp_rcv_nxt = "tcp_sock" "rcv_nxt",
    tcp_bytes_received = "tcp_sock" "bytes_received",
    thread_info_status = "task_struct" "thread_info.status",
    task_pid_links = "task_struct" "pid_links",
    pid_tasks = "pid" "tasks",
    pidns_numbers = "pid_namespace" "idr.idr_rt.xa_head",
    xa_node_shift = "xa_node" "shift",
    xa_node_slots = "xa_node" "slots",
    proc_inode_pid = "proc_inode" "pid",
    proc_inode_vfs = "proc_inode" "vfs_inode",
    file_mode = "file" "f_mode",
    vma_flags = "vm_area_struct" "vm_flags",
    cred_permitted = "cred" "cap_permitted",
    bprm_cred = "linux_binprm" "cred",
    bpf_prog_type = "bpf_prog" "type",
    bpf_prog_aux = "bpf_prog" "aux",
    bpf_prog_name = "bpf_prog_aux" "name",
    bpf_map_type = "bpf_map" "map_type",
    bpf_map_name = "bpf_map" "name",
    request_opcode = "io_kiocb" "opcode",
    task_fs = "task_struct" "fs",
    fs_pwd_dentry = "fs_struct" "pwd.dentry",
    fs_pwd_mnt = "fs_struct" "pwd.mnt",
    fs_root_dentry = "fs_struct" "root.dentry",
    fs_root_mnt = "fs_struct" "root.mnt",
    dentry_chunk = "dentry" "d_parent",
    dentry_inode = "dentry" "d_inode",
    file_flags = "file" "f_flags",
    unix_peer = "unix_sock" "peer",
    unix_path_dentry = "unix_sock" "path.dentry",
    unix_path_mnt = "unix_sock" "path.mnt",
}
