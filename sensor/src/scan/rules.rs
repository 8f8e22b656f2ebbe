//! Rules from the brain: offered, asked for when they are others than those here, kept in a file,
//! and tried by the scanner, whose verdict goes back.

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use scanner_abi::message::{BUNDLE_MAX, Bundle, RuleFile};
use tokio::sync::watch;
use wire::control::{RuleOffer, RulePart, RuleReply};
use wire::limits;

use super::bundle_path;
use super::known::Known;
use crate::atomic_file;

/// Nobody else has to read them.
const MODE: u32 = 0o600;
/// Bytes of what is said about broken rules.
const PROBLEM_MAX: usize = 4 * 1024;

/// What became of the rules.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// Which rules.
    pub revision: String,
    /// How many are used.
    pub rules: u32,
    /// What of them cannot be used, or why none are; empty when all are.
    pub problem: String,
}

/// What the session, the collector and the scanning threads share.
#[derive(Debug)]
pub struct Shared {
    state_dir: PathBuf,
    /// Whether there are rules.
    has_rules: AtomicBool,
    /// Whether a scanner has been found on this host. Until then nothing is asked, so that nothing
    /// counts as lost where nobody installed one.
    has_scanner: AtomicBool,
    /// What was scanned with them.
    pub known: Known,
    /// The revision that the scanning thread has yet to take; an empty one ends the scanning.
    wanted: Mutex<Option<Arc<str>>>,
    state: watch::Sender<State>,
}

impl Shared {
    pub(super) fn new(state_dir: &Path) -> Self {
        let (state_dir, known) = (state_dir.to_owned(), Known::default());
        let state = watch::Sender::default();
        let (has_rules, has_scanner) = (AtomicBool::new(false), AtomicBool::new(false));
        Self { state_dir, has_rules, has_scanner, known, wanted: Mutex::new(None), state }
    }

    pub(super) fn is_on(&self) -> bool {
        self.has_rules.load(Relaxed) && self.has_scanner.load(Relaxed)
    }

    /// Says that there is a scanner, whether it works or not.
    pub(super) fn scanner_found(&self) {
        self.has_scanner.store(true, Relaxed);
    }

    pub(super) fn state(&self) -> State {
        self.state.borrow().clone()
    }

    /// Returns the rules that are to be used from now on, once.
    pub(super) fn take_wanted(&self) -> Option<Arc<str>> {
        let wanted = self.wanted.lock().unwrap_or_else(PoisonError::into_inner).take();
        // What was scanned with other rules is not known.
        wanted.inspect(|_| self.known.clear())
    }

    /// Tells what became of the rules, unless there are others by now.
    pub(super) fn tell(&self, mut state: State) {
        scanner_abi::message::cut(&mut state.problem, PROBLEM_MAX);
        self.state.send_if_modified(|told| {
            let is_new = told.revision == state.revision && *told != state;
            if is_new {
                *told = state;
            }
            is_new
        });
    }

    /// Opens the file that holds the rules.
    pub(super) fn bundle(&self) -> io::Result<File> {
        File::open(bundle_path(&self.state_dir))
    }

    fn want(&self, revision: &str) {
        self.has_rules.store(!revision.is_empty(), Relaxed);
        let state = State { revision: revision.to_owned(), ..State::default() };
        self.state.send_replace(state);
        let mut wanted = self.wanted.lock().unwrap_or_else(PoisonError::into_inner);
        *wanted = Some(Arc::from(revision));
    }
}

/// Takes rules from the brain.
#[derive(Debug)]
pub struct Rules {
    shared: Arc<Shared>,
    /// What came so far of rules that are on their way.
    coming: RefCell<Coming>,
}

#[derive(Debug, Default)]
struct Coming {
    bundle: Bundle,
    bytes: usize,
}

impl Rules {
    /// Begins with the rules that were kept, if any.
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let kept = shared.bundle().and_then(|file| {
            let mut text = Vec::new();
            file.take(BUNDLE_MAX).read_to_end(&mut text)?;
            let bundle: Bundle = serde_json::from_slice(&text)?;
            Ok(bundle.revision)
        });
        match kept {
            Ok(revision) => shared.want(&revision),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => tracing::warn!(%error, "the kept rules cannot be read"),
        }
        Self { shared, coming: RefCell::default() }
    }

    /// Follows what becomes of rules.
    pub fn follow(&self) -> watch::Receiver<State> {
        self.shared.state.subscribe()
    }

    /// Compares what the brain offers with what is here; returns what to answer.
    pub fn offered(&self, offer: &RuleOffer) -> RuleReply {
        *self.coming.borrow_mut() = Coming::default();
        let here = self.shared.state();
        if offer.revision == here.revision {
            return reply(&here);
        }
        if offer.revision.is_empty() {
            // A file that is gone already is what is wanted.
            let _ = std::fs::remove_file(bundle_path(&self.shared.state_dir));
            self.shared.want("");
            return reply(&State::default());
        }
        let state = State { revision: offer.revision.clone(), ..State::default() };
        RuleReply { wanted: true, ..reply(&state) }
    }

    /// Takes a part. Returns what to answer when nothing comes of the rules; what comes of them is
    /// told by [`Rules::follow`].
    pub fn take(&self, part: RulePart) -> Option<RuleReply> {
        let revision = part.revision.clone();
        let taken = self.add(part).and_then(|last| if last { self.keep() } else { Ok(()) });
        let problem = taken.err()?;
        *self.coming.borrow_mut() = Coming::default();
        tracing::error!(problem, "the brain's rules are refused; the old ones go on");
        Some(reply(&State { revision, rules: 0, problem }))
    }

    /// Adds a part; returns whether it was the last.
    fn add(&self, part: RulePart) -> Result<bool, String> {
        let mut coming = self.coming.borrow_mut();
        if coming.bundle.revision != part.revision {
            *coming = Coming::default();
            coming.bundle.revision = part.revision;
        }
        let Coming { bundle, bytes } = &mut *coming;
        *bytes += part.text.len() + part.file.len();
        if *bytes > limits::RULES_MAX {
            return Err(format!("the rules have more than {} bytes", limits::RULES_MAX));
        }
        if part.file.len() > limits::RULE_NAME_MAX {
            return Err(format!("a file's name has more than {} bytes", limits::RULE_NAME_MAX));
        }
        let count = bundle.files.len();
        match bundle.files.last_mut().filter(|file| file.name == part.file) {
            Some(file) => file.text.push_str(&part.text),
            None if count == limits::RULE_FILES_MAX => {
                return Err(format!("there are more than {} files", limits::RULE_FILES_MAX));
            }
            None => bundle.files.push(RuleFile { name: part.file, text: part.text }),
        }
        Ok(part.rest == 0)
    }

    fn keep(&self) -> Result<(), String> {
        let coming = self.coming.take();
        let text = serde_json::to_vec(&coming.bundle).map_err(|error| error.to_string())?;
        if text.len() as u64 > BUNDLE_MAX {
            return Err(format!("the rules take more than {BUNDLE_MAX} bytes on disk"));
        }
        let path = bundle_path(&self.shared.state_dir);
        atomic_file::write(&path, &text, MODE)
            .map_err(|error| format!("the rules cannot be kept: {error}"))?;
        tracing::info!(revision = coming.bundle.revision, "rules are taken");
        self.shared.want(&coming.bundle.revision);
        Ok(())
    }
}

/// Says what became of rules.
pub fn reply(state: &State) -> RuleReply {
    let State { revision, rules, problem } = state.clone();
    RuleReply { revision, wanted: false, rules, problem }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(folder: &Path) -> (Arc<Shared>, Rules) {
        let shared = Arc::new(Shared::new(folder));
        shared.scanner_found();
        (Arc::clone(&shared), Rules::new(shared))
    }

    fn part(file: &str, text: &str, rest: u32) -> RulePart {
        RulePart { revision: "r1".into(), file: file.into(), text: text.into(), rest }
    }

    #[test]
    fn rules_come_in_parts_and_outlive_the_process() {
        let folder = tempfile::tempdir().unwrap();
        let (shared, taking) = rules(folder.path());
        assert!(!shared.is_on());
        let offer = RuleOffer { revision: "r1".into() };
        assert!(taking.offered(&offer).wanted);
        assert_eq!(taking.take(part("a.yar", "rule a ", 2)), None);
        assert_eq!(taking.take(part("a.yar", "{ condition: true }", 1)), None);
        assert!(!shared.is_on(), "not before the last part");
        assert_eq!(taking.take(part("b.yar", "x", 0)), None);
        assert_eq!(shared.take_wanted().as_deref(), Some("r1"));
        let text = std::io::read_to_string(shared.bundle().unwrap()).unwrap();
        let bundle: Bundle = serde_json::from_str(&text).unwrap();
        let texts: Vec<&str> = bundle.files.iter().map(|file| file.text.as_str()).collect();
        assert_eq!(texts, ["rule a { condition: true }", "x"]);
        shared.tell(State { revision: "r0".into(), rules: 9, problem: String::new() });
        assert_eq!(shared.state().rules, 0, "of other rules");
        shared.tell(State { revision: "r1".into(), rules: 1, problem: "b.yar:1: no".into() });
        let (shared, taking) = rules(folder.path());
        assert_eq!((shared.is_on(), taking.offered(&offer).wanted), (true, false));
        assert!(!taking.offered(&RuleOffer { revision: String::new() }).wanted);
        assert!(!shared.is_on() && shared.bundle().is_err());
    }

    #[test]
    fn too_many_rules_are_refused_and_the_old_ones_go_on() {
        let folder = tempfile::tempdir().unwrap();
        let (shared, taking) = rules(folder.path());
        taking.take(part("a.yar", "old", 0));
        let long = "x".repeat(limits::RULE_PART_MAX);
        let parts = limits::RULES_MAX / limits::RULE_PART_MAX;
        let mut said = None;
        for _ in 0..=parts {
            let part = RulePart { revision: "r2".into(), ..part("b.yar", &long, 1) };
            said = said.or(taking.take(part));
        }
        let said = said.unwrap();
        assert!(said.problem.contains("more than") && said.revision == "r2", "{said:?}");
        assert_eq!(shared.state().revision, "r1");
        let name = "n".repeat(limits::RULE_NAME_MAX + 1);
        assert!(taking.take(part(&name, "", 0)).unwrap().problem.contains("name"));
    }
}
