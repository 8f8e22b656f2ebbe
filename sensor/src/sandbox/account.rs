//! Whom the worker becomes, from the host's own tables, without the C library's lookups: those load
//! code into the process that has the privileges.

use std::fs;

/// The user of a package's installation.
const OWN_NAME: &str = "sakuramori";
/// Nobody's number, on hosts without that user.
const NOBODY: u32 = 65_534;
/// Groups that may read logs, so that the worker needs no capability for it.
const LOG_GROUPS: [&str; 2] = ["adm", "systemd-journal"];
const PASSWD: &str = "/etc/passwd";
const GROUP: &str = "/etc/group";

/// A user with groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// More groups.
    pub groups: Vec<u32>,
}

/// Returns the named user, or else the usual one; `None` when a named one does not exist.
pub fn find(name: Option<&str>) -> Option<Account> {
    let passwd = fs::read_to_string(PASSWD).unwrap_or_default();
    let group = fs::read_to_string(GROUP).unwrap_or_default();
    let (uid, gid) = match name {
        Some(name) => user(&passwd, name)?,
        None => user(&passwd, OWN_NAME).unwrap_or((NOBODY, NOBODY)),
    };
    let groups = LOG_GROUPS.iter().filter_map(|name| field(&group, name, 2)).collect();
    Some(Account { uid, gid, groups })
}

fn user(passwd: &str, name: &str) -> Option<(u32, u32)> {
    Some((field(passwd, name, 2)?, field(passwd, name, 3)?))
}

/// Returns a number from the line of a name.
fn field(table: &str, name: &str, at: usize) -> Option<u32> {
    let mut lines = table.lines().map(|line| line.split(':'));
    let mut line = lines.find(|line| line.clone().next() == Some(name))?;
    line.nth(at)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_read() {
        let passwd = "root:x:0:0::/root:/bin/sh\nsakura:x:7:8::/:\nsakuramori:x:990:991::/:\n";
        assert_eq!(user(passwd, "sakuramori"), Some((990, 991)));
        assert_eq!(user(passwd, "sakura"), Some((7, 8)));
        assert_eq!((user(passwd, "toor"), user("broken\n", "broken")), (None, None));
    }

    #[test]
    fn there_is_always_somebody_but_no_name_is_made_up() {
        assert!(find(None).is_some_and(|account| account.uid > 0));
        assert_eq!(find(Some("no such user")), None);
    }
}
