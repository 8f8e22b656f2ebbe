//! Rules about text: how a file opens, how wide it is, what it never says, and that every unsafe
//! place says why it is sound.

use super::Problem;
use super::source::{LITERAL, Source, is_word, words};
use super::tree::{File, Tree};

/// Columns of a line. What rustfmt cannot break, a long string or an address, may be wider.
const COLUMNS_MAX: usize = 100;

/// Lines above an unsafe place in which its reason is looked for.
const REASON_LINES: usize = 8;

/// Macros that mean "not finished".
const UNFINISHED: &[&str] = &["todo!", "unimplemented!", "dbg!"];

/// Attributes that make a test say less than it seems to.
const WEAK_TESTS: &[(&str, &str)] = &[
    ("ignore", "a test runs or says at run time why it cannot: return after a `SKIP` line"),
    ("should_panic", "assert on the error, or catch the panic and look at its message"),
];

/// Marks of unfinished work. In two pieces, as is all below, so that this file keeps its own rule.
const MARKS: &[(&str, &str)] = &[("TO", "DO"), ("FIX", "ME")];

/// Files in which a mark of unfinished work is looked for.
const CODE: &[&str] = &["rs", "ts", "tsx", "mjs", "css", "html", "toml", "yml", "yaml"];

/// What only one machine or one workplace knows.
const PLACES: &[(&str, &str, &str)] = &[
    ("/wo", "rk/", "a path of one machine"),
    ("/ro", "ot/", "a path of one machine"),
    ("/tmp/bash", "_jobs", "a path of one machine"),
    ("fa", "rm-", "a word of one workplace"),
    ("steer", "ing", "a word of one workplace"),
    ("crates", ".io", "a package registry's host"),
    ("registry.npm", "js.org", "a package registry's host"),
    ("py", "pi.org", "a package registry's host"),
    ("files.python", "hosted.org", "a package registry's host"),
    ("deb.deb", "ian.org", "a package registry's host"),
];

pub(super) fn check(tree: &Tree, problems: &mut Vec<Problem>) {
    for file in tree.files() {
        marks(file, problems);
        places(file, problems);
    }
    for (file, source) in tree.rust() {
        opening(file, problems);
        width(file, source, problems);
        unfinished(file, source, problems);
        attributes(file, source, problems);
        unsafe_reasons(file, source, problems);
        globs(file, source, problems);
    }
}

fn opening(file: &File, problems: &mut Vec<Problem>) {
    if !file.text.starts_with("//!") {
        let what = "does not open with `//!`; say in one sentence what the file owns";
        problems.push(Problem::new(&file.path, 1, what));
    }
}

fn width(file: &File, source: &Source, problems: &mut Vec<Problem>) {
    for ((line, code), raw) in source.lines().zip(file.text.lines()) {
        let columns = raw.chars().count();
        let literal = code.matches(LITERAL).count();
        if columns > COLUMNS_MAX && columns - literal > COLUMNS_MAX && !raw.contains("://") {
            let what = format!("{columns} columns, more than {COLUMNS_MAX}; break the line");
            problems.push(Problem::new(&file.path, line, what));
        }
    }
}

fn unfinished(file: &File, source: &Source, problems: &mut Vec<Problem>) {
    for (line, code) in source.lines() {
        for name in UNFINISHED.iter().filter(|name| words(code, name).next().is_some()) {
            let what = format!("`{name}`; write the code, or return an error that says what lacks");
            problems.push(Problem::new(&file.path, line, what));
        }
    }
}

fn attributes(file: &File, source: &Source, problems: &mut Vec<Problem>) {
    for (line, code) in source.lines() {
        let mut found = |what: String| problems.push(Problem::new(&file.path, line, what));
        if attribute(code, "allow").is_some() {
            found("`allow`; use `#[expect(the_lint, reason = \"why\")]`, on the item".to_owned());
        }
        if let Some(at) = attribute(code, "expect")
            && !bracketed(source, line, at).contains("reason")
        {
            found("`expect` without a reason; add `reason = \"why\"`".to_owned());
        }
        for (name, instead) in WEAK_TESTS {
            if attribute(code, name).is_some() {
                found(format!("`#[{name}]`; {instead}"));
            }
        }
    }
}

/// Returns where `name` stands as an attribute in `code`, also within `cfg_attr`.
fn attribute(code: &str, name: &str) -> Option<usize> {
    words(code, name).find(|&at| {
        let (before, after) = (code[..at].trim_end(), &code[at + name.len()..]);
        let conditional = before.ends_with(',') && before.contains("cfg_attr(");
        (before.ends_with("#[") || before.ends_with("#![") || conditional)
            && after.starts_with(['(', ']', ' ', ')'])
    })
}

/// Returns the code from `at` in `line` to the `]` that ends the attribute.
fn bracketed(source: &Source, line: usize, at: usize) -> String {
    let lines = source.lines().skip(line - 1).map(|(_, code)| code);
    let text = lines.take(REASON_LINES).collect::<Vec<_>>().join("\n");
    text[at..].split(']').next().unwrap_or_default().to_owned()
}

/// The compiler checks blocks and impls in what it compiles; this also reads macros and what only
/// other targets compile.
fn unsafe_reasons(file: &File, source: &Source, problems: &mut Vec<Problem>) {
    let comments: Vec<&str> = source.comments.lines().collect();
    let code: Vec<&str> = source.code.lines().collect();
    for (line, text) in source.lines() {
        let mut places = words(text, "unsafe").map(|at| kind(&text[at + "unsafe".len()..]));
        let Some(is_fn) = places.find_map(|kind| kind) else { continue };
        let first = line.saturating_sub(1 + REASON_LINES);
        let near = comments[first..line].iter().any(|comment| comment.contains("SAFETY:"));
        let reasoned = near || (is_fn && documented(&comments, &code, line));
        if !reasoned {
            let what = "`unsafe` without `// SAFETY:` above; say why this is sound here";
            problems.push(Problem::new(&file.path, line, what));
        }
    }
}

/// Returns whether the `unsafe` before `after` begins a function; nothing when it begins none of
/// block, impl and function, as in a pointer's type or an attribute.
fn kind(after: &str) -> Option<bool> {
    let after = after.trim_start();
    let after = match after.strip_prefix("extern ") {
        Some(linkage) => linkage.trim_start_matches(['"', LITERAL, ' ']),
        None => after,
    };
    let function = after.strip_prefix("fn ").is_some_and(|name| name.starts_with(is_word));
    let place = function || after.starts_with('{') || after.starts_with("impl");
    place.then_some(function)
}

/// Returns whether the documentation right above `line` has a section on safety.
fn documented(comments: &[&str], code: &[&str], line: usize) -> bool {
    let above = (0..line - 1).rev();
    above
        .take_while(|&index| {
            let attribute = code[index].trim_start().starts_with("#[");
            attribute || (code[index].trim().is_empty() && !comments[index].trim().is_empty())
        })
        .any(|index| comments[index].contains("# Safety"))
}

fn globs(file: &File, source: &Source, problems: &mut Vec<Problem>) {
    if file.path.ends_with("/tests.rs") {
        return;
    }
    for (line, code) in source.program() {
        if code.contains("use super::*") {
            let what = "`use super::*` hides what the file touches; name the items";
            problems.push(Problem::new(&file.path, line, what));
        }
    }
}

fn marks(file: &File, problems: &mut Vec<Problem>) {
    let extension = file.path.rsplit('.').next().unwrap_or_default();
    if !CODE.contains(&extension) {
        return;
    }
    let text = file.rust.as_ref().map_or(&file.text, |source| &source.comments);
    for (index, text) in text.lines().enumerate() {
        for (start, end) in MARKS {
            let mark = format!("{start}{end}");
            if words(text, &mark).next().is_some() {
                let what = format!("`{mark}`; do it now, or drop the comment");
                problems.push(Problem::new(&file.path, index + 1, what));
            }
        }
    }
}

fn places(file: &File, problems: &mut Vec<Problem>) {
    // A lock file says where packages come from; samples of attacks speak of any machine's paths.
    if file.path == "Cargo.lock" || file.path.starts_with("policies/") {
        return;
    }
    for (start, end, kind) in PLACES {
        let place = format!("{start}{end}");
        if !file.text.contains(&place) {
            continue;
        }
        for (index, text) in file.text.lines().enumerate() {
            let mut hits = text.match_indices(&place);
            if hits.any(|(at, _)| !text[..at].ends_with(|c: char| is_word(c) || c == '-')) {
                let what = format!("`{place}`, {kind}; say it so that it holds anywhere");
                problems.push(Problem::new(&file.path, index + 1, what));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: [usize; 0] = [];

    /// Returns the lines of `text`, below an opening comment, at which there are problems.
    fn lines(path: &str, text: &str) -> Vec<usize> {
        let text = format!("//! A file.\n{text}");
        let mut problems = Vec::new();
        check(&Tree::of(&[(path, &text)]), &mut problems);
        problems.iter().map(|problem| problem.line - 1).collect()
    }

    #[test]
    fn a_file_opens_with_its_purpose() {
        let mut problems = Vec::new();
        check(&Tree::of(&[("a.rs", "// A file.\n")]), &mut problems);
        assert_eq!(problems.len(), 1);
    }

    #[test]
    fn wide_lines_are_for_strings_and_addresses() {
        let wide = "x".repeat(101);
        assert_eq!(lines("a.rs", &format!("// {wide}")), [1]);
        assert_eq!(lines("a.rs", &format!("let a = {wide};")), [1]);
        assert_eq!(lines("a.rs", &format!("let a = \"{wide}\";")), NONE);
        assert_eq!(lines("a.rs", &format!("// https://{wide}")), NONE);
        assert_eq!(lines("a.rs", &format!("// {}", "é".repeat(97))), NONE);
        assert_eq!(lines("a.md", &wide), NONE);
    }

    #[test]
    fn unfinished_code_is_found_in_code_only() {
        assert_eq!(lines("a.rs", "todo!();\nx(\"todo!()\");\ndbg!(x);"), [1, 3]);
        assert_eq!(lines("a.rs", "my_todo!(); // dbg!"), NONE);
        let mark = MARKS[0].0.to_owned() + MARKS[0].1;
        assert_eq!(lines("a.rs", &format!("// {mark}: x\nf(\"{mark}\");")), [1]);
        assert_eq!(lines("a.ts", &format!("// {mark}: x")), [1]);
        assert_eq!(lines("a.md", &mark), NONE);
    }

    #[test]
    fn lints_are_silenced_with_reasons() {
        assert_eq!(lines("a.rs", "#[allow(dead_code)]\n#![allow(x)]\nallow(x);"), [1, 2]);
        assert_eq!(lines("a.rs", "#[cfg_attr(test, allow(dead_code))]\nf(a, allow(x));"), [1]);
        assert_eq!(lines("a.rs", "#[expect(dead_code)]\nx.expect(\"y\")"), [1]);
        assert_eq!(lines("a.rs", "#[expect(\n    dead_code,\n    reason = \"x\"\n)]"), NONE);
        assert_eq!(lines("a.rs", "#[rust_embed(x)]\n#[allow_missing = true]"), NONE);
    }

    #[test]
    fn tests_run_and_say_what_they_expect() {
        assert_eq!(lines("a.rs", "#[ignore]\n#[ignore = \"slow\"]\n#[should_panic(x)]"), [1, 2, 3]);
        assert_eq!(lines("a.rs", "let ignore = [ignore];"), NONE);
    }

    #[test]
    fn every_unsafe_place_has_its_reason() {
        assert_eq!(lines("a.rs", "unsafe { x() }"), [1]);
        assert_eq!(lines("a.rs", "// SAFETY: x.\nunsafe { x() }\nf(\"unsafe {\")"), NONE);
        assert_eq!(lines("a.rs", "unsafe impl A for B {}"), [1]);
        assert_eq!(lines("a.rs", "unsafe extern \"C\" {\n}"), [1]);
        assert_eq!(lines("a.rs", "/// # Safety\n/// X.\n#[inline]\npub unsafe fn f() {}"), NONE);
        assert_eq!(lines("a.rs", "/// # Safety\nfn g() {}\npub unsafe fn f() {}"), [3]);
        assert_eq!(lines("a.rs", "type F = unsafe fn(u8);\n#[unsafe(no_mangle)]"), NONE);
        let far = format!("// SAFETY: x.\n{}unsafe {{ x() }}", "\n".repeat(REASON_LINES));
        assert_eq!(lines("a.rs", &far), [REASON_LINES + 2]);
    }

    #[test]
    fn only_tests_import_everything() {
        assert_eq!(lines("a.rs", "use super::*;"), [1]);
        assert_eq!(lines("a.rs", "#[cfg(test)]\nmod tests {\n    use super::*;\n}"), NONE);
        assert_eq!(lines("a/tests.rs", "use super::*;"), NONE);
    }

    #[test]
    fn the_tree_names_no_machine() {
        for (start, end, _) in PLACES {
            assert_eq!(lines("a.md", &format!("see `{start}{end}x`")), [1], "{start}");
            assert_eq!(lines("Cargo.lock", &format!("{start}{end}x")), NONE);
            assert_eq!(lines("policies/a.yml", &format!("{start}{end}x")), NONE);
        }
        let (start, end, _) = PLACES[0];
        assert_eq!(lines("a.md", &format!("net{start}{end}x")), NONE);
    }
}
