//! A made type file, and any bytes.

use proptest::prelude::*;

use super::*;

/// Builds type files.
#[derive(Default)]
struct Builder {
    types: Vec<u8>,
    strings: Vec<u8>,
}

impl Builder {
    fn new() -> Self {
        Self { types: Vec::new(), strings: vec![0] }
    }

    fn text(&mut self, text: &str) -> u32 {
        if text.is_empty() {
            return 0;
        }
        let at = self.strings.len() as u32;
        self.strings.extend(text.bytes());
        self.strings.push(0);
        at
    }

    fn words(&mut self, words: &[u32]) {
        for word in words {
            self.types.extend(word.to_le_bytes());
        }
    }

    fn structure(&mut self, kind: u32, name: &str, flagged: bool, members: &[(&str, u32, u32)]) {
        let name = self.text(name);
        let info = u32::from(flagged) << 31 | kind << 24 | members.len() as u32;
        self.words(&[name, info, 64]);
        for (member, target, bits) in members {
            let member = self.text(member);
            self.words(&[member, *target, *bits]);
        }
    }

    fn plain(&mut self, kind: u32, name: &str, target: u32, body: &[u32]) {
        let name = self.text(name);
        self.words(&[name, kind << 24, target]);
        self.words(body);
    }

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0x9f, 0xeb, 1, 0];
        let types = self.types.len() as u32;
        for word in [24, 0, types, types, self.strings.len() as u32] {
            bytes.extend(u32::to_le_bytes(word));
        }
        bytes.extend(&self.types);
        bytes.extend(&self.strings);
        bytes
    }
}

fn sample() -> Vec<u8> {
    let mut made = Builder::new();
    made.plain(kind::INT, "int", 4, &[32]); // 1
    made.structure(kind::STRUCT, "path", false, &[("mnt", 1, 0), ("dentry", 1, 64)]); // 2
    made.plain(kind::CONST, "", 2, &[]); // 3
    made.structure(kind::UNION, "", false, &[("f_path", 3, 0), ("raw", 1, 0)]); // 4
    let file = [("mode", 1, 0), ("", 4, 128), ("bits", 1, 3)];
    made.structure(kind::STRUCT, "file", true, &file); // 5
    made.structure(kind::FUNC_PROTO, "", false, &[]); // 6
    made.plain(kind::PTR, "", 6, &[]); // 7
    made.plain(kind::TYPEDEF, "btf_trace_exit", 7, &[]); // 8
    made.bytes()
}

#[test]
fn members_of_unnamed_and_nested_structures_are_found() {
    let bytes = sample();
    let btf = Btf::parse(&bytes).expect("the sample is valid");
    assert_eq!(btf.offset("file", "mode"), Some(0));
    assert_eq!(btf.offset("file", "f_path"), Some(16));
    assert_eq!(btf.offset("file", "f_path.dentry"), Some(24));
    assert_eq!(btf.offset("file", "bits"), None, "a bit field inside a byte has no offset");
    assert_eq!(btf.offset("file", "f_path.nothing"), None);
    assert_eq!(btf.offset("nothing", "mode"), None);
}

#[test]
fn a_tracepoint_without_arguments_is_refused_rather_than_wrapped() {
    let bytes = sample();
    let btf = Btf::parse(&bytes).expect("the sample is valid");
    assert_eq!(btf.tracepoint_arguments("btf_trace_exit"), None);
}

/// Numbers of the functions of this name.
fn numbers(btf: &Btf<'_>, name: &str) -> Vec<usize> {
    let is_it = |start: &u32| {
        let found = btf.read(*start as usize).expect("a known type");
        found.kind == kind::FUNC && btf.is_named(found.name, name)
    };
    let numbered = btf.starts.iter().enumerate();
    numbered.filter(|(_, start)| is_it(start)).map(|(index, _)| index + 1).collect()
}

#[test]
fn functions_that_are_wanted_keep_their_numbers() {
    let mut made = Builder::new();
    made.structure(kind::STRUCT, "wanted", false, &[("x", 1, 0)]); // 1
    made.structure(kind::FUNC_PROTO, "", false, &[]); // 2
    made.plain(kind::FUNC, "other", 2, &[]); // 3
    made.plain(kind::FUNC, "wanted", 2, &[]); // 4
    made.plain(kind::FUNC, "wanted_too", 2, &[]); // 5
    made.plain(kind::INT, "int", 4, &[32]); // 6
    let bytes = made.bytes();
    let whole = Btf::parse(&bytes).expect("a type file");
    let kept = whole.functions(&["wanted", "wanted_too", "missing"].into());
    let kept = Btf::parse(&kept).expect("a type file");
    assert_eq!(numbers(&kept, "wanted"), [4]);
    assert_eq!(numbers(&kept, "wanted_too"), [5]);
    assert_eq!(numbers(&kept, "other"), [0; 0]);
    assert_eq!(kept.starts.len(), 5, "what follows the last wanted one is not needed");
    let none = whole.functions(&["missing"].into());
    assert_eq!(Btf::parse(&none).expect("a type file").starts.len(), 0);
}

#[test]
fn structures_that_contain_themselves_end() {
    let mut made = Builder::new();
    made.structure(kind::STRUCT, "loop", false, &[("", 1, 0)]);
    let bytes = made.bytes();
    let btf = Btf::parse(&bytes).expect("the bytes are well formed");
    assert_eq!(btf.offset("loop", "x"), None);
}

#[test]
fn the_running_kernel_is_understood() {
    let Ok(bytes) = std::fs::read(VMLINUX) else {
        eprintln!("skipped: this kernel shows no type information at {VMLINUX}");
        return;
    };
    let btf = Btf::parse(&bytes).expect("the kernel's own types parse");
    assert_eq!(btf.offset("list_head", "prev"), Some(8));
    assert!(btf.offset("task_struct", "mm").is_some());
    assert!(btf.offset("sock", "__sk_common.skc_daddr").is_some());
    let arguments = btf.tracepoint_arguments("btf_trace_inet_sock_set_state");
    assert_eq!(arguments, Some(3));
    let kept = btf.functions(&["commit_creds"].into());
    assert!(kept.len() < bytes.len() / 2, "{} of {} bytes", kept.len(), bytes.len());
    let kept = Btf::parse(&kept).expect("what is kept parses");
    assert_eq!(numbers(&kept, "commit_creds"), numbers(&btf, "commit_creds"));
}

/// A structure without a name that holds itself many times over.
#[test]
fn structures_that_hold_each_other_are_given_up() {
    let mut file = Builder::new();
    let members: Vec<(&str, u32, u32)> = (0..64).map(|_| ("", 2, 0)).collect();
    file.structure(kind::STRUCT, "a", false, &members);
    file.structure(kind::STRUCT, "", false, &members);
    let bytes = file.bytes();
    let types = Btf::parse(&bytes).expect("a type file");
    let start = std::time::Instant::now();
    assert_eq!(types.offset("a", "missing"), None);
    assert!(start.elapsed().as_secs() < 5, "it took {:?}", start.elapsed());
}

proptest! {
    #[test]
    fn any_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let parsed = Btf::parse(&bytes);
        let _offset = parsed.as_ref().map(|btf| btf.offset("file", "f_path.dentry"));
        let _kept = parsed.map(|btf| btf.functions(&["file"].into()));
    }

    #[test]
    fn a_damaged_file_never_panics(at in 4usize..300, value in any::<u8>()) {
        let mut bytes = sample();
        let at = at % bytes.len();
        bytes[at] = value;
        if let Ok(btf) = Btf::parse(&bytes) {
            btf.offset("file", "f_path.dentry");
            btf.tracepoint_arguments("btf_trace_exit");
        }
    }
}
