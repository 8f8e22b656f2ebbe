//! Attaches one hook by the first of its ways that works.

use std::error::Error;

use aya::{
    Ebpf,
    programs::{KProbe, Program, ProgramError, RawTracePoint, TracePoint},
};

use super::{
    HookReport,
    table::{Hook, SYSCALL, Way},
};

/// Tries a hook's ways in order, and reports which one holds and why the better ones do not.
pub(super) fn hook(programs: &mut Ebpf, hook: &Hook) -> HookReport {
    let mut report = HookReport {
        name: hook.name,
        signal: hook.signal,
        required: hook.required,
        attached: None,
        stands_in: None,
        lost: None,
        error: None,
    };
    let mut refused: Vec<String> = Vec::new();
    for way in hook.ways {
        match attach(programs, hook.name, *way) {
            Ok(()) => {
                report.attached = Some(way.describe());
                report.stands_in = (!refused.is_empty()).then(|| refused.join("; "));
                return report;
            }
            Err(why) => refused.push(format!("{}: {why}", way.describe())),
        }
    }
    match (hook.unneeded)() {
        Some(why) => {
            let first = refused.first().map_or("", String::as_str);
            report.stands_in = Some(format!("{first}; {why}"));
        }
        None => {
            report.lost = Some(hook.lost);
            report.error = Some(refused.join("; "));
        }
    }
    report
}

fn attach(programs: &mut Ebpf, name: &str, way: Way) -> Result<(), String> {
    if let Some(why) = way.missing() {
        return Err(why.to_owned());
    }
    match way {
        Way::RawTracepoint { program, hook } => raw_tracepoint(programs, program).and_then(|p| {
            p.load()?;
            // Loaded now so that a refusal shows at start, attached when a window opens.
            if name != SYSCALL {
                p.attach(hook)?;
            }
            Ok(())
        }),
        Way::Tracepoint { program, category, hooks } => typed::<TracePoint>(programs, program)
            .and_then(|p| {
                p.load()?;
                hooks.iter().try_for_each(|hook| p.attach(category, hook).map(drop))
            }),
        Way::Kprobe { program, function } => typed::<KProbe>(programs, program).and_then(|p| {
            p.load()?;
            p.attach(function, 0).map(drop)
        }),
    }
    .map_err(|error| sentence(&error))
}

/// Loads every program of the object; returns names and refusals.
pub(super) fn load_all(programs: &mut Ebpf) -> Vec<(String, Option<String>)> {
    let load = |program: &mut Program| match program {
        Program::RawTracePoint(program) => program.load(),
        Program::TracePoint(program) => program.load(),
        Program::KProbe(program) => program.load(),
        Program::Xdp(program) => program.load(),
        Program::SchedClassifier(program) => program.load(),
        _ => Err(ProgramError::UnexpectedProgramType),
    };
    programs
        .programs_mut()
        .map(|(name, program)| (name.to_owned(), load(program).err().map(|error| sentence(&error))))
        .collect()
}

/// Returns a raw tracepoint program of the object.
pub(super) fn raw_tracepoint<'a>(
    programs: &'a mut Ebpf,
    name: &str,
) -> Result<&'a mut RawTracePoint, ProgramError> {
    typed(programs, name)
}

/// Returns a program of the object as the type that it must have.
pub(super) fn typed<'a, P>(programs: &'a mut Ebpf, name: &str) -> Result<&'a mut P, ProgramError>
where
    &'a mut P: TryFrom<&'a mut Program, Error = ProgramError>,
{
    programs.program_mut(name).ok_or(ProgramError::NotLoaded)?.try_into()
}

/// Joins an error and its causes, and leaves out the verifier's log after its last line.
pub(super) fn sentence(error: &(dyn Error + 'static)) -> String {
    if let Some(ProgramError::LoadError { io_error, verifier_log }) =
        error.downcast_ref::<ProgramError>()
    {
        let log = verifier_log.to_string();
        let last = log.lines().rev().find(|line| is_verdict(line)).unwrap_or_default().to_owned();
        tracing::debug!(%log, "a program was refused");
        return format!("refused at load: {io_error} {last}").trim_end().to_owned();
    }
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let more = inner.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = inner.source();
    }
    text
}

/// The verifier ends with statistics; the reason is the line before.
fn is_verdict(line: &str) -> bool {
    let statistics = ["processed ", "verification time", "stack depth"];
    !line.trim().is_empty() && !statistics.iter().any(|start| line.starts_with(start))
}
