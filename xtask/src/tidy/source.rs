//! Rust text taken apart into code and comments, so that a rule about code is not set off by a
//! string, nor a rule about comments by code.

/// Stands for a character inside a string or character literal.
pub(super) const LITERAL: char = '\u{1}';

/// A Rust file's text in two copies, each with the lines and columns of the original.
#[derive(Debug)]
pub(super) struct Source {
    /// Comments blanked; what is inside literals replaced by [`LITERAL`].
    pub code: String,
    /// Everything but comments blanked.
    pub comments: String,
    /// Line, counted from 1, at which the file's own test module begins.
    tests_from: usize,
}

impl Source {
    pub(super) fn new(text: &str) -> Self {
        let mut split = Split { chars: text.chars().collect(), at: 0, out: Vec::new() };
        split.run();
        let copy = |pick: fn(char, Part) -> char| -> String {
            split.chars.iter().zip(&split.out).map(|(&c, &part)| pick(c, part)).collect()
        };
        let code = copy(|c, part| match (c, part) {
            ('\n', _) | (_, Part::Code) => c,
            (_, Part::Comment) => ' ',
            (_, Part::Literal) => LITERAL,
        });
        let comments = copy(|c, part| if c == '\n' || part == Part::Comment { c } else { ' ' });
        let tests_from = tests_from(&code);
        Self { code, comments, tests_from }
    }

    /// Returns the code's lines with their numbers.
    pub(super) fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.code.lines().enumerate().map(|(index, line)| (index + 1, line))
    }

    /// Returns the code's lines before the file's own test module.
    pub(super) fn program(&self) -> impl Iterator<Item = (usize, &str)> {
        self.lines().take_while(|(line, _)| *line < self.tests_from)
    }
}

fn tests_from(code: &str) -> usize {
    let lines: Vec<&str> = code.lines().collect();
    let begins = |pair: &[&str]| {
        let module = pair[1].trim_start_matches("pub(crate) ").trim_end();
        pair[0].trim() == "#[cfg(test)]" && module.starts_with("mod ") && module.ends_with('{')
    };
    // A file may also be nothing but tests.
    let whole = lines.iter().position(|line| line.trim() == "#![cfg(test)]");
    let own = lines.windows(2).position(begins);
    whole.or(own).map_or(usize::MAX, |index| index + 1)
}

/// Returns the places in `line` where `word` stands as a whole word.
pub(super) fn words<'a>(line: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    line.match_indices(word).map(|(at, _)| at).filter(move |&at| {
        !line[..at].ends_with(is_word) && !line[at + word.len()..].starts_with(is_word)
    })
}

/// Returns whether `line` names `path`, such as `quinn` or `std::fs`, from its root: as the start
/// of a path or as the whole of an import, and not as the tail of some other path.
pub(super) fn names(line: &str, path: &str) -> bool {
    words(line, path).any(|at| {
        let (before, after) = (&line[..at], &line[at + path.len()..]);
        let tail = before.strip_suffix("::").is_some_and(|root| root.ends_with(is_word));
        let import = ["use ", "extern crate "].iter().any(|word| before.ends_with(word));
        // `std::fs` is named by itself; a crate's name alone may be a variable.
        !tail && (import || after.starts_with("::") || path.contains("::"))
    })
}

pub(super) fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Code,
    Comment,
    Literal,
}

struct Split {
    chars: Vec<char>,
    at: usize,
    out: Vec<Part>,
}

impl Split {
    fn run(&mut self) {
        while let Some(c) = self.peek(0) {
            match (c, self.peek(1)) {
                ('/', Some('/')) => self.line_comment(),
                ('/', Some('*')) => self.block_comment(),
                ('"', _) => self.string(),
                ('r', _) if self.raw_hashes().is_some() => self.raw_string(),
                ('\'', _) => self.quote(),
                _ => self.take(Part::Code, 1),
            }
        }
    }

    fn peek(&self, ahead: usize) -> Option<char> {
        self.chars.get(self.at + ahead).copied()
    }

    fn take(&mut self, part: Part, count: usize) {
        let count = count.min(self.chars.len() - self.at);
        self.out.extend(std::iter::repeat_n(part, count));
        self.at += count;
    }

    fn line_comment(&mut self) {
        while self.peek(0).is_some_and(|c| c != '\n') {
            self.take(Part::Comment, 1);
        }
    }

    fn block_comment(&mut self) {
        let mut depth = 0_usize;
        loop {
            match (self.peek(0), self.peek(1)) {
                (Some('/'), Some('*')) => depth += 1,
                (Some('*'), Some('/')) => depth -= 1,
                (None, _) => return,
                _ => {
                    self.take(Part::Comment, 1);
                    continue;
                }
            }
            self.take(Part::Comment, 2);
            if depth == 0 {
                return;
            }
        }
    }

    fn string(&mut self) {
        self.take(Part::Code, 1);
        while let Some(c) = self.peek(0) {
            match c {
                '"' => return self.take(Part::Code, 1),
                '\\' => self.take(Part::Literal, 2),
                _ => self.take(Part::Literal, 1),
            }
        }
    }

    /// Returns the number of `#` when a raw string begins here.
    fn raw_hashes(&self) -> Option<usize> {
        let before = |back: usize| self.at.checked_sub(back).map(|index| self.chars[index]);
        let prefix = usize::from(matches!(before(1), Some('b' | 'c')));
        if before(prefix + 1).is_some_and(is_word) {
            return None;
        }
        let hashes = self.chars[self.at + 1..].iter().take_while(|&&c| c == '#').count();
        (self.peek(1 + hashes) == Some('"')).then_some(hashes)
    }

    fn raw_string(&mut self) {
        let hashes = self.raw_hashes().unwrap_or(0);
        self.take(Part::Code, 2 + hashes);
        while let Some(c) = self.peek(0) {
            if c == '"' && (1..=hashes).all(|ahead| self.peek(ahead) == Some('#')) {
                return self.take(Part::Code, 1 + hashes);
            }
            self.take(Part::Literal, 1);
        }
    }

    /// A character literal, or the tick of a lifetime.
    fn quote(&mut self) {
        self.take(Part::Code, 1);
        match (self.peek(0), self.peek(1)) {
            (Some('\\'), _) => {
                self.take(Part::Literal, 2);
                while self.peek(0).is_some_and(|c| c != '\'') {
                    self.take(Part::Literal, 1);
                }
            }
            (Some(_), Some('\'')) => self.take(Part::Literal, 1),
            _ => return,
        }
        self.take(Part::Code, 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(text: &str) -> String {
        Source::new(text).code.replace(LITERAL, "_")
    }

    #[test]
    fn strings_and_comments_leave_the_code() {
        assert_eq!(code(r#"a("x\"//y"); // z"#), r#"a("______");     "#);
        assert_eq!(code("a /* b /* c */ d */ e"), format!("a {} e", " ".repeat(17)));
        assert_eq!(code("r#\"a\"b\"#; br\"c\"; r##\"\"#\"##"), "r#\"___\"#; br\"_\"; r##\"__\"##");
        assert_eq!(code("for\"a\"; r#type; &'a x;"), "for\"_\"; r#type; &'a x;");
        assert_eq!(code(r"'a'; '\''; '\u{1}'; b'\\'"), "'_'; '__'; '_____'; b'__'");
        assert_eq!(Source::new("a // b \"c\"\nd").comments, "  // b \"c\"\n ");
    }

    #[test]
    fn unclosed_text_ends_at_the_end() {
        for text in ["\"abc\\", "/* a", "r#\"a\"", "'", "'\\"] {
            assert_eq!(Source::new(text).code.chars().count(), text.chars().count(), "{text}");
        }
    }

    #[test]
    fn names_are_whole_and_from_the_root() {
        assert!(names("use quinn::Endpoint;", "quinn") && names("use quinn;", "quinn"));
        assert!(names("    ::quinn::connect();", "quinn"));
        assert!(names("std::fs::read(x)", "std::fs"));
        assert!(!names("use quinn_proto::X;", "quinn"));
        assert!(!names("crate::quinn::X", "quinn"));
        assert!(!names("let quinn = 1;", "quinn"));
    }

    #[test]
    fn the_program_ends_where_its_tests_begin() {
        let source = Source::new("a\n#[cfg(test)]\nmod tests;\nb\n#[cfg(test)]\nmod tests {\nc\n}");
        assert_eq!(source.program().count(), 4);
        assert_eq!(Source::new("a\nb").program().count(), 2);
    }
}
