//! `policy …`: policies tested, explained, tried on the past, and laid out over ATT&CK, without a
//! running brain.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Subcommand};

use crate::detect::sigma::LogSource;
use crate::policy::{Folders, Loader, PolicySet};

mod cost;
mod coverage;
mod explain;
mod forecast;
mod format;
mod test;

use format::Format;

/// The folder that is meant when none is named and it is there.
const DIR_DEFAULT: &str = "policies";

/// Exit code for something that was found, such as a broken policy.
const PROBLEMS: u8 = 1;

/// Exit code for a command that makes no sense, such as a folder that is not there.
const WRONG_USE: u8 = 2;

#[derive(Debug, Subcommand)]
pub(crate) enum PolicyCommand {
    /// Tests policies: schema, samples, duplicates, rules that never match, cost.
    ///
    /// Exit code 0 when nothing is wrong, 1 when something is, 2 when the command makes no sense.
    Test(Test),
    /// Says why a rule matches events, or does not: part by part, with the values that decided.
    ///
    /// Exit code 0 when it matches any of them, 1 when it matches none, 2 when the command makes no
    /// sense.
    Explain(Explain),
    /// Says how often policies would have fired on what the journal holds, and on which hosts.
    ///
    /// Reads the data directory only; the brain may run meanwhile.
    Forecast(Forecast),
    /// Lays policies out over ATT&CK: what is covered, what is tested, what no sensor delivers.
    Coverage(Coverage),
}

/// Which policies are meant.
#[derive(Debug, Args)]
pub(crate) struct Sources {
    /// Policy folder [default: ./policies, else the policies of this build]
    #[arg(value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Folder of public Sigma rules, read as well; may be given several times.
    #[arg(long, value_name = "DIR")]
    rules: Vec<PathBuf>,
}

/// How results are written.
#[derive(Debug, Args)]
pub(crate) struct Output {
    /// One JSON object per line.
    #[arg(long, conflicts_with = "format")]
    json: bool,
    /// Form of the output: `github` and `gitlab` are shown on the changed lines there.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

impl Output {
    fn format(&self) -> Format {
        if self.json { Format::Json } else { self.format }
    }
}

#[derive(Debug, Args)]
pub(crate) struct Test {
    #[command(flatten)]
    sources: Sources,
    #[command(flatten)]
    output: Output,
    /// Warnings count as problems.
    #[arg(long)]
    strict: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Explain {
    /// The rule: its id, name, title or file.
    rule: String,
    /// JSON objects, one a line, or a file of samples; `-` is standard input.
    #[arg(long, value_name = "FILE")]
    event: PathBuf,
    /// Log source of JSON events that do not say theirs [default: the rule's own]
    #[arg(long, value_name = "PARTS", value_parser = LogSource::parse)]
    logsource: Option<LogSource>,
    #[command(flatten)]
    sources: Sources,
    /// One JSON object per event.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Forecast {
    #[command(flatten)]
    sources: Sources,
    /// How far back, such as 24h or 7d.
    #[arg(long, default_value = "7d", value_parser = super::span::seconds)]
    since: u64,
    /// Policies to compare with [default: the policies of this build]
    #[arg(long, value_name = "DIR")]
    current: Option<PathBuf>,
    /// Data directory of the brain.
    #[arg(
        long,
        value_name = "DIR",
        env = "SAKURAMORI_DATA",
        default_value = crate::config::DATA_DEFAULT
    )]
    data: PathBuf,
    /// Also policies that fire just as often as before.
    #[arg(long)]
    all: bool,
    /// One JSON object per line.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Coverage {
    #[command(flatten)]
    sources: Sources,
    /// Writes a layer for the ATT&CK Navigator.
    #[arg(long, value_name = "FILE")]
    navigator: Option<PathBuf>,
    /// One JSON object per line.
    #[arg(long)]
    json: bool,
}

/// `policy …`
pub(super) fn run(command: PolicyCommand) -> Result<ExitCode> {
    let result = match command {
        PolicyCommand::Test(flags) => test::run(&flags),
        PolicyCommand::Explain(flags) => explain::run(&flags),
        PolicyCommand::Forecast(flags) => forecast::run(&flags),
        PolicyCommand::Coverage(flags) => coverage::run(&flags),
    };
    match result {
        Ok(true) => Ok(ExitCode::SUCCESS),
        Ok(false) => Ok(ExitCode::from(PROBLEMS)),
        Err(error) => {
            let _ = writeln!(io::stderr(), "error: {error:#}");
            Ok(ExitCode::from(WRONG_USE))
        }
    }
}

/// Policies in memory, and where their files lie.
struct Loaded {
    loader: Loader,
    set: PolicySet,
}

impl Sources {
    fn load(&self) -> Result<Loaded> {
        load(self.dir.clone().or_else(default_dir), &self.rules)
    }
}

fn default_dir() -> Option<PathBuf> {
    let dir = Path::new(DIR_DEFAULT);
    dir.is_dir().then(|| dir.to_owned())
}

fn load(dir: Option<PathBuf>, rules: &[PathBuf]) -> Result<Loaded> {
    let mut loader = Loader::new(Folders::new(dir, rules));
    let set = loader.load()?;
    Ok(Loaded { loader, set })
}

impl Loaded {
    /// Returns the path of a policy file as the reader can open it.
    fn path(&self, file: &str) -> String {
        let path = self.loader.folders().path_of(file).unwrap_or_else(|| PathBuf::from(file));
        crate::text::visible_str(&path.display().to_string())
    }

    /// Tells on standard error how many files cannot be used, where that is not the question.
    fn tell_errors(&self) {
        for error in self.set.errors.iter().filter(|error| !error.is_public()) {
            let _ = writeln!(io::stderr(), "warning: not used: {error}");
        }
        let public = self.set.errors.iter().filter(|error| error.is_public()).count();
        if public > 0 {
            let _ = writeln!(
                io::stderr(),
                "{public} public rules are not used; `policy test --rules` says why"
            );
        }
    }
}
