//! Rules of the source tree that no compiler checks: who may name whom, what every file opens
//! with, which words never appear, and that nothing lies in the tree unreached.
//!
//! A rule is a small function from text to problems, so that each is tested on a few lines. Every
//! problem says what to do instead.

mod files;
mod imports;
mod policies;
mod source;
mod text;
mod tree;

use std::fmt;
use std::path::Path;

use anyhow::{Result, bail};

use self::tree::Tree;

/// One place that breaks a rule.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Problem {
    path: String,
    /// Counted from 1.
    line: usize,
    /// What is wrong, and what to do instead.
    what: String,
}

impl Problem {
    fn new(path: &str, line: usize, what: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line, what: what.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.what)
    }
}

/// Checks the tree at `root`, prints each problem, and fails when there is any.
pub fn run(root: &Path) -> Result<()> {
    let problems = check(&Tree::read(root)?);
    for problem in &problems {
        println!("{problem}");
    }
    match problems.len() {
        0 => Ok(()),
        1 => bail!("the tree breaks a rule; see above"),
        n => bail!("the tree breaks rules in {n} places; see above"),
    }
}

/// Returns all problems, by path and line.
fn check(tree: &Tree) -> Vec<Problem> {
    let mut problems = Vec::new();
    for rules in [text::check, files::check, imports::check, policies::check] {
        rules(tree, &mut problems);
    }
    problems.sort();
    problems.dedup();
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_workspace_keeps_the_rules() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        run(&root).unwrap();
    }

    #[test]
    fn a_broken_tree_is_reported_by_path_and_line() {
        let tree = Tree::of(&[
            ("wire/Cargo.toml", ""),
            ("wire/src/lib.rs", "//! Wire.\nmod a;\n"),
            ("wire/src/a.rs", "use brain::x;\n"),
        ]);
        let problems: Vec<String> = check(&tree).iter().map(Problem::to_string).collect();
        assert_eq!(problems.len(), 2, "{problems:?}");
        assert!(problems.iter().all(|problem| problem.starts_with("wire/src/a.rs:1: ")));
    }
}
