//! Folders that are large, deep, strange, or change while they are read.

use std::os::unix::fs::symlink;

use super::listing::DEPTH_MAX;
use super::*;

fn folders(main: &Path) -> Folders {
    Folders::new(Some(main.to_owned()), &[])
}

fn names(snapshot: &Snapshot) -> Vec<&str> {
    snapshot.files.iter().map(|sourced| sourced.file.name.as_str()).collect()
}

#[test]
fn large_files_links_and_other_bytes_are_named_and_the_rest_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::create_dir_all(at("sigma/deep")).unwrap();
    fs::write(at("sigma/large.yml"), vec![b'a'; 10 << 20]).unwrap();
    fs::write(at("sigma/latin.yml"), b"a: 1\nb: \xe9").unwrap();
    fs::write(at("sigma/deep/good.yml"), "a: 1").unwrap();
    symlink("/etc/passwd", at("sigma/link.yml")).unwrap();
    symlink("loop.yml", at("sigma/loop.yml")).unwrap();
    symlink("..", at("sigma/up")).unwrap();
    symlink("deep/good.yml", at("sigma/near.yml")).unwrap();
    nix::unistd::mkfifo(&at("sigma/pipe.yml"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let snapshot = read(&folders(folder.path())).unwrap();
    assert_eq!(names(&snapshot), ["sigma/deep/good.yml", "sigma/near.yml"]);
    let mut told: Vec<String> = snapshot.errors.iter().map(ToString::to_string).collect();
    told.sort();
    let wanted = [
        "sigma/large.yml: has 10485760 bytes; a file has at most 262144, so split it",
        "sigma/latin.yml: is not UTF-8 from line 2 on; save it as such",
        "sigma/link.yml: a link that leads out of the folder, or nowhere; put the file here",
        "sigma/loop.yml: a link that leads out of the folder, or nowhere; put the file here",
        "sigma/pipe.yml: is no plain file",
    ];
    assert_eq!(told, wanted);
}

#[test]
fn a_folder_without_end_is_cut_and_a_missing_one_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let deep = folder.path().join("sigma").join("d/".repeat(DEPTH_MAX + 3));
    fs::create_dir_all(&deep).unwrap();
    fs::write(deep.join("a.yml"), "a: 1").unwrap();
    let snapshot = read(&folders(folder.path())).unwrap();
    assert_eq!((names(&snapshot).len(), snapshot.errors.len()), (0, 1));
    assert!(snapshot.errors[0].message.contains("levels of folders"));
    let missing = read(&folders(&folder.path().join("missing"))).unwrap_err();
    assert!(missing.to_string().contains("missing: the policy folder cannot be read"));
}

#[test]
fn extra_folders_stand_below_rules_and_what_is_no_rule_is_left_out() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (one, two) = (one.path().join("sigma"), two.path().join("sigma"));
    for (at, text) in [
        (one.join("any/layout/a.yaml"), "title: a\ndetection:\n"),
        (one.join("tests/settings.yml"), "title: not a rule\n"),
        (two.join("b.yml"), "logsource:\n"),
    ] {
        fs::create_dir_all(at.parent().unwrap()).unwrap();
        fs::write(at, text).unwrap();
    }
    let folders = Folders::new(None, &[one.clone(), two]);
    let snapshot = read(&folders).unwrap();
    let carried = embedded::files().len();
    let wanted = ["rules/sigma/any/layout/a.yaml", "rules/sigma-2/b.yml"];
    assert_eq!(names(&snapshot)[carried..], wanted);
    assert_eq!(folders.path_of(wanted[0]), Some(one.join("any/layout/a.yaml")));
}

#[test]
fn the_print_changes_with_content_names_and_commits_only() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::create_dir_all(at("sigma")).unwrap();
    fs::write(at("sigma/a.yml"), "a: 1").unwrap();
    let folders = folders(folder.path());
    let mut print = folders.print().unwrap();
    assert_eq!(folders.print().unwrap(), print);
    fs::write(at("notes.txt"), "no policy").unwrap();
    assert_eq!(folders.print().unwrap(), print);
    let git = |name: &str, text: &str| {
        fs::create_dir_all(at(".git")).unwrap();
        fs::write(at(name), text).unwrap();
    };
    let commit = "c".repeat(40);
    let steps: [&dyn Fn(); 4] = [
        &|| fs::write(at("sigma/a.yml"), "a: 2").unwrap(),
        &|| fs::rename(at("sigma/a.yml"), at("sigma/b.yml")).unwrap(),
        &|| git(".git/HEAD", &commit),
        &|| fs::remove_file(at("sigma/b.yml")).unwrap(),
    ];
    for step in steps {
        step();
        let next = folders.print().unwrap();
        assert_ne!(next, print);
        print = next;
    }
}

#[test]
fn a_folder_that_never_rests_is_given_up() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sigma");
    fs::create_dir(&path).unwrap();
    // Many files, so that one look takes longer than one change.
    for number in 0..2_000 {
        fs::write(path.join(format!("{number}.yml")), "a: 1").unwrap();
    }
    let stop = std::sync::atomic::AtomicBool::new(false);
    let result = std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut number = 0u64;
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                number += 1;
                fs::write(path.join("0.yml"), "a: 1\n".repeat(number as usize % 9 + 1)).unwrap();
            }
        });
        let result = read(&folders(folder.path()));
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        result
    });
    let error = result.unwrap_err().to_string();
    assert!(error.contains("changed each of the 5 times"), "{error}");
    assert_eq!(names(&read(&folders(folder.path())).unwrap()).len(), 2_000);
}
