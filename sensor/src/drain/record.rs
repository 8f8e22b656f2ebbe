//! Bytes from a ring → record (pure). What is not understood is refused, never guessed.

use sensor_abi::record as abi;
use zerocopy::{FromBytes as _, FromZeros as _, IntoBytes as _};

use super::{ExecView, Record};

/// Room to put an exec record into, so that its fields can be read in place.
#[derive(Debug)]
pub(super) struct Decoder {
    exec: Box<abi::Exec>,
}

impl Decoder {
    pub(super) fn new() -> Self {
        Self { exec: Box::new(abi::Exec::new_zeroed()) }
    }

    /// Reads one record; `None` when its kind or length is unknown.
    pub(super) fn decode<'a>(&'a mut self, bytes: &'a [u8]) -> Option<Record<'a>> {
        let (kind, _) = u32::read_from_prefix(bytes).ok()?;
        match kind {
            abi::kind::EXEC => self.exec(bytes).map(Record::Exec),
            abi::kind::FORK => abi::Fork::ref_from_bytes(bytes).ok().map(Record::Fork),
            abi::kind::EXIT => abi::Exit::ref_from_bytes(bytes).ok().map(Record::Exit),
            abi::kind::SOCKET => abi::Socket::ref_from_bytes(bytes).ok().map(Record::Socket),
            abi::kind::MODULE => abi::Module::ref_from_bytes(bytes).ok().map(Record::Module),
            _ => None,
        }
    }

    fn exec<'a>(&'a mut self, bytes: &'a [u8]) -> Option<ExecView<'a>> {
        let fixed = bytes.get(..abi::Exec::FIXED)?;
        self.exec.as_mut_bytes().get_mut(..abi::Exec::FIXED)?.copy_from_slice(fixed);
        let exec = &*self.exec;
        let path_end = abi::Exec::FIXED + usize::from(exec.path_len);
        let args_end = path_end + usize::from(exec.args_len);
        if args_end != bytes.len() {
            return None;
        }
        let truncated = exec.flags & abi::exec_flag::PATH_TRUNCATED != 0;
        Some(ExecView {
            header: exec.header,
            parent_start_ns: exec.parent_start_ns,
            exe_inode: exec.exe_inode,
            exe_dev: exec.exe_dev,
            parent_tgid: exec.parent_tgid,
            flags: exec.flags,
            euid: exec.euid,
            gid: exec.gid,
            stdio: exec.stdio,
            comm: exec.comm,
            path: root_first(&bytes[abi::Exec::FIXED..path_end], truncated),
            args: &bytes[path_end..args_end],
        })
    }
}

/// Turns names that come leaf first into a path. A cut path has no leading slash.
fn root_first(names: &[u8], truncated: bool) -> Vec<u8> {
    let mut path = Vec::with_capacity(names.len() + 1);
    let names = names.strip_suffix(b"\0").unwrap_or(names);
    if names.is_empty() {
        return path;
    }
    for (index, name) in names.rsplit(|byte| *byte == 0).enumerate() {
        if index > 0 || !truncated {
            path.push(b'/');
        }
        path.extend_from_slice(name);
    }
    path
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use zerocopy::IntoBytes as _;

    use super::*;

    /// A copy whose start is aligned as a ring's records are.
    fn aligned(bytes: &[u8]) -> Vec<u64> {
        let mut words = vec![0; bytes.len().div_ceil(8)];
        words.as_mut_bytes()[..bytes.len()].copy_from_slice(bytes);
        words
    }

    fn exec(path: &[u8], args: &[u8], flags: u32) -> Vec<u8> {
        let mut exec = abi::Exec::new_zeroed();
        exec.header.kind = abi::kind::EXEC;
        exec.header.tgid = 42;
        exec.flags = flags;
        exec.path_len = path.len() as u16;
        exec.args_len = args.len() as u16;
        let mut bytes = exec.as_bytes()[..abi::Exec::FIXED].to_vec();
        bytes.extend(path);
        bytes.extend(args);
        bytes
    }

    fn path_of(bytes: &[u8]) -> Option<Vec<u8>> {
        match Decoder::new().decode(bytes)? {
            Record::Exec(view) => Some(view.path),
            _ => None,
        }
    }

    #[test]
    fn paths_are_put_in_order_and_arguments_kept() {
        let bytes = exec(b"sh\0bin\0usr\0", b"sh\0-c\0id\0", 0);
        let mut decoder = Decoder::new();
        let Some(Record::Exec(view)) = decoder.decode(&bytes) else {
            panic!("an exec record");
        };
        assert_eq!(view.path, b"/usr/bin/sh");
        assert_eq!(view.args, b"sh\0-c\0id\0");
        assert_eq!(view.header.tgid, 42);
    }

    #[test]
    fn a_cut_path_does_not_pretend_to_start_at_the_root() {
        let cut = exec(b"sh\0bin\0", b"", abi::exec_flag::PATH_TRUNCATED);
        assert_eq!(path_of(&cut).as_deref(), Some(&b"bin/sh"[..]));
        assert_eq!(path_of(&exec(b"", b"x\0", 0)).as_deref(), Some(&b""[..]));
    }

    #[test]
    fn a_length_that_does_not_fit_is_refused() {
        let mut bytes = exec(b"sh\0", b"sh\0", 0);
        bytes.push(0);
        assert_eq!(path_of(&bytes), None);
        bytes.truncate(abi::Exec::FIXED + 2);
        assert_eq!(path_of(&bytes), None);
    }

    proptest! {
        #[test]
        fn any_bytes_never_panic(
            kind in 0u32..8,
            rest in proptest::collection::vec(any::<u8>(), 0..400),
        ) {
            let mut bytes = kind.to_le_bytes().to_vec();
            bytes.extend(rest);
            let words = aligned(&bytes);
            let length = bytes.len();
            let mut decoder = Decoder::new();
            let decoded = decoder.decode(&words.as_bytes()[..length]);
            let fixed = [(2, 56), (3, 48), (4, 80), (5, 104)];
            let known = fixed.contains(&(kind, length));
            prop_assert!(decoded.is_none() || kind == abi::kind::EXEC || known);
            prop_assert!(!known || decoded.is_some());
        }
    }
}
