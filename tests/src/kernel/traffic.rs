//! Real sockets, by system calls only, so that a forked child may use them.

use nix::libc;

/// An address that a socket call takes.
#[derive(Clone, Copy)]
pub enum Ip {
    V4([u8; 4]),
    V6([u8; 16]),
}

impl Ip {
    fn family(self) -> libc::c_int {
        match self {
            Self::V4(_) => libc::AF_INET,
            Self::V6(_) => libc::AF_INET6,
        }
    }

    /// The address as records carry it.
    pub fn mapped(self) -> [u8; 16] {
        match self {
            Self::V4([a, b, c, d]) => [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d],
            Self::V6(bytes) => bytes,
        }
    }
}

/// An address in the kernel's form.
struct Address {
    bytes: [u8; 28],
    length: libc::socklen_t,
}

fn address(ip: Ip, port: u16) -> Address {
    let mut bytes = [0; 28];
    bytes[..2].copy_from_slice(&(ip.family() as u16).to_ne_bytes());
    bytes[2..4].copy_from_slice(&port.to_be_bytes());
    let length = match ip {
        Ip::V4(four) => {
            bytes[4..8].copy_from_slice(&four);
            16
        }
        Ip::V6(sixteen) => {
            bytes[8..24].copy_from_slice(&sixteen);
            28
        }
    };
    Address { bytes, length }
}

fn tcp(ip: Ip) -> i32 {
    // SAFETY: the call takes numbers only.
    unsafe { libc::socket(ip.family(), libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0) }
}

fn connect_socket(socket: i32, ip: Ip, port: u16) -> i32 {
    let address = address(ip, port);
    // SAFETY: the address lives through the call and has the length that is given.
    unsafe { libc::connect(socket, address.bytes.as_ptr().cast(), address.length) }
}

/// Listens, connects to itself, accepts, and closes everything; 0 when all of it worked.
pub fn connect_to_self(ip: Ip, port: u16) -> i32 {
    let (listener, client) = (tcp(ip), tcp(ip));
    let at = address(ip, port);
    let one: libc::c_int = 1;
    // SAFETY: every pointer leads to a value that lives through its call.
    unsafe {
        let reuse = (&raw const one).cast();
        libc::setsockopt(listener, libc::SOL_SOCKET, libc::SO_REUSEADDR, reuse, 4);
        if libc::bind(listener, at.bytes.as_ptr().cast(), at.length) != 0 {
            return 2;
        }
        if libc::listen(listener, 1) != 0 {
            return 3;
        }
        if connect_socket(client, ip, port) != 0 {
            return 4;
        }
        let server = libc::accept(listener, std::ptr::null_mut(), std::ptr::null_mut());
        if server < 0 {
            return 5;
        }
        libc::close(client);
        libc::close(server);
        libc::close(listener);
    }
    0
}

/// Connects to a port that nobody listens on; 0 when it was refused, as it has to be.
pub fn connect_refused(ip: Ip, port: u16) -> i32 {
    let client = tcp(ip);
    i32::from(connect_socket(client, ip, port) == 0)
}
