//! A harmless execution now and then that must be seen: what does not see it is blind.
//!
//! The loader executes this program with a number for an argument, and the worker waits for that
//! number to come through hook, ring and decoding. Its records go no further. Pure.

use crate::convert::{Event, What};
use crate::health::HookText;
use crate::process::Key;

/// Time between two canaries.
const PERIOD_NS: u64 = 30_000_000_000;
/// How long one may take; a record waits for the next poll, and in a storm for those before it.
const PATIENCE_NS: u64 = 10_000_000_000;
/// The argument before the number.
pub const WORD: &str = "canary";

/// What is awaited, and what came of it.
#[derive(Debug, Default)]
pub struct Canary {
    latest_ns: Option<u64>,
    awaited: Option<(u32, u64)>,
    /// The process of the latest one that was seen, whose end is ours as well.
    process: Option<Key>,
    /// How long the latest one took, nothing while none was seen.
    took_ns: Option<u64>,
    blind: bool,
    missed: u64,
    refused: Option<String>,
}

impl Canary {
    /// Returns whether one is due.
    pub fn is_due(&self, now_ns: u64) -> bool {
        self.latest_ns.is_none_or(|latest| now_ns.saturating_sub(latest) >= PERIOD_NS)
    }

    /// Notes that one was sent, or why not.
    pub fn sent(&mut self, number: u32, now_ns: u64, refused: Option<String>) {
        self.latest_ns = Some(now_ns);
        self.awaited = refused.is_none().then_some((number, now_ns));
        self.refused = refused;
    }

    /// Returns whether an event is the canary's, and so nobody else's business.
    pub fn takes(&mut self, event: &Event, now_ns: u64) -> bool {
        match &event.what {
            What::Exec(executed) => {
                let Some((number, sent_ns)) = self.awaited else { return false };
                if !is_ours(&executed.process.args, number) {
                    return false;
                }
                (self.awaited, self.process) = (None, event.head.process);
                (self.took_ns, self.blind) = (Some(now_ns.saturating_sub(sent_ns)), false);
                true
            }
            What::Exit(_) => self.process.is_some() && event.head.process == self.process,
            _ => false,
        }
    }

    /// Looks at the time; returns true once when the sensor turns out to be blind.
    pub fn is_newly_blind(&mut self, now_ns: u64) -> bool {
        let late = self.awaited.is_some_and(|(_, sent)| now_ns.saturating_sub(sent) > PATIENCE_NS);
        if late {
            self.awaited = None;
            self.missed += 1;
        }
        late && !std::mem::replace(&mut self.blind, true)
    }

    /// Tells of it in coverage; nothing before the first one.
    pub fn text(&self) -> Option<HookText> {
        let (attached, reason) = match (self.took_ns, &self.refused) {
            (_, Some(why)) => (String::new(), format!("cannot be made: {why}")),
            _ if self.blind => {
                let seconds = PATIENCE_NS / 1_000_000_000;
                let missed = self.missed;
                let reason = format!(
                    "blind: an execution by the sensor itself was not seen within {seconds} s, \
                     {missed} times; lost: possibly everything"
                );
                (String::new(), reason)
            }
            (Some(took), None) => {
                let missed = match self.missed {
                    0 => String::new(),
                    missed => format!("{missed} were missed before"),
                };
                (format!("seen after {} ms", took / 1_000_000), missed)
            }
            (None, None) => return None,
        };
        Some([WORD.to_owned(), attached, reason])
    }
}

/// The arguments end with the word and the number.
fn is_ours(args: &[u8], number: u32) -> bool {
    let number = number.to_string();
    let mut words = args.strip_suffix(b"\0").unwrap_or(args).rsplit(|&byte| byte == 0);
    words.next() == Some(number.as_bytes()) && words.next() == Some(WORD.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn only_the_number_that_was_sent_is_ours() {
        assert!(is_ours(b"/usr/bin/sakuramori-sensor\0canary\x00417\0", 417));
        assert!(!is_ours(b"/usr/bin/sakuramori-sensor\0canary\x00418\0", 417));
        assert!(!is_ours(b"echo\x00417\0", 417) && !is_ours(b"", 417));
    }

    #[test]
    fn one_that_does_not_come_means_blind_until_one_comes() {
        let mut canary = Canary::default();
        assert!(canary.is_due(0) && canary.text().is_none());
        canary.sent(7, SECOND, None);
        assert!(!canary.is_due(30 * SECOND) && canary.is_due(31 * SECOND));
        assert!(!canary.is_newly_blind(11 * SECOND));
        assert!(canary.is_newly_blind(11 * SECOND + 1) && !canary.is_newly_blind(12 * SECOND));
        let [_, attached, reason] = canary.text().unwrap();
        assert!(attached.is_empty() && reason.starts_with("blind: "), "{reason}");
        canary.sent(8, 31 * SECOND, Some("no".to_owned()));
        assert!(canary.text().unwrap()[2].contains("cannot be made: no"));
    }
}
