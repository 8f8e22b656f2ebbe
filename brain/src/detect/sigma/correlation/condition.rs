//! When a correlation's number is one that was asked for.

use crate::policy::node::Node;

/// A comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    Gt,
    Gte,
    Lt,
    Lte,
    Eq,
    Neq,
}

const OPERATORS: [(&str, Operator); 6] = [
    ("gt", Operator::Gt),
    ("gte", Operator::Gte),
    ("lt", Operator::Lt),
    ("lte", Operator::Lte),
    ("eq", Operator::Eq),
    ("neq", Operator::Neq),
];

/// Comparisons that must all hold.
#[derive(Clone, Debug, PartialEq)]
pub(in super::super) struct Condition(Vec<(Operator, f64)>);

impl Condition {
    /// Returns the condition that a number is at least `least`.
    pub(super) fn at_least(least: f64) -> Self {
        Self(vec![(Operator::Gte, least)])
    }

    /// Reads the comparisons of a `condition` map, of which `field` is none. The error names the
    /// key that is wrong.
    pub(super) fn parse(entries: &[(String, Node)]) -> Result<Self, (String, String)> {
        let mut comparisons = Vec::new();
        for (key, node) in entries.iter().filter(|(key, _)| key != "field") {
            let known = OPERATORS.iter().find(|(name, _)| name == key);
            let Some((_, operator)) = known else {
                let message = format!("`{key}` is not gt, gte, lt, lte, eq, neq or field");
                return Err((key.clone(), message));
            };
            let number = match node {
                Node::Int(number) => *number as f64,
                Node::Float(number) if number.is_finite() => *number,
                other => {
                    let message = format!("`{key}` must be a number, not {}", other.what());
                    return Err((key.clone(), message));
                }
            };
            comparisons.push((*operator, number));
        }
        Ok(Self(comparisons))
    }

    /// Returns whether nothing is compared.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns whether every comparison holds.
    pub(super) fn holds(&self, number: f64) -> bool {
        self.0.iter().all(|&(operator, than)| match operator {
            Operator::Gt => number > than,
            Operator::Gte => number >= than,
            Operator::Lt => number < than,
            Operator::Lte => number <= than,
            Operator::Eq => number == than,
            Operator::Neq => number != than,
        })
    }

    /// Returns whether a number that satisfies it still does when it grows.
    pub(super) fn grows(&self) -> bool {
        self.0.iter().all(|(operator, _)| matches!(operator, Operator::Gt | Operator::Gte))
    }

    /// Returns the least whole number that satisfies every lower bound.
    pub(super) fn least(&self) -> f64 {
        let least = self.0.iter().map(|&(operator, than)| match operator {
            Operator::Gt => than.floor() + 1.0,
            Operator::Gte | Operator::Eq => than.ceil(),
            Operator::Lt | Operator::Lte | Operator::Neq => 0.0,
        });
        least.fold(0.0, f64::max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Condition, (String, String)> {
        Condition::parse(crate::policy::node::parse(text).unwrap().as_map().unwrap())
    }

    #[test]
    fn every_operator_compares_as_it_is_called() {
        for (text, below, at, above) in [
            ("gt: 3", false, false, true),
            ("gte: 3", false, true, true),
            ("lt: 3", true, false, false),
            ("lte: 3", true, true, false),
            ("eq: 3", false, true, false),
            ("neq: 3", true, false, true),
            ("{gt: 2, lte: 3, field: x}", false, true, false),
            ("gte: 2.5", false, true, true),
        ] {
            let condition = parse(text).unwrap();
            let held = [2.0, 3.0, 4.0].map(|number| condition.holds(number));
            assert_eq!(held, [below, at, above], "{text}");
        }
    }

    #[test]
    fn only_lower_bounds_stay_true_while_a_number_grows() {
        assert!(parse("{gt: 2, gte: 9}").unwrap().grows());
        assert_eq!(parse("{gt: 2.5, gte: 2}").unwrap().least(), 3.0);
        assert_eq!(parse("gt: 2").unwrap().least(), 3.0);
        for text in ["lt: 2", "lte: 2", "eq: 2", "neq: 2", "{gte: 2, lt: 9}"] {
            assert!(!parse(text).unwrap().grows(), "{text}");
        }
    }

    #[test]
    fn what_is_no_comparison_is_named() {
        for (text, key) in [("more: 3", "more"), ("gte: x", "gte"), ("lt: [1]", "lt")] {
            assert_eq!(parse(text).unwrap_err().0, key);
        }
    }
}
