//! Hooks on files, and on connections to unix sockets.

use sensor_abi::seen::Signal;

use super::{Hook, always_needed};
use crate::probe::way::Way;

pub(super) const HOOKS: &[Hook] = &[Hook {
    name: "file",
    signal: Signal::File,
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
        // The other architecture has other registers.
        #[cfg(target_arch = "x86_64")]
        Way::Most(&[
            Way::NextCall { program: "file_call_open", call: "open" },
            Way::NextCall { program: "file_call_open", call: "openat" },
            Way::NextCall { program: "file_call_open", call: "openat2" },
            Way::NextCall { program: "file_call_open", call: "creat" },
            Way::NextCall { program: "file_call_open", call: "open_by_handle_at" },
            Way::NextCall { program: "file_call_path", call: "rename" },
            Way::NextCall { program: "file_call_path", call: "renameat" },
            Way::NextCall { program: "file_call_path", call: "renameat2" },
            Way::NextCall { program: "file_call_path", call: "link" },
            Way::NextCall { program: "file_call_path", call: "linkat" },
            Way::NextCall { program: "file_call_path", call: "symlink" },
            Way::NextCall { program: "file_call_path", call: "symlinkat" },
            Way::NextCall { program: "file_call_path", call: "unlink" },
            Way::NextCall { program: "file_call_path", call: "rmdir" },
            Way::NextCall { program: "file_call_path", call: "unlinkat" },
            Way::NextCall { program: "file_call_path", call: "chmod" },
            Way::NextCall { program: "file_call_path", call: "fchmodat" },
            Way::NextCall { program: "file_call_path", call: "fchmodat2" },
            Way::NextCall { program: "file_call_path", call: "chown" },
            Way::NextCall { program: "file_call_path", call: "lchown" },
            Way::NextCall { program: "file_call_path", call: "fchownat" },
            Way::NextCall { program: "file_call_path", call: "truncate" },
            Way::NextCall { program: "file_call_descriptor", call: "fchmod" },
            Way::NextCall { program: "file_call_descriptor", call: "fchown" },
            Way::NextCall { program: "file_call_descriptor", call: "ftruncate" },
            Way::NextCall { program: "file_call_connect", call: "connect" },
        ]),
    ],
    unneeded: always_needed,
}];
