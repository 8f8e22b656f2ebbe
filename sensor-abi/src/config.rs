//! Globals that the sensor sets once, when it loads the programs.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::flow;

/// What the programs watch, and where the running kernel keeps the fields they read.
///
/// Offsets are in bytes and come from the kernel's BTF. [`Offsets::UNKNOWN`] marks a field that
/// this kernel lacks; the program then leaves the matching record field empty and counts a fault.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Config {
    /// How packets are counted.
    pub flows: flow::Settings,
    /// Id of the cgroup v2 directory that limits process signals, a `u64`; 0 watches every task.
    /// As bytes, so that there is no padding behind an odd number of offsets.
    pub scope_cgroup_id: [u8; 8],
    /// Depth of that directory below the cgroup root (the root itself is level 0).
    pub scope_cgroup_level: u32,
    /// Inode number of the network namespace that limits socket signals; 0 watches all.
    pub scope_netns: u32,
    /// Keeps the size a multiple of eight without padding.
    pub reserved: u32,
    /// 1 when `sched_process_exit` has the argument `group_dead` (since 6.16), else 0.
    pub exit_says_group_dead: u32,
    /// Random, so that nobody can make a DNS message that is taken for another.
    pub payload_seed: u64,
    /// Where the kernel keeps what the programs read.
    pub offsets: Offsets,
    /// Keeps the size a multiple of eight without padding, however many offsets there are.
    pub filler: [u32; size_of::<Offsets>() / size_of::<u32>() % 2],
}

/// Byte offsets of kernel structure fields on the running kernel.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Offsets {
    /// `task_struct.mm`.
    pub task_mm: u32,
    /// `task_struct.real_parent`.
    pub task_real_parent: u32,
    /// `task_struct.tgid`.
    pub task_tgid: u32,
    /// `task_struct.group_leader`.
    pub task_group_leader: u32,
    /// `task_struct.start_boottime` (nanoseconds since boot).
    pub task_start_boottime: u32,
    /// `task_struct.exit_code`.
    pub task_exit_code: u32,
    /// `task_struct.files`.
    pub task_files: u32,
    /// `mm_struct.arg_start`.
    pub mm_arg_start: u32,
    /// `mm_struct.arg_end`.
    pub mm_arg_end: u32,
    /// `mm_struct.exe_file`.
    pub mm_exe_file: u32,
    /// `files_struct.fdt`.
    pub files_fdt: u32,
    /// `fdtable.fd`.
    pub fdt_fd: u32,
    /// `fdtable.max_fds`.
    pub fdt_max_fds: u32,
    /// `file.f_inode`.
    pub file_inode: u32,
    /// `file.f_path` plus `path.dentry`.
    pub file_dentry: u32,
    /// `file.f_path` plus `path.mnt`.
    pub file_mnt: u32,
    /// `file.private_data`.
    pub file_private_data: u32,
    /// `inode.i_mode`.
    pub inode_mode: u32,
    /// `inode.i_ino`.
    pub inode_ino: u32,
    /// `inode.i_nlink`.
    pub inode_nlink: u32,
    /// `inode.i_sb`.
    pub inode_sb: u32,
    /// `super_block.s_dev`.
    pub sb_dev: u32,
    /// `super_block.s_magic`.
    pub sb_magic: u32,
    /// `dentry.d_name` plus `qstr.name`.
    pub dentry_name: u32,
    /// `dentry.d_parent`.
    pub dentry_parent: u32,
    /// `vfsmount.mnt_root`.
    pub vfsmount_root: u32,
    /// `mount.mnt` (a `vfsmount` is embedded there).
    pub mount_mnt: u32,
    /// `mount.mnt_parent`.
    pub mount_parent: u32,
    /// `mount.mnt_mountpoint`.
    pub mount_mountpoint: u32,
    /// `socket.sk`.
    pub socket_sk: u32,
    /// `sock.__sk_common` plus `sock_common.skc_family`.
    pub sock_family: u32,
    /// … plus `skc_daddr`.
    pub sock_daddr: u32,
    /// … plus `skc_rcv_saddr`.
    pub sock_saddr: u32,
    /// … plus `skc_dport` (network byte order).
    pub sock_dport: u32,
    /// … plus `skc_num` (local port, host byte order).
    pub sock_num: u32,
    /// … plus `skc_v6_daddr`.
    pub sock_v6_daddr: u32,
    /// … plus `skc_v6_rcv_saddr`.
    pub sock_v6_saddr: u32,
    /// … plus `skc_net` (a pointer to `net`).
    pub sock_net: u32,
    /// `net.ns` plus `ns_common.inum`.
    pub net_inum: u32,
    /// `module.name` (an array).
    pub module_name: u32,
    /// `task_struct.pid` (what user space calls a thread id).
    pub task_pid: u32,
    /// `task_struct.cred`.
    pub task_cred: u32,
    /// `cred.euid`.
    pub cred_euid: u32,
    /// `task_struct.signal`.
    pub task_signal: u32,
    /// `signal_struct.live` (threads that have not begun to exit).
    pub signal_live: u32,
    /// `signal_struct.group_exit_code`.
    pub signal_group_exit_code: u32,
    /// `inet_sock.inet_sport` (network byte order; outlives `skc_num`).
    pub inet_sport: u32,
    /// `sock.sk_protocol`.
    pub sock_protocol: u32,
    /// `linux_binprm.filename`.
    pub bprm_filename: u32,
    /// `linux_binprm.interp`.
    pub bprm_interp: u32,
    /// `mm_struct.env_start`.
    pub mm_env_start: u32,
    /// `mm_struct.env_end`.
    pub mm_env_end: u32,
    /// `cred.uid`.
    pub cred_uid: u32,
    /// `cred.egid`.
    pub cred_egid: u32,
    /// `cred.cap_effective`: 64 bits, whatever their type.
    pub cred_cap_effective: u32,
    /// `cred.user_ns`.
    pub cred_user_ns: u32,
    /// `user_namespace.ns` plus `ns_common.inum`.
    pub user_ns_inum: u32,
    /// `task_struct.nsproxy`.
    pub task_nsproxy: u32,
    /// `nsproxy.mnt_ns`.
    pub nsproxy_mnt_ns: u32,
    /// `nsproxy.net_ns`.
    pub nsproxy_net_ns: u32,
    /// `mnt_namespace.ns` plus `ns_common.inum`.
    pub mnt_ns_inum: u32,
    /// `task_struct.thread_pid`.
    pub task_thread_pid: u32,
    /// `pid.level`.
    pub pid_level: u32,
    /// `pid.numbers` (an array of `upid`).
    pub pid_numbers: u32,
    /// `upid.ns`.
    pub upid_ns: u32,
    /// `pid_namespace.ns` plus `ns_common.inum`.
    pub pid_ns_inum: u32,
    /// `task_struct.loginuid`; only with audit.
    pub task_loginuid: u32,
    /// `task_struct.sessionid`; only with audit.
    pub task_sessionid: u32,
    /// `signal_struct.tty`.
    pub signal_tty: u32,
    /// `tty_struct.name` (an array).
    pub tty_name: u32,
    /// `inode.i_size`.
    pub inode_size: u32,
    /// Seconds of `inode.i_mtime`, whatever it is called.
    pub inode_mtime_sec: u32,
    /// Nanoseconds of it.
    pub inode_mtime_nsec: u32,
    /// Seconds of `inode.i_ctime`, likewise.
    pub inode_ctime_sec: u32,
    /// Nanoseconds of it.
    pub inode_ctime_nsec: u32,
    /// `ovl_inode.vfs_inode` (an inode is embedded there); only while overlay is built in or
    /// loaded.
    pub ovl_vfs_inode: u32,
    /// `ovl_inode.__upperdentry`, likewise.
    pub ovl_upperdentry: u32,
    /// `sock.__sk_common` plus `skc_hash` (followed by both ports).
    pub sock_hash: u32,
    /// `tcp_sock.copied_seq` (the next byte that is read).
    pub tcp_copied_seq: u32,
    /// `tcp_sock.rcv_nxt` (the next byte that is to arrive).
    pub tcp_rcv_nxt: u32,
    /// `tcp_sock.bytes_received`.
    pub tcp_bytes_received: u32,
    /// `task_struct.thread_info` plus `thread_info.status` (x86: inside a 32-bit system call).
    pub thread_info_status: u32,
    /// `task_struct.pid_links`.
    pub task_pid_links: u32,
    /// `pid.tasks` (an array; the first is that of the thread).
    pub pid_tasks: u32,
    /// `pid_namespace.idr` plus where that keeps its topmost entry.
    pub pidns_numbers: u32,
    /// `xa_node.shift`.
    pub xa_node_shift: u32,
    /// `xa_node.slots`.
    pub xa_node_slots: u32,
    /// `proc_inode.pid`.
    pub proc_inode_pid: u32,
    /// `proc_inode.vfs_inode` (an inode is embedded there).
    pub proc_inode_vfs: u32,
    /// `file.f_mode`.
    pub file_mode: u32,
    /// `vm_area_struct.vm_flags`.
    pub vma_flags: u32,
    /// `cred.cap_permitted`.
    pub cred_permitted: u32,
    /// `linux_binprm.cred`.
    pub bprm_cred: u32,
    /// `bpf_prog.type`.
    pub bpf_prog_type: u32,
    /// `bpf_prog.aux`.
    pub bpf_prog_aux: u32,
    /// `bpf_prog_aux.name` (an array).
    pub bpf_prog_name: u32,
    /// `bpf_map.map_type`.
    pub bpf_map_type: u32,
    /// `bpf_map.name` (an array).
    pub bpf_map_name: u32,
    /// `io_kiocb.opcode`.
    pub request_opcode: u32,
    /// `task_struct.fs`.
    pub task_fs: u32,
    /// `fs_struct.pwd` plus `path.dentry`.
    pub fs_pwd_dentry: u32,
    /// `fs_struct.pwd` plus `path.mnt`.
    pub fs_pwd_mnt: u32,
    /// `fs_struct.root` plus `path.dentry`.
    pub fs_root_dentry: u32,
    /// `fs_struct.root` plus `path.mnt`.
    pub fs_root_mnt: u32,
    /// `dentry.d_parent`, when `d_name`, `d_inode` and the short name follow in this order.
    pub dentry_chunk: u32,
    /// `dentry.d_inode`.
    pub dentry_inode: u32,
    /// `file.f_flags`.
    pub file_flags: u32,
    /// `unix_sock.peer`.
    pub unix_peer: u32,
    /// `unix_sock.path` plus `path.dentry`.
    pub unix_path_dentry: u32,
    /// `unix_sock.path` plus `path.mnt`.
    pub unix_path_mnt: u32,
}

impl Offsets {
    /// The field does not exist on this kernel, or its BTF could not be read.
    pub const UNKNOWN: u32 = u32::MAX;
}

const _: () = {
    let whole = 48 + size_of::<Offsets>();
    assert!(size_of::<Config>() == whole.next_multiple_of(8));
};

#[cfg(feature = "user")]
// SAFETY: `Config` is `repr(C)`, without padding (zerocopy's `IntoBytes` proves it), and `Copy`.
unsafe impl aya::Pod for Config {}
