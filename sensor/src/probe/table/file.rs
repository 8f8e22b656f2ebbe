//! Hooks on files, and on connections to unix sockets.

use super::{Hook, always_needed};
use crate::probe::way::Way;

pub(super) const HOOKS: &[Hook] = &[Hook {
    name: "file",
    signal: "file",
    required: false,
    lost: "watched files being touched, connections to watched sockets, and counts of file acts",
    ways: &[
        Way::Most(&[
            Way::Lsm { program: "file_open_lsm", hook: "file_open" },
            Way::Lsm { program: "file_rename_lsm", hook: "path_rename" },
            Way::Lsm { program: "file_unlink_lsm", hook: "path_unlink" },
            Way::Lsm { program: "file_rmdir_lsm", hook: "path_rmdir" },
            Way::Lsm { program: "file_link_lsm", hook: "path_link" },
            Way::Lsm { program: "file_symlink_lsm", hook: "path_symlink" },
            Way::Lsm { program: "file_chmod_lsm", hook: "path_chmod" },
            Way::Lsm { program: "file_chown_lsm", hook: "path_chown" },
            Way::Lsm { program: "file_truncate_lsm", hook: "path_truncate" },
            Way::Lsm { program: "file_ftruncate_lsm", hook: "file_truncate" },
            Way::Lsm { program: "file_connect_lsm", hook: "unix_stream_connect" },
        ]),
        Way::Most(&[
            Way::Fentry { program: "file_open_fentry", function: "security_file_open" },
            Way::Fentry { program: "file_rename_fentry", function: "security_path_rename" },
            Way::Fentry { program: "file_unlink_fentry", function: "security_path_unlink" },
            Way::Fentry { program: "file_rmdir_fentry", function: "security_path_rmdir" },
            Way::Fentry { program: "file_link_fentry", function: "security_path_link" },
            Way::Fentry { program: "file_symlink_fentry", function: "security_path_symlink" },
            Way::Fentry { program: "file_chmod_fentry", function: "security_path_chmod" },
            Way::Fentry { program: "file_chown_fentry", function: "security_path_chown" },
            Way::Fentry { program: "file_truncate_fentry", function: "security_path_truncate" },
            Way::Fentry { program: "file_ftruncate_fentry", function: "security_file_truncate" },
            Way::Fentry {
                program: "file_connect_fentry",
                function: "security_unix_stream_connect",
            },
        ]),
        Way::Most(&[
            Way::Kprobe { program: "file_open_kprobe", function: "security_file_open" },
            Way::Kprobe { program: "file_rename_kprobe", function: "security_path_rename" },
            Way::Kprobe { program: "file_unlink_kprobe", function: "security_path_unlink" },
            Way::Kprobe { program: "file_rmdir_kprobe", function: "security_path_rmdir" },
            Way::Kprobe { program: "file_link_kprobe", function: "security_path_link" },
            Way::Kprobe { program: "file_symlink_kprobe", function: "security_path_symlink" },
            Way::Kprobe { program: "file_chmod_kprobe", function: "security_path_chmod" },
            Way::Kprobe { program: "file_chown_kprobe", function: "security_path_chown" },
            Way::Kprobe { program: "file_truncate_kprobe", function: "security_path_truncate" },
            Way::Kprobe { program: "file_ftruncate_kprobe", function: "security_file_truncate" },
            Way::Kprobe {
                program: "file_connect_kprobe",
                function: "security_unix_stream_connect",
            },
        ]),
        #[cfg(target_arch = "x86_64")]
        Way::Most(&[
            Way::Tracepoint {
                program: "file_call_open",
                category: "syscalls",
                hooks: &[
                    "sys_exit_open",
                    "sys_exit_openat",
                    "sys_exit_openat2",
                    "sys_exit_creat",
                    "sys_exit_open_by_handle_at",
                ],
            },
            Way::Tracepoint {
                program: "file_call_path",
                category: "syscalls",
                hooks: &[
                    "sys_exit_rename",
                    "sys_exit_renameat",
                    "sys_exit_renameat2",
                    "sys_exit_link",
                    "sys_exit_linkat",
                    "sys_exit_symlink",
                    "sys_exit_symlinkat",
                    "sys_exit_unlink",
                    "sys_exit_rmdir",
                    "sys_exit_unlinkat",
                    "sys_exit_chmod",
                    "sys_exit_fchmodat",
                    "sys_exit_chown",
                    "sys_exit_lchown",
                    "sys_exit_fchownat",
                    "sys_exit_truncate",
                ],
            },
            Way::Tracepoint {
                program: "file_call_descriptor",
                category: "syscalls",
                hooks: &["sys_exit_fchmod", "sys_exit_fchown", "sys_exit_ftruncate"],
            },
            Way::Tracepoint {
                program: "file_call_connect",
                category: "syscalls",
                hooks: &["sys_exit_connect"],
            },
        ]),
        #[cfg(target_arch = "x86_64")]
        Way::Most(&[
            Way::RawTracepoint { program: "file_call_open_raw", hook: "sys_exit" },
            Way::RawTracepoint { program: "file_call_path_raw", hook: "sys_exit" },
            Way::RawTracepoint { program: "file_call_descriptor_raw", hook: "sys_exit" },
            Way::RawTracepoint { program: "file_call_connect_raw", hook: "sys_exit" },
        ]),
    ],
    unneeded: always_needed,
}];
