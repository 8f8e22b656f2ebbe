//! Lists the targets, writes their seeds, or runs inputs again that a fuzzer found.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Parser;
use fuzz::target::{self, TARGETS};

#[derive(Debug, Parser)]
#[command(name = "fuzz-input", about = "Runs single inputs of the fuzz targets")]
enum Arguments {
    /// Print each target: its name, its longest input, whether it is a control, what it is.
    List,
    /// Write the examples that fuzzing starts from.
    Seeds {
        /// The target.
        target: String,
        /// A folder.
        folder: PathBuf,
    },
    /// Run files through a target; panics when one breaks it.
    Run {
        /// The target.
        target: String,
        /// Inputs.
        files: Vec<PathBuf>,
    },
}

fn main() -> Result<()> {
    let named = |name: &str| target::named(name).with_context(|| format!("no target {name}"));
    match Arguments::parse() {
        Arguments::List => {
            for target in TARGETS {
                let kind = if target.control { "control" } else { "target" };
                println!("{}\t{}\t{kind}\t{}", target.name, target.input_max, target.what);
            }
        }
        Arguments::Seeds { target, folder } => {
            for (number, seed) in (named(&target)?.seeds)().iter().enumerate() {
                let file = folder.join(format!("seed-{number:02}"));
                let written = fs::write(&file, seed);
                written.with_context(|| format!("cannot write {}", file.display()))?;
            }
        }
        Arguments::Run { target, files } => {
            let target = named(&target)?;
            for file in files {
                let bytes = fs::read(&file);
                let bytes = bytes.with_context(|| format!("cannot read {}", file.display()))?;
                target.run(&bytes);
                println!("{}: nothing is wrong", file.display());
            }
        }
    }
    Ok(())
}
