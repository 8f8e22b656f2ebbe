//! Where a process's standard descriptors lead.

use sensor_abi::record::Stdio;

use crate::{kernel::field, socket};

const S_IFMT: u16 = 0o170_000;
const S_IFSOCK: u16 = 0o140_000;

/// Fills `entry` with what `descriptor` of the descriptor table leads to.
///
/// # Safety
///
/// `entry` points to writable map memory of this CPU.
#[inline(always)]
pub unsafe fn describe(table: u64, descriptor: u64, entry: *mut Stdio) {
    let mut found =
        Stdio { remote_addr: [0; 16], remote_port: 0, local_port: 0, mode: 0, family: 0 };
    if let Some(file) = open_file(table, descriptor) {
        let inode = field!(file, file_inode => u64).unwrap_or(0);
        found.mode = field!(inode, inode_mode => u16).unwrap_or(0);
        if found.mode & S_IFMT == S_IFSOCK {
            peer(file, &mut found);
        }
    }
    // SAFETY: the caller's promise.
    unsafe { *entry = found };
}

#[inline(always)]
fn open_file(table: u64, descriptor: u64) -> Option<u64> {
    let size = field!(table, fdt_max_fds => u32)?;
    if descriptor >= u64::from(size) {
        return None;
    }
    let array = field!(table, fdt_fd => u64)?;
    let file = crate::kernel::read::<u64>(array, descriptor as u32 * 8)?;
    (file != 0).then_some(file)
}

#[inline(always)]
fn peer(file: u64, found: &mut Stdio) {
    let socket = field!(file, file_private_data => u64).unwrap_or(0);
    let sock = field!(socket, socket_sk => u64).unwrap_or(0);
    found.family = field!(sock, sock_family => u16).unwrap_or(0);
    if let Some(ends) = socket::ends(sock, found.family) {
        found.remote_addr = ends.remote_addr;
        found.remote_port = ends.remote_port;
        found.local_port = ends.local_port;
    }
}
