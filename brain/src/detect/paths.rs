//! Lists of paths, in the form in which the sensor's configuration writes them.
//!
//! A name at the end means the file, a slash everything below; `**/` at the begin means any folder,
//! and one `*` in the last name any part of it.

use super::context::leaf;

/// Patterns of settings.
#[derive(Clone, Debug, Default)]
pub(super) struct Paths(Vec<Pattern>);

#[derive(Clone, Debug)]
enum Pattern {
    File(Vec<u8>),
    Below(Vec<u8>),
    /// A file of this name, or of this folder and name, wherever it lies.
    Tail(Vec<u8>),
    /// The same of which only the begin and the end are known.
    Part(Vec<u8>, Vec<u8>),
    /// Everything below a folder of this name, wherever it lies.
    Within(Vec<u8>),
}

impl Paths {
    /// Reads a list.
    pub(super) fn new<T: AsRef<str>>(patterns: &[T]) -> Self {
        Self(patterns.iter().map(|pattern| Pattern::of(pattern.as_ref())).collect())
    }

    /// Returns whether the list names the path.
    pub(super) fn has(&self, path: &[u8]) -> bool {
        self.0.iter().any(|pattern| pattern.fits(path))
    }
}

impl Pattern {
    fn of(text: &str) -> Self {
        match (text.strip_prefix("**/"), text.ends_with('/')) {
            (Some(rest), true) => Self::Within(format!("/{rest}").into()),
            (Some(rest), false) => match rest.split_once('*') {
                Some((before, behind)) => Self::Part(format!("/{before}").into(), behind.into()),
                None => Self::Tail(format!("/{rest}").into()),
            },
            (None, true) => Self::Below(text.into()),
            (None, false) => Self::File(text.into()),
        }
    }

    fn fits(&self, path: &[u8]) -> bool {
        match self {
            Self::File(file) => path == file,
            Self::Below(folder) => path.starts_with(folder) && path.len() > folder.len(),
            Self::Tail(tail) => path.ends_with(tail),
            Self::Part(before, behind) => {
                let folders = before.iter().filter(|&&byte| byte == b'/').count();
                let mut at = path.len();
                for _ in 0..folders {
                    let Some(slash) = path[..at].iter().rposition(|&b| b == b'/') else {
                        return false;
                    };
                    at = slash;
                }
                path[at..].starts_with(before) && leaf(path).ends_with(behind)
            }
            Self::Within(folder) => path
                .windows(folder.len())
                .position(|window| window == folder.as_slice())
                .is_some_and(|at| path.len() > at + folder.len()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_name_what_they_say() {
        let paths = Paths::new(&[
            "/etc/shadow",
            "/etc/pam.d/",
            "**/.ssh/authorized_keys",
            "**/.ssh/id_*",
            "**/.ssh/*.pem",
            "**/.config/systemd/",
        ]);
        for path in [
            "/etc/shadow",
            "/etc/pam.d/sshd",
            "/home/a/.ssh/authorized_keys",
            "/srv/.ssh/id_rsa",
            "/srv/.ssh/x.pem",
            "/home/a/.config/systemd/user/x.service",
        ] {
            assert!(paths.has(path.as_bytes()), "{path}");
        }
        for path in [
            "/etc/shadow-",
            "/etc/pam.d/",
            "/etc/pam.dx",
            "/home/a/xauthorized_keys",
            "/srv/.ssh/known_hosts",
            "/srv/.ssh/deep/id_rsa",
            "/home/.config/systemd/",
        ] {
            assert!(!paths.has(path.as_bytes()), "{path}");
        }
    }
}
