//! Rules about detections: each is in the list, has settings, and has samples that make it fire and
//! samples that leave it quiet.

use super::Problem;
use super::source::words;
use super::tree::Tree;

const LIST: &str = "brain/src/detect.rs";
const DETECTORS: &str = "policies/detectors/";
const SIGMA: &str = "policies/sigma/";
const SAMPLES: &str = ".samples.yml";

/// The detector whose findings come from rules; its samples lie beside those.
const RULES: &str = "sigma";

pub(super) fn check(tree: &Tree, problems: &mut Vec<Problem>) {
    let Some((_, list)) = tree.rust().find(|(file, _)| file.path == LIST) else { return };
    let mut detectors = Vec::new();
    for (file, source) in tree.rust() {
        let name = file.path.strip_prefix("brain/src/detect/").and_then(|x| x.strip_suffix(".rs"));
        let Some(name) = name.filter(|name| !name.contains('/')) else { continue };
        if !source.program().any(|(_, code)| code.contains("impl Detector for ")) {
            continue;
        }
        detectors.push(name);
        let used = format!("{name}::");
        if words(&list.code, &used[..name.len()]).all(|at| !list.code[at..].starts_with(&used)) {
            let what = format!("`{name}` is not in the list; add it to `list` in {LIST}");
            problems.push(Problem::new(&file.path, 1, what));
        }
        required(tree, &file.path, &format!("{DETECTORS}{name}.yml"), problems);
        if name != RULES {
            samples(tree, &file.path, &format!("{DETECTORS}{name}{SAMPLES}"), problems);
        }
    }
    settings(tree, &detectors, problems);
    rules(tree, problems);
}

fn required(tree: &Tree, path: &str, wanted: &str, problems: &mut Vec<Problem>) {
    if tree.file(wanted).is_none() {
        problems.push(Problem::new(path, 1, format!("has no {wanted}; write it")));
    }
}

/// Checks that `wanted` exists, with a scenario that fires and one that stays quiet.
fn samples(tree: &Tree, path: &str, wanted: &str, problems: &mut Vec<Problem>) {
    required(tree, path, wanted, problems);
    let Some(file) = tree.file(wanted) else { return };
    for part in ["fires", "quiet"] {
        if entries(&file.text, part) == 0 {
            let what = format!("no sample under `{part}:`; add one, as in the other sample files");
            problems.push(Problem::new(&file.path, 1, what));
        }
    }
}

/// Returns how many lines the list under the top-level key `part` has.
fn entries(text: &str, part: &str) -> usize {
    let key = format!("{part}:");
    let after = text.lines().skip_while(|line| line.trim_end() != key).skip(1);
    let within = after.take_while(|line| line.starts_with([' ', '-', '#']) || line.is_empty());
    within.filter(|line| line.trim_start().starts_with('-')).count()
}

/// Reports settings for which there is no detector.
fn settings(tree: &Tree, detectors: &[&str], problems: &mut Vec<Problem>) {
    for file in tree.files() {
        let Some(name) = file.path.strip_prefix(DETECTORS) else { continue };
        let name = name.strip_suffix(SAMPLES).or_else(|| name.strip_suffix(".yml"));
        if name.is_some_and(|name| !detectors.contains(&name)) {
            let what = "no file in brain/src/detect/ has this name; rename one or delete this";
            problems.push(Problem::new(&file.path, 1, what));
        }
    }
}

fn rules(tree: &Tree, problems: &mut Vec<Problem>) {
    for file in tree.files() {
        let Some(name) = file.path.strip_prefix(SIGMA) else { continue };
        if let Some(rule) = name.strip_suffix(SAMPLES) {
            required(tree, &file.path, &format!("{SIGMA}{rule}.yml"), problems);
        } else if let Some(rule) = name.strip_suffix(".yml") {
            samples(tree, &file.path, &format!("{SIGMA}{rule}{SAMPLES}"), problems);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "policy: x\nfires:\n  - name: a\n\nquiet:\n- name: b\n";
    const FILES: &[(&str, &str)] = &[
        (LIST, "mod scan;\nmod shell;\nfn new() { scan::Scan::new() }"),
        ("brain/src/detect/scan.rs", "impl Detector for Scan {}"),
        ("brain/src/detect/shell.rs", "fn is_shell() {}"),
        ("policies/detectors/scan.yml", ""),
        ("policies/detectors/scan.samples.yml", GOOD),
        ("policies/sigma/miner.yml", ""),
        ("policies/sigma/miner.samples.yml", GOOD),
    ];

    /// Returns what is found when the file at `path` has this text, or is missing.
    fn with(path: &str, text: Option<&str>) -> Vec<String> {
        let others = FILES.iter().filter(|(other, _)| *other != path).copied();
        let files: Vec<(&str, &str)> = others.chain(text.map(|text| (path, text))).collect();
        let mut problems = Vec::new();
        check(&Tree::of(&files), &mut problems);
        problems.into_iter().map(|problem| problem.path).collect()
    }

    #[test]
    fn a_whole_detector_is_fine() {
        assert_eq!(with("other.md", None), [""; 0]);
    }

    #[test]
    fn a_detector_is_listed_and_has_settings_and_samples() {
        let path = "brain/src/detect/scan.rs";
        assert_eq!(with(LIST, Some("mod scan;\nmy_scan::x();")), [path]);
        assert_eq!(with("policies/detectors/scan.yml", None), [path]);
        assert_eq!(with("policies/detectors/scan.samples.yml", None), [path]);
        let unlisted = with("brain/src/detect/idle.rs", Some("impl Detector for Idle {}"));
        assert_eq!(unlisted.len(), 3);
    }

    #[test]
    fn samples_fire_and_stay_quiet() {
        for path in ["policies/detectors/scan.samples.yml", "policies/sigma/miner.samples.yml"] {
            assert_eq!(with(path, Some("fires:\nquiet:\n  - a\n")), [path]);
            assert_eq!(with(path, Some("fires:\n  - a\n")), [path]);
        }
        assert_eq!(with("policies/sigma/miner.samples.yml", None), ["policies/sigma/miner.yml"]);
    }

    #[test]
    fn nothing_lies_in_the_policies_alone() {
        let path = "policies/detectors/ghost.yml";
        assert_eq!(with(path, Some("")), [path]);
        let path = "policies/sigma/ghost.samples.yml";
        assert_eq!(with(path, Some(GOOD)), [path]);
    }
}
