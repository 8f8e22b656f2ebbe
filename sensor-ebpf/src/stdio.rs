//! Where a process's standard descriptors lead.

use sensor_abi::record::Stdio;

use crate::{
    kernel::{self, field},
    socket,
};

const S_IFMT: u16 = 0o170_000;
const S_IFSOCK: u16 = 0o140_000;

/// Fills `entry` with what `descriptor` of the descriptor table leads to.
///
/// # Safety
///
/// `entry` points to writable map memory of this CPU.
#[inline(always)]
pub unsafe fn describe(table: u64, descriptor: u32, entry: *mut Stdio) {
    // SAFETY: the caller's promise. Written field by field, to keep the stack small.
    unsafe {
        *entry = Stdio { remote_addr: [0; 16], remote_port: 0, local_port: 0, mode: 0, family: 0 };
        if descriptor >= field!(table, fdt_max_fds => u32) {
            return;
        }
        let array = field!(table, fdt_fd => u64);
        let file: u64 = kernel::read(array, descriptor * size_of::<u64>() as u32);
        let inode = field!(file, file_inode => u64);
        let mode = field!(inode, inode_mode => u16);
        (*entry).mode = mode;
        if mode & S_IFMT == S_IFSOCK {
            let socket = field!(file, file_private_data => u64);
            let sock = field!(socket, socket_sk => u64);
            let family = field!(sock, sock_family => u16);
            (*entry).family = family;
            if socket::is_internet(family) {
                (*entry).remote_addr = socket::remote_addr(sock, family);
                (*entry).remote_port = socket::remote_port(sock);
                (*entry).local_port = socket::local_port(sock);
            }
        }
    }
}
