//! Which interfaces are watched: names with wildcards, and names that are left out (pure).

use super::link::{Frames, Link};

/// Fits every name.
const EVERYTHING: &str = "*";

/// What the configuration asks for: `eth*` and `wg?` choose, `!docker0` leaves out.
#[derive(Clone, Debug, Default)]
pub(super) struct Patterns {
    chosen: Vec<String>,
    left_out: Vec<String>,
}

/// What becomes of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Choice {
    Watched,
    /// It would be, if its packets could be read.
    Unreadable,
    LeftOut,
}

impl Patterns {
    pub(super) fn new(patterns: &[String]) -> Self {
        let mut sorted = Self::default();
        for pattern in patterns {
            match pattern.strip_prefix('!') {
                Some(pattern) => sorted.left_out.push(pattern.to_owned()),
                None => sorted.chosen.push(pattern.clone()),
            }
        }
        sorted
    }

    /// Leaves out every interface.
    pub(super) fn nothing() -> Self {
        Self { chosen: Vec::new(), left_out: vec![EVERYTHING.to_owned()] }
    }

    /// Returns whether every interface is left out.
    pub(super) fn is_nothing(&self) -> bool {
        self.left_out.iter().any(|pattern| pattern == EVERYTHING)
    }

    /// Decides. What is left out stays out, whatever else fits; without any pattern that chooses,
    /// all but loopback are watched.
    pub(super) fn choice(&self, link: &Link) -> Choice {
        let fits = |patterns: &[String]| patterns.iter().any(|p| matches(p, &link.name));
        let wanted = match self.chosen.is_empty() {
            true => link.frames != Frames::Loopback,
            false => fits(&self.chosen),
        };
        match link.frames {
            _ if !wanted || fits(&self.left_out) => Choice::LeftOut,
            Frames::Other => Choice::Unreadable,
            _ => Choice::Watched,
        }
    }

    /// Returns the names without wildcards that none of the interfaces has.
    pub(super) fn missing<'a>(&'a self, links: &'a [Link]) -> impl Iterator<Item = &'a str> {
        let plain = self.chosen.iter().filter(|pattern| !pattern.contains(['*', '?']));
        plain.filter(|name| !links.iter().any(|link| link.name == **name)).map(String::as_str)
    }
}

/// Compares a name with a pattern: `*` stands for any characters, `?` for one. Steps back to the
/// latest star only, which is enough and takes at most the product of both lengths.
fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name) = (pattern.as_bytes(), name.as_bytes());
    let (mut at, mut read) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while read < name.len() {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at, read));
                at += 1;
            }
            Some(&byte) if byte == b'?' || byte == name[read] => {
                (at, read) = (at + 1, read + 1);
            }
            _ => {
                let Some((star_at, from)) = star else { return false };
                (at, read) = (star_at + 1, from + 1);
                star = Some((star_at, from + 1));
            }
        }
    }
    pattern[at..].iter().all(|&byte| byte == b'*')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn choice(patterns: &[&str], name: &str, frames: Frames) -> Choice {
        let patterns: Vec<String> = patterns.iter().map(|p| (*p).to_owned()).collect();
        let link = Link { name: name.to_owned(), frames, ..Link::default() };
        Patterns::new(&patterns).choice(&link)
    }

    #[test]
    fn without_patterns_all_but_loopback_are_watched() {
        assert_eq!(choice(&[], "eth0", Frames::Ethernet), Choice::Watched);
        assert_eq!(choice(&[], "wg0", Frames::Ip), Choice::Watched);
        assert_eq!(choice(&[], "lo", Frames::Loopback), Choice::LeftOut);
        assert_eq!(choice(&[], "ib0", Frames::Other), Choice::Unreadable);
    }

    #[test]
    fn patterns_choose_and_leave_out() {
        let patterns = ["eth*", "wg?", "!eth9*", "lo"];
        assert_eq!(choice(&patterns, "eth0", Frames::Ethernet), Choice::Watched);
        assert_eq!(choice(&patterns, "eth91", Frames::Ethernet), Choice::LeftOut);
        assert_eq!(choice(&patterns, "wg1", Frames::Ip), Choice::Watched);
        assert_eq!(choice(&patterns, "wg10", Frames::Ip), Choice::LeftOut);
        assert_eq!(choice(&patterns, "lo", Frames::Loopback), Choice::Watched);
        assert_eq!(choice(&["!docker0"], "docker0", Frames::Ethernet), Choice::LeftOut);
        assert_eq!(choice(&["!docker0"], "eth0", Frames::Ethernet), Choice::Watched);
    }

    #[test]
    fn names_that_nobody_has_are_missing() {
        let patterns = Patterns::new(&["eth0", "eth1", "wlan*", "!x"].map(str::to_owned));
        let link = Link { name: "eth0".to_owned(), ..Link::default() };
        assert_eq!(patterns.missing(&[link]).collect::<Vec<_>>(), ["eth1"]);
    }

    proptest! {
        #[test]
        fn a_name_matches_itself_and_its_parts_with_stars(name in "[a-z0-9.]{0,15}", cut in 0usize..15) {
            let (front, back) = name.split_at(cut.min(name.len()));
            prop_assert!(matches(&name, &name));
            let starred = [format!("{front}*"), format!("*{back}"), format!("{front}*{back}")];
            for pattern in starred {
                prop_assert!(matches(&pattern, &name));
            }
            let other = format!("{name}?");
            prop_assert!(!matches(&other, &name));
        }
    }
}
