//! A host made of files, whose things come and go.

use super::*;

const SECOND: u64 = 1_000_000_000;

struct Host {
    root: tempfile::TempDir,
    watch: Watch,
    now_ns: u64,
    found: u64,
    handed: u64,
}

impl Host {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let watch = Watch::new(root.path());
        Self { root, watch, now_ns: SECOND, found: 0, handed: 0 }
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.root.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        // As package managers do it: beside the old one, then in its place.
        let new = path.with_extension("new");
        std::fs::write(&new, text).unwrap();
        std::fs::rename(new, path).unwrap();
    }

    /// Lets time pass; returns what was told, in one line each.
    fn pass(&mut self, seconds: u64) -> Vec<String> {
        let mut told = Vec::new();
        let until = self.now_ns + seconds * SECOND;
        while self.now_ns < until {
            self.now_ns += SECOND / 4;
            let before = told.len();
            let tally = self.watch.poll(self.now_ns, 7, &mut |record| {
                let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                told.push(format!(
                    "{} {} {} {}",
                    record.kind,
                    record.change,
                    text(&record.name),
                    text(&record.version)
                ));
            });
            assert!(told.len() - before <= STEP_RECORDS);
            self.found += tally.found;
        }
        self.handed += told.len() as u64;
        told.sort();
        told
    }
}

fn status(packages: &[(&str, &str)]) -> String {
    let paragraph = |(name, version): &(&str, &str)| {
        format!("Package: {name}\nStatus: install ok installed\nVersion: {version}\n\n")
    };
    packages.iter().map(paragraph).collect()
}

#[test]
fn all_is_told_once_and_then_only_what_changes() {
    let mut host = Host::new();
    host.write("var/lib/dpkg/status", &status(&[("bash", "1"), ("vim", "2")]));
    host.write("etc/passwd", "root:x:0:0:::\nalice:x:1000:1000:::\n");
    assert_eq!(host.pass(4), [""; 0]);
    assert_eq!(host.pass(70), ["1 1 bash 1", "1 1 vim 2", "2 1 alice 1000", "2 1 root 0"]);
    assert_eq!(host.pass(130), [""; 0]);
    host.write("var/lib/dpkg/status", &status(&[("bash", "3"), ("curl", "4")]));
    host.write("etc/passwd", "root:x:0:0:::\nalice:x:0:0:::\neve:x:0:0:::\n");
    assert_eq!(
        host.pass(70),
        ["1 2 curl 4", "1 3 vim 2", "1 4 bash 3", "2 2 eve 0", "2 4 alice 0"]
    );
    assert_eq!((host.found, host.handed), (9, 9));
}

#[test]
fn a_large_host_is_told_slowly_and_completely() {
    let mut host = Host::new();
    let names: Vec<String> = (0..3_000).map(|n| format!("package-{n}")).collect();
    let packages: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "1")).collect();
    host.write("var/lib/dpkg/status", &status(&packages));
    let first = host.pass(12).len();
    assert!(first > 0 && first < 3_000, "{first}");
    assert_eq!(host.pass(60).len() + first, 3_000);
    assert_eq!((host.found, host.watch.give_up()), (3_000, 0));
}

#[test]
fn what_cannot_be_remembered_is_counted() {
    let mut watch = Watch::new(Path::new("/nonexistent"));
    let mut tally = Tally::default();
    let item = |n: usize| Item { name: n.to_string().into_bytes(), ..Item::default() };
    let items = (0..ITEMS_MAX + 5).map(item).collect();
    watch.listed[0].compare(items, 1, &mut watch.waiting, &mut tally);
    assert_eq!(tally, Tally { found: ITEMS_MAX as u64, table_full: 5 });
    assert_eq!(watch.give_up(), ITEMS_MAX as u64);
}

#[test]
fn the_same_name_twice_is_two_things() {
    let mut watch = Watch::new(Path::new("/nonexistent"));
    let item =
        |detail: &str| Item { name: b"libc".to_vec(), detail: detail.into(), ..Item::default() };
    for (details, found) in [(&["amd64", "i386"][..], 2), (&["amd64", "i386"], 0), (&["amd64"], 1)]
    {
        let mut tally = Tally::default();
        let items = details.iter().map(|detail| item(detail)).collect();
        watch.listed[0].compare(items, 1, &mut watch.waiting, &mut tally);
        assert_eq!(tally.found, found, "{details:?}");
    }
}

#[test]
fn this_host_has_a_kernel() {
    let mut watch = Watch::new(Path::new("/"));
    let mut records = Vec::new();
    for step in 0..40 {
        watch.poll(FIRST_LOOK_NS * 2 + step * STEP_NS, 1, &mut |record| records.push(record));
    }
    let kernel = records.iter().find(|r| r.kind == inventory_kind::KERNEL).unwrap();
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    assert_eq!(&kernel.version[..], release.trim().as_bytes());
    assert!(records.iter().any(|r| r.kind == inventory_kind::USER && &r.name[..] == b"root"));
}
