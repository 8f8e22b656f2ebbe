//! The engines, each behind the same two questions.

use std::collections::HashMap;
use std::sync::Arc;

use brain::detect::sigma::{LogSource as OurLog, Matcher, Object, RuleSet};
use rsigma_eval::JsonEvent;
use rsigma_parser::LogSource;
use sigma_rust::rule_from_yaml;

use crate::corpus::{Log, Sample};
use crate::rules::{compile, node};

/// An engine that is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Engine {
    /// Ours, on records of sensors.
    Records,
    /// Ours, on events of others, as trees of names and values.
    Objects,
    /// `rsigma-eval`, as it is by default.
    Rsigma,
    /// `rsigma-eval` with one automaton over the texts of all rules, as it offers for many rules.
    RsigmaAutomaton,
    /// `sigma-rust`, which takes one rule at a time.
    SigmaRust,
}

/// Rules in an engine.
pub trait Subject {
    /// How many there are.
    fn rules(&self) -> usize;

    /// Returns how many match an event of the corpus, `at` being its place there.
    fn decide(&mut self, at: usize, sample: &Sample) -> u32;
}

impl Engine {
    /// All of them, ours first.
    pub const ALL: [Self; 5] =
        [Self::Records, Self::Objects, Self::Rsigma, Self::RsigmaAutomaton, Self::SigmaRust];

    /// Returns what it is called in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Records => "sakuramori, records",
            Self::Objects => "sakuramori, JSON",
            Self::Rsigma => "rsigma-eval 0.23.0",
            Self::RsigmaAutomaton => "rsigma-eval, one automaton",
            Self::SigmaRust => "sigma-rust 0.7.0",
        }
    }

    /// Returns what it is called on the command line.
    pub fn key(self) -> &'static str {
        match self {
            Self::Records => "records",
            Self::Objects => "objects",
            Self::Rsigma => "rsigma",
            Self::RsigmaAutomaton => "rsigma-automaton",
            Self::SigmaRust => "sigma-rust",
        }
    }

    /// Reads and compiles rules.
    pub fn load(self, texts: &[String]) -> Box<dyn Subject> {
        match self {
            Self::Records => Box::new(Records(ours(texts))),
            Self::Objects => Box::new(Objects { matcher: ours(texts), objects: Vec::new() }),
            Self::Rsigma => Box::new(Rsigma::new(texts, false)),
            Self::RsigmaAutomaton => Box::new(Rsigma::new(texts, true)),
            Self::SigmaRust => Box::new(SigmaRust::new(texts)),
        }
    }
}

fn ours(texts: &[String]) -> Matcher {
    let rules = texts.iter().filter_map(|text| compile(text).ok()).flatten();
    Matcher::new(Arc::new(RuleSet::new(rules.collect())))
}

struct Records(Matcher);

impl Subject for Records {
    fn rules(&self) -> usize {
        self.0.set().rules().len()
    }

    fn decide(&mut self, _at: usize, sample: &Sample) -> u32 {
        let mut matches = 0;
        self.0.event(&sample.record, |_, _| matches += 1);
        matches
    }
}

struct Objects {
    matcher: Matcher,
    /// Events as they were read, by their place: reading them is not what is measured.
    objects: Vec<Object>,
}

impl Subject for Objects {
    fn rules(&self) -> usize {
        self.matcher.set().rules().len()
    }

    fn decide(&mut self, at: usize, sample: &Sample) -> u32 {
        // They come in their order, from the first one on.
        if self.objects.len() == at {
            let (product, category, service) = sample.log;
            let log = OurLog::new(product, category, service);
            self.objects.push(Object { log, root: node(&sample.json) });
        }
        let mut matches = 0;
        self.matcher.object(&self.objects[at], |_, _| matches += 1);
        matches
    }
}

struct Rsigma {
    engine: rsigma_eval::Engine,
    logs: HashMap<Log, LogSource>,
}

impl Rsigma {
    fn new(texts: &[String], automaton: bool) -> Self {
        let mut rules = Vec::new();
        for text in texts {
            let parsed = rsigma_parser::parse_sigma_yaml(text);
            rules.extend(parsed.into_iter().flat_map(|collection| collection.rules));
        }
        let mut engine = rsigma_eval::Engine::new();
        engine.set_cross_rule_ac(automaton);
        // Those that it refuses are missing in the number of its rules.
        drop(engine.add_rules(&rules));
        Self { engine, logs: HashMap::new() }
    }
}

impl Subject for Rsigma {
    fn rules(&self) -> usize {
        self.engine.rule_count()
    }

    fn decide(&mut self, _at: usize, sample: &Sample) -> u32 {
        let (product, category, service) = sample.log;
        let part = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let log = self.logs.entry(sample.log).or_insert_with(|| LogSource {
            product: part(product),
            category: part(category),
            service: part(service),
            ..LogSource::default()
        });
        let event = JsonEvent::borrow(&sample.json);
        self.engine.evaluate_with_logsource(&event, log).len() as u32
    }
}

struct SigmaRust {
    rules: Vec<sigma_rust::Rule>,
    /// By log, the rules about it: it does not look at that itself.
    about: HashMap<Log, Vec<usize>>,
    events: Vec<sigma_rust::Event>,
}

impl SigmaRust {
    fn new(texts: &[String]) -> Self {
        let rules = texts.iter().filter_map(|text| rule_from_yaml(text).ok()).collect();
        Self { rules, about: HashMap::new(), events: Vec::new() }
    }

    fn about(rules: &[sigma_rust::Rule], (product, category, service): Log) -> Vec<usize> {
        let part =
            |rule: &Option<String>, log: &str| rule.as_deref().is_none_or(|rule| rule == log);
        let is_about = |rule: &sigma_rust::Rule| {
            let of = &rule.logsource;
            part(&of.product, product) && part(&of.category, category) && part(&of.service, service)
        };
        (0..rules.len()).filter(|&rule| is_about(&rules[rule])).collect()
    }
}

impl Subject for SigmaRust {
    fn rules(&self) -> usize {
        self.rules.len()
    }

    fn decide(&mut self, at: usize, sample: &Sample) -> u32 {
        let Self { rules, about, events } = self;
        let about = about.entry(sample.log).or_insert_with(|| Self::about(rules, sample.log));
        if events.len() == at {
            // The corpus is made of objects of texts and numbers.
            events.push(serde_json::from_value(sample.json.clone()).unwrap_or_default());
        }
        about.iter().filter(|&&rule| rules[rule].is_match(&events[at])).count() as u32
    }
}
