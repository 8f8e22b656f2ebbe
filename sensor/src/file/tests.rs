//! What patterns mean, and what the programs are told of them.

use sensor_abi::file::{FileNameKey, access, name_slot, place, slot_at};
use sensor_abi::record::Header;
use sensor_abi::record::file::{File, flag, matched};

use super::*;

const WRITE: u32 = access::WRITE | access::MOVE;

fn watched(write: &[&str], read: &[&str]) -> Watched {
    let own = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    Watched::new(Some(&own(write)), Some(&own(read)), Some(&[])).unwrap()
}

fn confirms(watched: &Watched, path: &str, root_len: u16, flags: u32, access: u32) -> bool {
    let fixed = File {
        header: Header { kind: 16, ..File::EMPTY.header },
        access,
        flags,
        matched: matched::NAME,
        path_root_len: root_len,
        ..File::EMPTY
    };
    watched.confirms(&FileView { fixed: &fixed, path: path.as_bytes(), target: b"" })
}

#[test]
fn the_built_in_patterns_are_right_and_fit() {
    let watched = Watched::default();
    assert!(watched.rules.len() > 100, "{}", watched.rules.len());
    let tables = watched.tables();
    assert_eq!(tables.dropped, 0);
    assert!(tables.names.len() < 1_000 && tables.prefixes.len() < 1_000);
}

#[test]
fn patterns_mean_what_the_manual_says() {
    let rule = |pattern: &str| Rule::new(pattern, 1).unwrap();
    assert!(rule("/etc/shadow").fits(b"/etc/shadow"));
    assert!(!rule("/etc/shadow").fits(b"/etc/shadow-"));
    assert!(!rule("/etc/shadow").fits(b"/x/etc/shadow"));
    assert!(rule("/etc/pam.d/").fits(b"/etc/pam.d/sshd"));
    assert!(rule("/etc/pam.d/").fits(b"/etc/pam.d"));
    assert!(!rule("/etc/pam.d/").fits(b"/etc/pam.dx/sshd"));
    assert!(rule("**/.ssh/id_*").fits(b"/home/a/.ssh/id_rsa"));
    assert!(!rule("**/.ssh/id_*").fits(b"/home/a/.ssh/known_hosts"));
    assert!(!rule("**/.ssh/id_*").fits(b"/home/a/.ssh/id_d/x"));
    assert!(rule("/home/*/.netrc").fits(b"/home/a/.netrc"));
    assert!(!rule("/home/*/.netrc").fits(b"/home/a/b/.netrc"));
    assert!(rule("/a/**/b").fits(b"/a/b") && rule("/a/**/b").fits(b"/a/x/y/b"));
    assert!(rule("/etc/cron.d/").is_below(b"/etc") && !rule("/etc/cron.d/").is_below(b"/usr"));
}

#[test]
fn what_cannot_be_watched_is_refused_with_advice() {
    let refused = |pattern: &str| Rule::new(pattern, 1).unwrap_err().to_string();
    assert!(refused("etc/passwd").contains("does not begin with `/`"));
    assert!(refused("/*/**").contains("no name without `*`"));
    assert!(refused("/etc/../x").contains("the path that they lead to"));
    assert!(refused(&format!("/{}", "x".repeat(300))).contains("longer than"));
    let many = vec!["/etc/x".to_owned(); RULES_MAX + 1];
    assert_eq!(
        Watched::new(Some(&many), None, None).unwrap_err(),
        RuleError::TooMany(RULES_MAX + 1)
    );
}

#[test]
fn a_list_replaces_or_extends_the_built_in_one() {
    let none: [String; 0] = [];
    let own = ["/srv/secret".to_owned(), "default".to_owned()];
    let more = Watched::new(Some(&none), Some(&own), Some(&none)).unwrap();
    let only = Watched::new(Some(&none), Some(&own[..1]), Some(&none)).unwrap();
    assert_eq!(only.rules.len(), 1);
    assert!(more.rules.len() > 20);
    assert!(confirms(&more, "/home/a/.aws/credentials", 0, 0, access::READ));
    assert!(!confirms(&only, "/home/a/.aws/credentials", 0, 0, access::READ));
}

#[test]
fn paths_are_compared_from_both_roots_and_without_detours() {
    let watched = watched(&["/etc/passwd", "/etc/cron.d/"], &["**/.ssh/id_*"]);
    assert!(confirms(&watched, "/srv/jail/etc/passwd", 9, 0, WRITE));
    assert!(!confirms(&watched, "/srv/jail/etc/passwd", 0, 0, WRITE));
    assert!(confirms(&watched, "/etc/x/.././passwd", 0, flag::RACY, WRITE));
    assert!(!confirms(&watched, "/etc/x/../passwd2", 0, flag::RACY, WRITE));
    assert!(confirms(&watched, "/etc", 0, flag::RACY, WRITE), "takes cron.d with it");
    assert!(!confirms(&watched, "/etc", 0, flag::RACY, access::WRITE), "its mode is its own");
    assert!(!confirms(&watched, "/home/a/.ssh/id_rsa", 0, 0, WRITE), "read only");
    assert!(confirms(&watched, "/home/a/.ssh/id_rsa", 0, 0, access::READ));
}

#[test]
fn tables_ask_for_the_names_that_decide() {
    let tables = watched(&["/etc/pam.d/"], &["**/.ssh/id_*"]).tables();
    let pam = tables.names[&FileNameKey::new(b"pam.d")];
    assert_eq!(pam >> place::ABOVE & access::ALL, WRITE);
    assert_eq!(pam >> place::LEAF & access::ALL, WRITE);
    let ssh = tables.names[&FileNameKey::new(b".ssh")];
    assert_eq!(ssh, access::READ << (place::ANYWHERE + place::ABOVE));
    assert_eq!(tables.accesses_of(b"/etc/pam.d/sshd\0"), WRITE);
    assert_eq!(tables.accesses_of(b"/etc\0"), access::MOVE);
    assert_eq!(tables.accesses_of(b"/etc/pam.dx\0"), 0);
    let key = FileNameKey::new(b".ssh");
    let (word, shift) = slot_at(name_slot(key.begin, key.length, true));
    assert_eq!(tables.filter().words[word] >> shift & 15, u64::from(access::READ));
}

#[test]
fn a_longer_prefix_knows_of_the_shorter_ones() {
    let tables = watched(&["/etc/"], &["/etc/ssl/private/"]).tables();
    assert_eq!(tables.prefixes[&b"/etc/ssl/private/"[..]], WRITE | access::READ);
    assert_eq!(tables.prefixes[&b"/etc/"[..]], WRITE);
}
