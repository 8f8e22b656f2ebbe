//! Bytes from a ring → record (pure). What is not understood is refused, never guessed.

use sensor_abi::record as abi;
use sensor_abi::record::payload::Payload;
use zerocopy::FromBytes as _;

use super::{ExecView, FileView, Record};

/// Reads records.
#[derive(Debug, Default)]
pub struct Decoder;

impl Decoder {
    /// Starts a decoder.
    pub fn new() -> Self {
        Self
    }

    /// Reads one record; `None` when its kind or length is unknown.
    pub fn decode<'a>(&'a mut self, bytes: &'a [u8]) -> Option<Record<'a>> {
        let (kind, _) = u32::read_from_prefix(bytes).ok()?;
        match kind {
            abi::kind::EXEC => exec(bytes).map(Record::Exec),
            abi::kind::FORK => abi::Fork::ref_from_bytes(bytes).ok().map(Record::Fork),
            abi::kind::EXIT => abi::Exit::ref_from_bytes(bytes).ok().map(Record::Exit),
            abi::kind::SOCKET => abi::Socket::ref_from_bytes(bytes).ok().map(Record::Socket),
            abi::kind::MODULE => abi::Module::ref_from_bytes(bytes).ok().map(Record::Module),
            abi::kind::MEMORY => {
                abi::memory::Memory::ref_from_bytes(bytes).ok().map(Record::Memory)
            }
            abi::kind::PRIVILEGE => {
                abi::privilege::Privilege::ref_from_bytes(bytes).ok().map(Record::Privilege)
            }
            abi::kind::CREDENTIALS => {
                abi::privilege::Credentials::ref_from_bytes(bytes).ok().map(Record::Credentials)
            }
            abi::kind::MOUNT => {
                abi::privilege::Mount::ref_from_bytes(bytes).ok().map(Record::Mount)
            }
            abi::kind::FILE => file(bytes).map(Record::File),
            abi::kind::PAYLOAD => {
                let (fixed, copied) = Payload::ref_from_prefix(bytes).ok()?;
                let whole = copied.len() == usize::from(fixed.captured);
                whole.then_some(Record::Payload(fixed, copied))
            }
            _ => None,
        }
    }
}

fn file(bytes: &[u8]) -> Option<FileView<'_>> {
    let (fixed, rest) = abi::file::File::ref_from_prefix(bytes).ok()?;
    let (path, target) = rest.split_at_checked(usize::from(fixed.path_len))?;
    let whole = target.len() == usize::from(fixed.target_len);
    whole.then_some(FileView { fixed, path, target })
}

/// Cuts the parts behind the fixed one, all of which must be there, and nothing else.
fn exec(bytes: &[u8]) -> Option<Box<ExecView<'_>>> {
    let (fixed, mut rest) = abi::Exec::read_from_prefix(bytes).ok()?;
    let mut take = |length: u16| {
        let (part, behind) = rest.split_at_checked(usize::from(length))?;
        rest = behind;
        Some(part)
    };
    let path = take(fixed.path_len)?;
    let args = take(fixed.args_len)?;
    let cwd = take(fixed.cwd_len)?;
    let script = take(fixed.script_len)?;
    let interpreter = take(fixed.interpreter_len)?;
    let env = take(fixed.env_len)?;
    let is_cut = |flag| fixed.flags & flag != 0;
    rest.is_empty().then(|| {
        Box::new(ExecView {
            path: root_first(path, is_cut(abi::exec_flag::PATH_TRUNCATED), false),
            args,
            cwd: root_first(cwd, is_cut(abi::exec_flag::CWD_TRUNCATED), true),
            script: script.strip_suffix(b"\0").unwrap_or(script),
            interpreter: interpreter.strip_suffix(b"\0").unwrap_or(interpreter),
            env,
            fixed,
        })
    })
}

/// Turns names that come leaf first into a path. A cut path has no leading slash. A file without
/// any name is not known, a directory without one is the root.
fn root_first(names: &[u8], truncated: bool, is_directory: bool) -> Vec<u8> {
    let mut path = Vec::with_capacity(names.len() + 1);
    let names = names.strip_suffix(b"\0").unwrap_or(names);
    if names.is_empty() {
        if is_directory && !truncated {
            path.push(b'/');
        }
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
    use zerocopy::{FromZeros as _, IntoBytes as _};

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
        let mut bytes = exec.as_bytes().to_vec();
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
        assert_eq!(view.fixed.header.tgid, 42);
        assert_eq!((&view.cwd[..], view.script), (&b"/"[..], &b""[..]));
    }

    #[test]
    fn a_cut_path_does_not_pretend_to_start_at_the_root() {
        let cut = exec(b"sh\0bin\0", b"", abi::exec_flag::PATH_TRUNCATED);
        assert_eq!(path_of(&cut).as_deref(), Some(&b"bin/sh"[..]));
        assert_eq!(path_of(&exec(b"", b"x\0", 0)).as_deref(), Some(&b""[..]));
    }

    #[test]
    fn every_part_is_found_behind_the_one_before() {
        let mut exec = abi::Exec::new_zeroed();
        exec.header.kind = abi::kind::EXEC;
        (exec.path_len, exec.cwd_len, exec.script_len) = (3, 10, 5);
        (exec.interpreter_len, exec.env_len) = (8, 13);
        let mut bytes = exec.as_bytes().to_vec();
        bytes.extend(b"sh\0user\0home\0./it\0/bin/sh\0LD_PRELOAD=x\0");
        let mut decoder = Decoder::new();
        let words = aligned(&bytes);
        let Some(Record::Exec(view)) = decoder.decode(&words.as_bytes()[..bytes.len()]) else {
            panic!("an exec record");
        };
        assert_eq!((&view.path[..], &view.cwd[..]), (&b"/sh"[..], &b"/home/user"[..]));
        assert_eq!((view.script, view.interpreter), (&b"./it"[..], &b"/bin/sh"[..]));
        assert_eq!(view.env, b"LD_PRELOAD=x\0");
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
            let fixed = [(2, 56), (3, 48), (4, 88), (5, 104)];
            let known = fixed.contains(&(kind, length));
            prop_assert!(decoded.is_none() || kind == abi::kind::EXEC || known);
            prop_assert!(!known || decoded.is_some());
        }
    }
}
