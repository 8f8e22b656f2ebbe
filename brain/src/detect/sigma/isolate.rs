//! A rule that panics must not silence the others.
//!
//! Rules are evaluated together, so a panic says nothing of whose it is. Each rule is then shown
//! the event by itself; those that panic are switched off and counted, and the rest look again.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;

use super::condition::Condition;
use super::rule::Rule;
use super::set::{Matcher, RuleIndex, RuleSet};
use super::view::View;
use crate::record::Event;

type Matched = Vec<(RuleIndex, View)>;

/// Adds the rules that match the event to `matched`, and those that had to be switched off to
/// `broken`.
pub(super) fn evaluate(
    matcher: &mut Matcher,
    event: &Event,
    matched: &mut Matched,
    broken: &mut u64,
) {
    let Err(panic) = guarded(matcher, event, matched) else { return };
    let is_broken = |rule: &Arc<Rule>| {
        let mut alone = Matcher::new(Arc::new(RuleSet::new(vec![Arc::clone(rule)])));
        guarded(&mut alone, event, &mut Matched::new()).is_err()
    };
    let (mut rules, mut found) = (matcher.set().rules().to_vec(), 0);
    for rule in rules.iter_mut().filter(|rule| is_broken(rule)) {
        let (id, file) = (&rule.policy.id, &rule.policy.file);
        tracing::error!(id, file, "the rule panicked and is switched off");
        *rule = Arc::new(off(rule));
        found += 1;
    }
    if found == 0 {
        // Whoever called counts it; nobody in particular is to blame.
        resume_unwind(panic);
    }
    *broken += found;
    *matcher = Matcher::new(Arc::new(RuleSet::new(rules)));
    if let Err(panic) = guarded(matcher, event, matched) {
        resume_unwind(panic);
    }
}

fn guarded(
    matcher: &mut Matcher,
    event: &Event,
    matched: &mut Matched,
) -> Result<(), Box<dyn std::any::Any + Send>> {
    matched.clear();
    // What a panic leaves behind is a matcher that is not used again, and a list that is cleared.
    catch_unwind(AssertUnwindSafe(|| {
        #[cfg(test)]
        let set = Arc::clone(matcher.set());
        matcher.event(event, |index, fields| {
            #[cfg(test)]
            assert_ne!(set.rule(index).title, tests::BROKEN);
            matched.extend(fields.view().map(|view| (index, view)));
        });
    }))
}

/// Returns the rule as one that matches nothing, in the same place.
fn off(rule: &Rule) -> Rule {
    Rule { selections: Vec::new(), condition: Condition::Any(Vec::new()), ..rule.clone() }
}

#[cfg(test)]
mod tests {
    use crate::detect::{Detectors, scenario};
    use crate::policy::{PolicyFile, PolicySet};

    /// A rule of this title panics when it matches.
    pub(super) const BROKEN: &str = "broken";

    ///
    #[test]
    fn a_rule_that_panics_is_switched_off_and_the_others_go_on() {
        let rule = |title: &str, word: &str| PolicyFile {
            name: format!("sigma/{title}.yml"),
            text: format!(
                "title: {title}\nlogsource:\n  category: process_creation\ndetection:\n  a:\n    \
                 CommandLine|contains: {word}\n  condition: a\n"
            ),
        };
        let settings = "detector: sigma\n".to_owned();
        let files = vec![
            PolicyFile { name: "detectors/sigma.yml".into(), text: settings },
            rule("before", "x"),
            rule(BROKEN, "bad"),
            rule("later", "x"),
        ];
        let set = PolicySet::from_files(files, None);
        assert_eq!((set.errors.len(), set.rules.len()), (0, 3));
        let mut detectors = Detectors::new(&set);
        let host = scenario::host("h");
        let mut found = Vec::new();
        for command in ["x", "x bad", "x bad", "x"] {
            found.push(detectors.batch(&scenario::exec_batch("/bin/x", command), &host).len());
        }
        let stats = detectors.stats()[0];
        assert_eq!((found, stats.panics), (vec![2, 2, 2, 2], 1));
        println!("figure R-11: 1 of 3 rules panics and is switched off, 0 of 8 other matches lost");
    }
}
