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

/// Adds the rules that match the event to `matched`. Returns those that had to be switched off.
pub(super) fn evaluate(
    matcher: &mut Matcher,
    event: &Event,
    matched: &mut Matched,
) -> Vec<RuleIndex> {
    let Err(panic) = guarded(matcher, event, matched) else { return Vec::new() };
    let is_broken = |rule: &Arc<Rule>| {
        let mut alone = Matcher::new(Arc::new(RuleSet::new(vec![Arc::clone(rule)])));
        guarded(&mut alone, event, &mut Matched::new()).is_err()
    };
    let (mut rules, mut broken) = (matcher.set().rules().to_vec(), Vec::new());
    for (index, rule) in (0..).map(RuleIndex).zip(&mut rules).filter(|(_, rule)| is_broken(rule)) {
        let (id, file) = (&rule.policy.id, &rule.policy.file);
        tracing::error!(id, file, "the rule panicked and is switched off");
        *rule = Arc::new(off(rule));
        broken.push(index);
    }
    if broken.is_empty() {
        // Whoever called counts it; nobody in particular is to blame.
        resume_unwind(panic);
    }
    *matcher = Matcher::new(Arc::new(RuleSet::new(rules)));
    if let Err(panic) = guarded(matcher, event, matched) {
        resume_unwind(panic);
    }
    broken
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
    use crate::detect::sigma::SWITCHED_OFF;
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
        let (mut matches, mut told) = (Vec::new(), Vec::new());
        for command in ["x", "x bad", "x bad", "x"] {
            let signals = detectors.batch(&scenario::exec_batch("/bin/x", command), &host);
            let (off, matched): (Vec<_>, Vec<_>) =
                signals.into_iter().partition(|signal| signal.kind.name == SWITCHED_OFF.name);
            matches.push(matched.len());
            told.extend(off.into_iter().map(|signal| signal.title));
        }
        let stats = detectors.stats()[0];
        assert_eq!((matches, stats.panics), (vec![2, 2, 2, 2], 1));
        assert_eq!(told, ["Rule broken (sigma/broken.yml) is switched off"]);
        println!(
            "figure R-11: 1 of 3 rules panics, is switched off and makes a finding, 0 of 8 other \
             matches lost"
        );
    }
}
