//! `sakuramori-brain`: see [`brain::cli`] for its commands, [`brain::app`] for what `serve` builds.

use std::process::ExitCode;

fn main() -> ExitCode {
    brain::cli::main()
}
