//! Compares the Sigma engine with an independent one: what `cargo xtask eval sigma` starts.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use serde_json::json;
use sigma_peers::differ::{self, Report};
use sigma_peers::real;
use sigma_peers::rules::{self, Both};

/// Shows events made from rules, and real ones, to our engine and to rsigma, and tells where they
/// differ.
#[derive(Debug, Parser)]
struct Options {
    /// Folders of rules.
    #[arg(required = true)]
    rules: Vec<PathBuf>,
    /// Events made from each rule.
    #[arg(long, default_value_t = 5_000)]
    events: u64,
    /// What the events' making starts from.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Folder of logs, attacks and names that others wrote.
    #[arg(long, value_name = "DIR")]
    material: Option<PathBuf>,
    /// Print JSON, one object a line.
    #[arg(long)]
    json: bool,
}

fn main() -> Result<ExitCode> {
    let options = Options::parse();
    let real = options.material.as_deref().map(real::events).transpose()?.unwrap_or_default();
    let mut all_agree = true;
    for folder in &options.rules {
        let mut both = Both::new(&rules::read(folder)?);
        let made = differ::compare(&mut both, options.events, options.seed);
        let seen = differ::compare_real(&mut both, &real);
        let name = folder.display().to_string();
        for (kind, report) in [("made of them", &made), ("real", &seen)] {
            all_agree &= report.differences.is_empty() && report.strays == 0;
            if report.events > 0 {
                tell(&format!("{name}, events {kind}"), &both, report, options.json);
            }
        }
        if !options.json {
            both.rewritten.iter().for_each(|title| println!("  rewritten for rsigma: {title}"));
            both.refused.iter().for_each(|line| println!("  refused: {line}"));
            both.refused_there.iter().for_each(|line| println!("  refused by rsigma: {line}"));
        }
    }
    Ok(ExitCode::from(u8::from(!all_agree)))
}

fn tell(name: &str, both: &Both, report: &Report, as_json: bool) {
    let differing: u64 = report.differences.values().map(|(count, _)| count).sum();
    if as_json {
        let row = json!({
            "name": name, "rules": both.rules.len(), "refused": both.refused,
            "refused_by_rsigma": both.refused_there, "rewritten": both.rewritten,
            "events": report.events, "verdicts": report.verdicts, "matched": report.matched,
            "never_matched": report.never, "differing": differing, "readings": report.readings,
            "foreign": report.foreign, "strays": report.strays,
        });
        println!("{row}");
    } else {
        println!(
            "{name}: {} rules, {} events, {} verdicts, {} matches; {differing} differ; {} looks as \
             at other logs, {} matches there",
            both.rules.len(),
            report.events,
            report.verdicts,
            report.matched,
            report.foreign,
            report.strays
        );
        report.readings.iter().for_each(|(what, n)| println!("  {n} by reading: {what}"));
        report.never.iter().for_each(|rule| println!("  no event matched {rule}"));
    }
    for (rule, (count, examples)) in &report.differences {
        for example in examples {
            let (ours, event) = (example.ours, &example.event);
            match as_json {
                true => println!(
                    "{}",
                    json!({"rule": rule, "differing": count, "ours": ours, "event": event})
                ),
                false => println!("  {rule} ({count}): we say {ours}: {event}"),
            }
        }
    }
}
