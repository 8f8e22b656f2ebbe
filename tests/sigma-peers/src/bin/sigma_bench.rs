//! Measures the Sigma engine beside its peers: what `cargo xtask bench sigma` starts.

use std::path::PathBuf;

use anyhow::{Result, ensure};
use clap::Parser;
use serde_json::json;
use sigma_peers::bench::{self, Engine, Row, Weight};
use sigma_peers::corpus::Sample;
use sigma_peers::rules::RuleFile;
use sigma_peers::{corpus, rules};

/// Events of the corpus.
const EVENTS: usize = 50_000;

/// Rules that are loaded in a process of their own.
const LOADED: usize = 10_000;

#[derive(Debug, Parser)]
#[command(name = "cargo xtask bench sigma", about = "Measures Sigma engines")]
struct Arguments {
    /// Folders of rules.
    #[arg(required = true)]
    folders: Vec<PathBuf>,
    /// Print one row per line as JSON instead of a table.
    #[arg(long)]
    json: bool,
    /// How many varied copies of the rules, several times.
    #[arg(long, default_values_t = [1, 10, 100])]
    copies: Vec<usize>,
    /// Only this engine, several times; without any, all.
    #[arg(long)]
    engine: Vec<Engine>,
    /// Only load the rules into this engine and say what they cost.
    #[arg(long)]
    weigh: Option<Engine>,
    /// So many rules instead of copies.
    #[arg(long, default_value_t = 0)]
    rules: usize,
}

fn main() -> Result<()> {
    let mut arguments = Arguments::parse();
    if arguments.engine.is_empty() {
        arguments.engine = Engine::ALL.to_vec();
    }
    let mut files = Vec::new();
    for folder in &arguments.folders {
        files.extend(rules::read(folder)?);
    }
    let copies = arguments.copies.first().copied().unwrap_or(1);
    let texts = bench::texts(&files, copies, arguments.rules);
    ensure!(!texts.is_empty(), "no rules in {:?}", arguments.folders);
    if let Some(engine) = arguments.weigh {
        println!("{}", serde_json::to_string(&bench::weigh(engine, &texts)?)?);
        return Ok(());
    }
    eprintln!("skipped: zircolite, of which the package index has no release to install");
    if !arguments.json {
        println!("{}", bench::heading());
    }
    let corpus = corpus::corpus(EVENTS);
    for copies in &arguments.copies {
        speeds(&arguments, &files, *copies, &corpus)?;
    }
    loads(&arguments)
}

fn speeds(
    arguments: &Arguments,
    files: &[RuleFile],
    copies: usize,
    corpus: &[Sample],
) -> Result<()> {
    let texts = bench::texts(files, copies, 0);
    let mut rows = bench::measure(&arguments.engine, &texts, corpus)?;
    for (row, engine) in rows.iter_mut().zip(&arguments.engine) {
        row.weight = weight(arguments, *engine, ["--copies", &copies.to_string()])?;
    }
    for row in &rows {
        match arguments.json {
            true => println!("{}", to_json(copies, row)),
            false => println!("{}", row.to_line(&rows[0])),
        }
    }
    Ok(())
}

fn to_json(copies: usize, row: &Row) -> serde_json::Value {
    let mut value = json!(row);
    value["copies"] = copies.into();
    value
}

/// How long so many rules take to load.
fn loads(arguments: &Arguments) -> Result<()> {
    for engine in arguments.engine.iter().filter(|engine| **engine != Engine::Objects) {
        let weight = weight(arguments, *engine, ["--rules", &LOADED.to_string()])?;
        let Weight { rules, load_ms, bytes } = weight;
        match arguments.json {
            true => println!("{}", json!({"engine": engine.name(), "loaded": weight})),
            false => println!(
                "{:<28} loads {rules} rules in {load_ms} ms into {} MiB",
                engine.name(),
                bytes >> 20
            ),
        }
    }
    Ok(())
}

fn weight(arguments: &Arguments, engine: Engine, rules: [&str; 2]) -> Result<Weight> {
    let folders = arguments.folders.iter().map(|folder| folder.display().to_string());
    let arguments: Vec<String> = rules.into_iter().map(str::to_owned).chain(folders).collect();
    bench::weigh_apart(engine, &arguments)
}
