//! Rules about who names whom: the direction between crates, one owner per risky dependency, and
//! the layers within the brain.

use super::Problem;
use super::source::{Source, is_word, names, words};
use super::tree::{File, Tree};

/// Our crates: the folder, and which of ours its code may name beside itself.
const CRATES: &[(&str, &[&str])] = &[
    ("sensor-abi", &[]),
    ("sensor-ebpf", &["sensor_abi"]),
    ("wire", &[]),
    ("scanner-abi", &[]),
    ("scanner", &["scanner_abi"]),
    ("sensor", &["sensor_abi", "sensor_ebpf", "scanner_abi", "wire"]),
    ("brain", &["wire"]),
    ("tests", &["sensor", "sensor_abi", "wire", "brain"]),
    ("xtask", &[]),
];

/// Dependencies that stay behind one door, so that replacing one touches one file or folder: the
/// crates, and the files (`x` stands for `x.rs` and `x/`) or folders that may name them.
const OWNERS: &[(&[&str], &[&str])] = &[
    (
        &["aya", "aya_obj", "aya_log"],
        &["sensor/src/probe", "sensor/src/drain", "sensor-abi/", "tests/src/kernel"],
    ),
    (&["aya_build"], &["sensor/build"]),
    (&["aya_ebpf", "aya_log_ebpf"], &["sensor-ebpf/"]),
    (
        &["quinn", "quinn_proto"],
        &[
            "sensor/src/uplink",
            "sensor/src/identity",
            "sensor/src/enrol",
            "sensor/src/frame",
            "brain/src/ingest",
            "brain/src/app",
            "tests/",
        ],
    ),
    (&["bincode", "zstd"], &["wire/"]),
    (&["sled"], &["brain/src/store"]),
    (&["parquet"], &["brain/src/lake"]),
    (
        &["axum", "axum_server", "tower_http"],
        &["brain/src/api", "brain/src/console", "brain/src/app"],
    ),
    (&["rust_embed"], &["brain/src/console"]),
    (&["reqwest"], &["brain/src/notify", "brain/src/cli", "brain/src/app"]),
    (&["prometheus_client"], &["brain/src/metrics"]),
    (&["serde_norway"], &["brain/src/policy", "scanner/src/check"]),
    (&["yara_x"], &["scanner/src/rules"]),
    (&["argon2"], &["brain/src/store/users"]),
    (&["rcgen"], &["brain/src/ca", "sensor/src/identity", "sensor/src/enrol", "tests/"]),
];

/// Modules of the brain that are pure functions of what they are given. The upper ones may also
/// name the lower ones and what the policies say.
const PURE_UPPER: &[&str] = &["detect", "correlate"];
const PURE_LOWER: &[&str] = &["window", "finding", "record", "text"];
const POLICIES: &[&str] = &["policy", "intel"];

/// What a pure module never names: other threads, the outside, chance, stored forms.
const IMPURE: &[&str] = &[
    "tokio",
    "quinn",
    "axum",
    "sled",
    "parquet",
    "reqwest",
    "rustls",
    "rand",
    "serde",
    "serde_json",
    "serde_norway",
    "std::fs",
    "std::env",
    "std::thread",
    "std::process",
    "std::net::TcpStream",
    "std::net::UdpSocket",
];

/// What `wire` never names: it turns bytes into values and back, and moves none.
const INPUT_OUTPUT: &[&str] = &["tokio", "quinn", "std::fs", "std::net::TcpStream", "nix"];

pub(super) fn check(tree: &Tree, problems: &mut Vec<Problem>) {
    for (file, source) in tree.rust() {
        crates(file, source, problems);
        owners(file, source, problems);
        pure(file, source, problems);
        layers(file, source, problems);
        clocks(file, source, problems);
    }
    for file in tree.files().iter().filter(|file| file.path.ends_with("/Cargo.toml")) {
        manifest(file, problems);
    }
}

/// Returns whether `path` is `owner.rs`, in the folder `owner/`, or below an owner that ends with a
/// slash.
fn is_within(path: &str, owner: &str) -> bool {
    match path.strip_prefix(owner) {
        Some(rest) => owner.ends_with('/') || rest == ".rs" || rest.starts_with('/'),
        None => false,
    }
}

fn allowed(path: &str) -> Option<(&'static str, &'static [&'static str])> {
    let folder = path.split('/').next()?;
    CRATES.iter().find(|(name, _)| *name == folder).copied()
}

fn crates(file: &File, source: &Source, problems: &mut Vec<Problem>) {
    let Some((folder, allowed)) = allowed(&file.path) else { return };
    // A module may have a crate's name, and `tests` usually does; then the manifest's rule is what
    // sees the crate.
    let is_forbidden = |name: &String| {
        *name != folder.replace('-', "_") && *name != "tests" && !allowed.contains(&name.as_str())
    };
    let ours = CRATES.iter().map(|(name, _)| name.replace('-', "_"));
    for name in ours.filter(is_forbidden).filter(|name| !has_module(&source.code, name)) {
        for (line, _) in source.lines().filter(|(_, code)| names(code, &name)) {
            let what = format!("{folder} must not name `{name}`; {}", direction(folder));
            problems.push(Problem::new(&file.path, line, what));
        }
    }
}

/// Returns whether `code` declares a module called `name`, or has the name inside some path.
fn has_module(code: &str, name: &str) -> bool {
    words(code, name).any(|at| ["mod ", "::"].iter().any(|before| code[..at].ends_with(before)))
}

fn direction(folder: &str) -> &'static str {
    match folder {
        "sensor-ebpf" => "what it shares with the sensor belongs in sensor-abi",
        "sensor" => "what it shares with the brain belongs in wire",
        "brain" => "what it learns from the sensor belongs in wire",
        "xtask" => "run the other crates as programs",
        _ => "move what both need down into it, or the code up out of it",
    }
}

fn manifest(file: &File, problems: &mut Vec<Problem>) {
    let Some((folder, allowed)) = allowed(&file.path) else { return };
    let mut dependencies = false;
    for (index, line) in file.text.lines().enumerate() {
        if line.starts_with('[') {
            dependencies = line.trim_end().ends_with("dependencies]");
        }
        let end = line.find(|c: char| !is_word(c) && c != '-').unwrap_or(line.len());
        let key = &line[..end];
        let ours = CRATES.iter().any(|(name, _)| *name == key);
        if dependencies && ours && !allowed.contains(&key.replace('-', "_").as_str()) {
            let what = format!("{folder} must not depend on `{key}`; {}", direction(folder));
            problems.push(Problem::new(&file.path, index + 1, what));
        }
    }
}

fn owners(file: &File, source: &Source, problems: &mut Vec<Problem>) {
    // A crate's own trials play the other side, and so name what it speaks through.
    if file.path.split('/').nth(1) == Some("tests") {
        return;
    }
    for (guarded, owners) in OWNERS {
        if owners.iter().any(|owner| is_within(&file.path, owner)) {
            continue;
        }
        for (line, code) in source.lines() {
            for name in guarded.iter().filter(|name| names(code, name)) {
                let what = format!("only {} may name `{name}`; ask there", owners.join(", "));
                problems.push(Problem::new(&file.path, line, what));
            }
        }
    }
}

/// Returns whether `path` belongs to one of these modules of the brain.
fn is_module(path: &str, modules: &[&str]) -> bool {
    modules.iter().any(|module| is_within(path, &format!("brain/src/{module}")))
}

fn is_pure(path: &str) -> bool {
    is_module(path, PURE_UPPER) || is_module(path, PURE_LOWER)
}

fn pure(file: &File, source: &Source, problems: &mut Vec<Problem>) {
    let (never, instead) = if is_pure(&file.path) {
        (IMPURE, "this module is pure: take what it needs as an argument")
    } else if file.path.starts_with("wire/src/") {
        (INPUT_OUTPUT, "this crate has no input and output: leave that to its users")
    } else {
        return;
    };
    for (line, code) in source.program() {
        for name in never.iter().filter(|name| names(code, name)) {
            let what = format!("names `{name}`; {instead}");
            problems.push(Problem::new(&file.path, line, what));
        }
    }
}

/// Within the brain, arrows point down.
fn layers(file: &File, source: &Source, problems: &mut Vec<Problem>) {
    let below: Vec<&str> = if is_module(&file.path, PURE_LOWER) {
        PURE_LOWER.to_vec()
    } else if is_module(&file.path, PURE_UPPER) || is_module(&file.path, POLICIES) {
        [PURE_UPPER, PURE_LOWER, POLICIES].concat()
    } else {
        return;
    };
    for (line, code) in source.program() {
        for name in own_modules(code).into_iter().filter(|name| !below.contains(name)) {
            let below = below.join(", ");
            let what =
                format!("names `crate::{name}` but may only name {below}; pass the value in");
            problems.push(Problem::new(&file.path, line, what));
        }
    }
}

/// Returns the modules of its own crate that a line names from the root.
fn own_modules(code: &str) -> Vec<&str> {
    let first = |path| str::split(path, |c| !is_word(c)).next().unwrap_or_default();
    let mut modules = Vec::new();
    for at in words(code, "crate") {
        let Some(path) = code[at + "crate".len()..].strip_prefix("::") else { continue };
        match path.strip_prefix('{') {
            Some(group) => modules.extend(outer(group).into_iter().map(first)),
            None => modules.push(first(path)),
        }
    }
    modules.retain(|name| name.starts_with(|c: char| c.is_ascii_lowercase()));
    modules
}

/// Returns the parts of an import's group, without looking into groups within it.
fn outer(group: &str) -> Vec<&str> {
    let (mut parts, mut depth, mut from) = (Vec::new(), 0_usize, 0);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => {
                parts.push(group[from..at].trim());
                return parts;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(group[from..at].trim());
                from = at + 1;
            }
            _ => {}
        }
    }
    parts
}

/// The brain reads the time of day in one file, and its pure modules never learn any time alone.
fn clocks(file: &File, source: &Source, problems: &mut Vec<Problem>) {
    if !file.path.starts_with("brain/src/") || file.path == "brain/src/clock.rs" {
        return;
    }
    let (never, instead) = if is_pure(&file.path) {
        (["SystemTime", "Instant", "Timestamp::now"], "take the time as an argument")
    } else {
        (["SystemTime::now", "Zoned::now", "Timestamp::now"], "ask crate::clock")
    };
    for (line, code) in source.program() {
        for name in never.iter().filter(|name| words(code, name).next().is_some()) {
            problems.push(Problem::new(&file.path, line, format!("names `{name}`; {instead}")));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn breaks(path: &str, text: &str) -> bool {
        let mut problems = Vec::new();
        check(&Tree::of(&[(path, text)]), &mut problems);
        !problems.is_empty()
    }

    #[test]
    fn crates_name_only_those_below() {
        assert!(breaks("sensor-ebpf/src/a.rs", "use wire::batch;"));
        assert!(breaks("brain/src/a.rs", "use sensor_abi::flow;"));
        assert!(breaks("wire/src/a.rs", "fn f(x: sensor_abi::X) {}"));
        assert!(breaks("xtask/src/a.rs", "use brain::app;"));
        assert!(!breaks("brain/src/a.rs", "use wire::batch; // sensor_abi::x"));
        assert!(!breaks("brain/src/a.rs", "f(\"sensor_abi::x\")"));
        assert!(!breaks("tests/src/a.rs", "use sensor::app; use brain::app;"));
        assert!(!breaks("wire/tests/a.rs", "use wire::codec;"));
        assert!(!breaks("brain/tests/a.rs", "use crate::sensor;\nsensor::play();"));
    }

    #[test]
    fn manifests_follow_the_same_direction() {
        assert!(breaks("xtask/Cargo.toml", "[dependencies]\ntests.workspace = true"));
        assert!(breaks("brain/Cargo.toml", "[dev-dependencies]\nsensor-abi = { x = 1 }"));
        assert!(!breaks("brain/Cargo.toml", "[dependencies]\nwire.workspace = true"));
        assert!(!breaks("wire/Cargo.toml", "[features]\nbrain = []"));
        assert!(!breaks("Cargo.toml", "[workspace.dependencies]\nbrain = 1"));
    }

    #[test]
    fn risky_crates_have_one_owner() {
        for (path, good) in [
            ("sensor/src/probe.rs", true),
            ("sensor/src/probe/attach.rs", true),
            ("sensor/src/probed.rs", false),
            ("sensor-abi/src/flow.rs", true),
            ("brain/src/engine.rs", false),
        ] {
            assert_eq!(breaks(path, "use aya::Pod;"), !good, "{path}");
        }
        assert!(breaks("brain/src/api/hosts.rs", "let db: sled::Db;"));
        assert!(!breaks("brain/src/store/state.rs", "let db: sled::Db;"));
        assert!(breaks("brain/src/engine.rs", "use zstd::decode;"));
        assert!(!breaks("brain/tests/it/alert.rs", "use axum::Router;"));
    }

    #[test]
    fn pure_modules_stay_pure() {
        assert!(breaks("brain/src/detect/a.rs", "use tokio::sync::mpsc;"));
        assert!(breaks("brain/src/window.rs", "#[derive(serde::Serialize)]"));
        assert!(breaks("brain/src/finding/set.rs", "let now = Instant::now();"));
        assert!(breaks("brain/src/record.rs", "fn f(at: SystemTime) {}"));
        assert!(!breaks("brain/src/detect/a.rs", "/// Not tokio::sync.\nlet x = 1;"));
        let tests = "#[cfg(test)]\nmod tests {\n    use std::fs;\n}";
        assert!(!breaks("brain/src/detect/a.rs", tests));
        assert!(breaks("wire/src/a.rs", "use std::fs;"));
    }

    #[test]
    fn arrows_in_the_brain_point_down() {
        assert!(breaks("brain/src/detect/a.rs", "use crate::engine::X;"));
        assert!(breaks("brain/src/detect/a.rs", "use crate::{finding::{X, Y}, store::Z};"));
        assert!(breaks("brain/src/finding.rs", "use crate::detect::X;"));
        assert!(!breaks("brain/src/detect/a.rs", "use crate::{finding::{X, engine}, text};"));
        assert!(!breaks("brain/src/detect/a.rs", "use crate::finding::X; crate::HOSTS_MAX;"));
        assert!(!breaks("brain/src/engine.rs", "use crate::detect::X;"));
    }

    #[test]
    fn the_time_of_day_is_read_in_one_file() {
        assert!(breaks("brain/src/notify.rs", "SystemTime::now()"));
        assert!(!breaks("brain/src/notify.rs", "Instant::now()"));
        assert!(!breaks("brain/src/clock.rs", "SystemTime::now()"));
        assert!(!breaks("sensor/src/user.rs", "SystemTime::now()"));
    }
}
