//! Names of Sigma's taxonomy, and what they mean in our records.

use std::borrow::Cow;

use wire::record::process_flag::{ARGS_UNKNOWN, EXE_UNKNOWN};

use crate::record::Process;

/// A field that rules of category `process_creation` can name here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    Image,
    CommandLine,
    User,
    ProcessId,
    ParentImage,
    ParentCommandLine,
    ParentUser,
    ParentProcessId,
}

/// Fields with their names, in the order of [`Field`].
const NAMES: [(&str, Field); 8] = [
    ("Image", Field::Image),
    ("CommandLine", Field::CommandLine),
    ("User", Field::User),
    ("ProcessId", Field::ProcessId),
    ("ParentImage", Field::ParentImage),
    ("ParentCommandLine", Field::ParentCommandLine),
    ("ParentUser", Field::ParentUser),
    ("ParentProcessId", Field::ParentProcessId),
];

impl Field {
    /// Returns the field of that name. One that no record can ever fill is an error: read as absent
    /// it would turn `not` around and switch the rule's meaning.
    pub(super) fn parse(name: &str) -> Result<Self, String> {
        if let Some((_, field)) = NAMES.iter().find(|(known, _)| *known == name) {
            return Ok(*field);
        }
        let known = NAMES.map(|(name, _)| name).join(", ");
        Err(format!("field `{name}` is not collected; a rule can use {known}"))
    }
}

/// A field's value as it is, and in lower case for patterns that ignore it.
#[derive(Clone, Debug)]
pub(super) struct Text<'a> {
    pub(super) plain: Cow<'a, [u8]>,
    pub(super) lower: Vec<u8>,
}

impl<'a> Text<'a> {
    fn new(plain: impl Into<Cow<'a, [u8]>>) -> Self {
        let plain = plain.into();
        Self { lower: plain.to_ascii_lowercase(), plain }
    }
}

/// All fields of one execution; `None` is absent.
#[derive(Clone, Debug)]
pub(super) struct Fields<'a>([Option<Text<'a>>; NAMES.len()]);

impl<'a> Fields<'a> {
    pub(super) fn of(process: &'a Process) -> Self {
        let parent = process.parent.as_deref();
        let pid = |p: &Process| Text::new(p.key.pid.to_string().into_bytes());
        Self([
            image(process),
            command_line(process),
            user(process),
            Some(pid(process)),
            parent.and_then(image),
            parent.and_then(command_line),
            parent.and_then(user),
            parent.map(pid),
        ])
    }

    pub(super) fn get(&self, field: Field) -> Option<&Text<'a>> {
        self.0[field as usize].as_ref()
    }
}

fn image(process: &Process) -> Option<Text<'_>> {
    (!process.has(EXE_UNKNOWN)).then(|| Text::new(process.exe_path()))
}

fn command_line(process: &Process) -> Option<Text<'_>> {
    (!process.has(ARGS_UNKNOWN)).then(|| Text::new(process.command_line_bytes()))
}

fn user(process: &Process) -> Option<Text<'_>> {
    (!process.user.is_empty()).then(|| Text::new(&process.user[..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stand_in_the_order_of_the_enum() {
        for (at, (name, field)) in NAMES.iter().enumerate() {
            assert_eq!(*field as usize, at);
            assert_eq!(Field::parse(name), Ok(*field));
        }
        assert!(Field::parse("CurrentDirectory").unwrap_err().contains("not collected"));
    }
}
