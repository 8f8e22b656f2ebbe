//! Filters: documents that take what they describe out of other rules.

use super::condition::Condition;
use super::document::{Options, Source};
use super::logsource::LogSource;
use super::rule::{self, Rule};
use super::selection::Selection;
use crate::policy::Problem;
use crate::policy::node::Node;
use crate::text;

/// Rules that one filter may name.
const RULES_MAX: usize = 10_000;

/// A compiled filter.
#[derive(Clone, Debug)]
pub struct Filter {
    /// Its title, safe to show.
    pub title: String,
    /// Its id, where it has one.
    pub id: Option<String>,
    /// The rules that it is for, by id, name or title; all rules of its log source when empty.
    pub rules: Vec<String>,
    log: LogSource,
    selections: Vec<Selection>,
    condition: Condition,
    /// The line on which its rules stand.
    line: usize,
}

impl Filter {
    pub(super) fn compile(source: &Source, options: &Options) -> Result<Self, Problem> {
        let title = text::visible_cut(source.required("title")?.as_bytes(), rule::TITLE_MAX);
        let log = rule::log(source)?;
        let Some(parts) = source.node.get("filter").and_then(Node::as_map) else {
            return Err(source.problem(&["filter"], "`filter` must be a map"));
        };
        let own = parts.iter().filter(|(key, _)| key != "rules");
        let (selections, condition, upright) = rule::detection(source, "filter", own, options)?;
        // A filter says what a rule shall not match. One that is written as `not …` already says
        // what is left.
        let condition = if upright { Condition::Not(Box::new(condition)) } else { condition };
        let id = source.optional("id")?.map(text::visible_str);
        let (rules, line) = Self::rules(source)?;
        Ok(Self { title, id, rules, log, selections, condition, line })
    }

    fn rules(source: &Source) -> Result<(Vec<String>, usize), Problem> {
        let problem = |message: &str| source.problem(&["filter", "rules"], message.to_owned());
        let line = problem("").line.unwrap_or(source.line);
        let wrong = "`rules` must be a list of rules' ids or names, or `any`";
        let rules = match source.node.get("filter").and_then(|filter| filter.get("rules")) {
            None => return Err(source.problem(&["filter"], "`rules` is missing")),
            Some(Node::Text(word)) if word == "any" => Vec::new(),
            Some(Node::Text(one)) => vec![one.clone()],
            Some(Node::List(list)) if !list.is_empty() && list.len() <= RULES_MAX => (list.iter())
                .map(|rule| rule.as_text().map(str::to_owned))
                .collect::<Option<_>>()
                .ok_or_else(|| problem(wrong))?,
            Some(_) => return Err(problem(wrong)),
        };
        Ok((rules, line))
    }

    /// Returns whether the filter is for the rule.
    pub fn is_for(&self, rule: &Rule) -> bool {
        let named = |name: &String| {
            *name == rule.policy.id || Some(name) == rule.name.as_ref() || *name == rule.title
        };
        (self.rules.is_empty() || self.rules.iter().any(named)) && self.log.covers(&rule.log)
    }

    /// Returns the rule without what the filter describes.
    pub fn applied(&self, rule: &Rule) -> Rule {
        let mut rule = rule.clone();
        let by = rule.selections.len();
        for selection in &self.selections {
            let name = format!("{} ({})", selection.name, self.title).into();
            rule.selections.push(Selection { name, ..selection.clone() });
        }
        let own = self.condition.clone().moved(by);
        rule.condition = Condition::All(vec![rule.condition, own]);
        rule
    }

    /// Returns what is wrong when the filter is for none of `rules`: a typing error would leave
    /// the rule as it is, and nobody would know.
    pub fn check<'a>(&self, mut rules: impl Iterator<Item = &'a Rule>) -> Result<(), Problem> {
        if rules.any(|rule| self.is_for(rule)) {
            return Ok(());
        }
        let message = "the filter is for no rule that is loaded; check its rules and log source";
        Err(Problem::at(self.line, message))
    }
}
