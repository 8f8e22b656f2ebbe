//! Rules about files: what they are called, and that each is reached from a crate's root.

use std::collections::BTreeSet;

use super::Problem;
use super::source::{Source, words};
use super::tree::Tree;

/// Names that say nothing about what a file owns.
const EMPTY_NAMES: &[&str] = &["common", "utils", "util", "helpers", "misc", "core", "manager"];

pub(super) fn check(tree: &Tree, problems: &mut Vec<Problem>) {
    names(tree, problems);
    reached(tree, problems);
    maps(tree, problems);
}

fn names(tree: &Tree, problems: &mut Vec<Problem>) {
    let mut seen = BTreeSet::new();
    for file in tree.files().iter().map(|file| file.path.as_str()) {
        if file.ends_with("/mod.rs") {
            let what = "a module is `x.rs` with an optional folder `x/`; move it there";
            problems.push(Problem::new(file, 1, what));
        }
        for part in file.split('/') {
            let stem = part.split('.').next().unwrap_or(part);
            if EMPTY_NAMES.contains(&stem) && seen.insert(file) {
                let what = format!("`{stem}` says nothing; name what the file owns");
                problems.push(Problem::new(file, 1, what));
            }
        }
    }
}

/// Reports Rust files that no crate compiles.
fn reached(tree: &Tree, problems: &mut Vec<Problem>) {
    let mut waiting: Vec<String> = Vec::new();
    for manifest in tree.files().iter().filter(|file| file.path.ends_with("Cargo.toml")) {
        let folder = manifest.path.strip_suffix("Cargo.toml").unwrap_or_default();
        waiting.extend(roots(tree, folder, &manifest.text));
    }
    let mut reached: BTreeSet<String> = waiting.iter().cloned().collect();
    let roots = reached.clone();
    while let Some(path) = waiting.pop() {
        let Some(source) = tree.file(&path).and_then(|file| file.rust.as_ref()) else { continue };
        let text = &tree.file(&path).map(|file| file.text.as_str()).unwrap_or_default();
        for module in modules(&path, text, source, roots.contains(&path)) {
            if reached.insert(module.clone()) {
                waiting.push(module);
            }
        }
    }
    for (file, _) in tree.rust().filter(|(file, _)| !reached.contains(&file.path)) {
        let what = "no `mod` reaches this file; add it to its parent, or delete it";
        problems.push(Problem::new(&file.path, 1, what));
    }
}

/// Returns the files that Cargo compiles for the package in `folder`, by convention or by its
/// manifest's word.
fn roots(tree: &Tree, folder: &str, manifest: &str) -> Vec<String> {
    let named = manifest.lines().filter_map(|line| {
        let value = line.strip_prefix("path")?.trim_start().strip_prefix('=')?;
        Some(format!("{folder}{}", value.trim().trim_matches('"')))
    });
    let by_convention = tree.rust().map(|(file, _)| &file.path).filter(|path| {
        path.strip_prefix(folder).is_some_and(|inside| {
            let parts: Vec<&str> = inside.split('/').collect();
            matches!(
                parts.as_slice(),
                ["build.rs"]
                    | ["src", "lib.rs" | "main.rs"]
                    | ["src", "bin", _]
                    | ["src", "bin", _, "main.rs"]
                    | ["tests" | "benches" | "examples", _]
                    | ["tests" | "benches" | "examples", _, "main.rs"]
            )
        })
    });
    named.filter(|path| path.ends_with(".rs")).chain(by_convention.cloned()).collect()
}

/// Returns the files in which the modules that `path` declares may lie.
fn modules(path: &str, text: &str, source: &Source, root: bool) -> Vec<String> {
    let (folder, leaf) = path.rsplit_once('/').unwrap_or(("", path));
    let inner = match leaf.strip_suffix(".rs").unwrap_or(leaf) {
        "mod" => folder.to_owned(),
        _ if root => folder.to_owned(),
        stem => format!("{folder}/{stem}"),
    };
    let mut files = Vec::new();
    let mut moved: Option<String> = None;
    for ((_, code), raw) in source.lines().zip(text.lines()) {
        if code.trim_start().starts_with("#[path") {
            moved = raw.split('"').nth(1).map(|to| joined(folder, to));
        }
        let Some(name) = declared(code) else { continue };
        match moved.take() {
            Some(file) => files.push(file),
            None => files.extend([format!("{inner}/{name}.rs"), format!("{inner}/{name}/mod.rs")]),
        }
    }
    files
}

/// Returns the module that this line of code declares as being in another file.
fn declared(code: &str) -> Option<&str> {
    let at = words(code, "mod").next()?;
    let name = code[at + "mod".len()..].trim().strip_suffix(';')?.trim();
    let before = code[..at].trim();
    let visible = before.is_empty() || before.starts_with("pub") || before.starts_with("#[");
    visible.then_some(name.trim_start_matches("r#"))
}

/// Returns `to` as seen from `folder`, without `..`.
fn joined(folder: &str, to: &str) -> String {
    let mut parts: Vec<&str> = folder.split('/').collect();
    for part in to.split('/') {
        match part {
            ".." => drop(parts.pop()),
            "." => {}
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// Reports kernel maps that no program touches, and rings that the sensor never empties.
fn maps(tree: &Tree, problems: &mut Vec<Problem>) {
    const PATH: &str = "sensor-ebpf/src/maps.rs";
    let Some((file, source)) = tree.rust().find(|(file, _)| file.path == PATH) else { return };
    let programs = |name: &str| {
        let mut others = tree.rust().filter(|(other, _)| {
            other.path.starts_with("sensor-ebpf/src/") && other.path != file.path
        });
        others.any(|(_, other)| words(&other.code, name).next().is_some())
    };
    let drained = |name: &str| {
        let quoted = format!("\"{name}\"");
        tree.files()
            .iter()
            .any(|other| other.path.starts_with("sensor/src/drain") && other.text.contains(&quoted))
    };
    for (line, code) in source.lines() {
        let Some((_, declared)) = code.split_once("static ") else { continue };
        let Some((name, kind)) = declared.split_once(':') else { continue };
        if !programs(name) {
            let what = format!("no program touches the map `{name}`; use it or delete it");
            problems.push(Problem::new(&file.path, line, what));
        }
        if kind.trim_start().starts_with("RingBuf") && !drained(name) {
            let what = format!("nobody empties the ring `{name}`; read it in sensor/src/drain");
            problems.push(Problem::new(&file.path, line, what));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(files: &[(&str, &str)]) -> Vec<String> {
        let mut problems = Vec::new();
        check(&Tree::of(files), &mut problems);
        problems.into_iter().map(|problem| problem.path).collect()
    }

    #[test]
    fn names_say_what_a_file_owns() {
        let manifest = ("a/Cargo.toml", "");
        let files = [manifest, ("a/src/lib.rs", "mod utils;\nmod x;"), ("a/src/utils.rs", "")];
        assert_eq!(found(&files), ["a/src/utils.rs"]);
        assert_eq!(found(&[("a/helpers/x.ts", ""), ("a/score.ts", "")]), ["a/helpers/x.ts"]);
        let files = [manifest, ("a/src/lib.rs", "mod x;"), ("a/src/x/mod.rs", "")];
        assert_eq!(found(&files), ["a/src/x/mod.rs"]);
    }

    #[test]
    fn a_file_that_no_mod_reaches_is_dead() {
        let files = [
            ("a/Cargo.toml", "[[test]]\npath = \"trials/main.rs\"\n"),
            ("a/src/lib.rs", "pub(crate) mod x;\n// mod dead;\n#[cfg(test)] mod y;"),
            ("a/src/x.rs", "mod z;\nmod inner { }"),
            ("a/src/x/z.rs", ""),
            ("a/src/y.rs", ""),
            ("a/src/dead.rs", "mod deader;"),
            ("a/src/dead/deader.rs", ""),
            ("a/src/bin/b.rs", "#[path = \"../shared.rs\"]\nmod shared;"),
            ("a/src/shared.rs", ""),
            ("a/trials/main.rs", "mod one;"),
            ("a/trials/one.rs", ""),
            ("a/build.rs", ""),
        ];
        assert_eq!(found(&files), ["a/src/dead.rs", "a/src/dead/deader.rs"]);
    }

    #[test]
    fn a_map_is_touched_and_a_ring_is_emptied() {
        let text = "static A: Array<u8> = x;\nstatic R: RingBuf<u8> = x;\nstatic S: RingBuf = x;";
        let files = [
            ("sensor-ebpf/Cargo.toml", ""),
            ("sensor-ebpf/src/main.rs", "mod maps;\nf(A); // R\ng(S);"),
            ("sensor-ebpf/src/maps.rs", text),
            ("sensor/src/drain.txt", "typed(\"R\")"),
        ];
        let mut problems = Vec::new();
        check(&Tree::of(&files), &mut problems);
        let whats: Vec<_> = problems.iter().map(|p| (p.line, &p.what[..3])).collect();
        assert_eq!(whats, [(2, "no "), (3, "nob")]);
    }
}
