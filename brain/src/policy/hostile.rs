//! Policy files made to harm the one who reads them: each is refused with its place, at once, and
//! costs little memory.

use std::fmt::Write as _;
use std::fs;
use std::time::{Duration, Instant};

use super::{Folders, Loader};

/// A look at one file may take so long on a busy machine. Without limits, each takes minutes or all
/// memory.
const TIME_MAX: Duration = Duration::from_secs(5);

const NO_TEXT: &str = "bytes that are no text";

/// Memory that reading all of them may cost.
const MEMORY_MAX_MIB: u64 = 256;

fn alias_bomb() -> String {
    let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        let of = vec![format!("*a{}", level - 1); 10].join(", ");
        writeln!(text, "a{level}: &a{level} [{of}]").unwrap();
    }
    text
}

/// Highest memory of this process so far.
fn peak_mib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
}

#[test]
fn each_is_refused_at_once_with_its_place() {
    let rule = "title: T\nid: x\nlogsource:\n    category: process_creation\ndetection:\n    a:\n";
    let regex = |expression: &str| {
        format!("{rule}        Image|re: '{expression}'\n    condition: a\n").into_bytes()
    };
    let files: Vec<(&str, Vec<u8>)> = vec![
        ("alias bomb of 10^12 values", alias_bomb().into_bytes()),
        ("a million levels of lists", "[".repeat(1_000_000).into_bytes()),
        ("a hundred thousand levels of items", "- ".repeat(100_000).into_bytes()),
        ("a NUL byte", b"title: a\nid: b\0c\n".to_vec()),
        (NO_TEXT, b"title: a\nid: \xff\xfe\n".to_vec()),
        ("a key given twice", format!("{rule}title: U\n").into_bytes()),
        ("100 MiB", vec![b'#'; 100 << 20]),
        ("a tag", b"title: !!python/object:os.system x\n".to_vec()),
        ("a regex that explodes when compiled", regex("((((a{1,99}){99}){99}){99}){99}")),
        ("a regex that looks around", regex("(?<=a)b")),
        ("a regex that refers back", regex("(a)\\1")),
    ];
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("sigma")).unwrap();
    let (before, mut slowest) = (peak_mib(), Duration::ZERO);
    for (what, bytes) in &files {
        fs::write(folder.path().join("sigma/a.yml"), bytes).unwrap();
        let begun = Instant::now();
        let set = Loader::new(Folders::new(Some(folder.path().to_owned()), &[])).load().unwrap();
        let took = begun.elapsed();
        slowest = slowest.max(took);
        let [error] = set.errors.as_slice() else { panic!("{what}: {:?}", set.errors) };
        println!("{:7.1} ms  {what}: {error}", took.as_secs_f64() * 1e3);
        assert!(took < TIME_MAX, "{what} took {took:?}");
        // What is refused before it is read as text has no line.
        let is_whole = error.message.contains("bytes") || *what == NO_TEXT;
        assert!(error.line.is_some() || is_whole, "{what}: {error}");
    }
    let cost = peak_mib() - before;
    println!(
        "figure D-09: {} hostile files refused with their place, the slowest after {:.0} ms; {cost} \
         MiB more memory at the peak",
        files.len(),
        slowest.as_secs_f64() * 1e3,
    );
    assert!(cost < MEMORY_MAX_MIB, "{cost} MiB");
    // A byte order mark is no attack.
    let rule = format!("\u{feff}{rule}        Image: /x\n    condition: a\n");
    fs::write(folder.path().join("sigma/a.yml"), rule).unwrap();
    let set = Loader::new(Folders::new(Some(folder.path().to_owned()), &[])).load().unwrap();
    assert_eq!((set.rules.len(), set.errors), (1, Vec::new()));
}
