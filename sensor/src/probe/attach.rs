//! Attaches one hook by the first of its ways that works.

use std::{collections::HashSet, error::Error, fs, sync::OnceLock};

use aya::{
    Btf, Ebpf, Endianness,
    programs::{FEntry, FExit, KProbe, Lsm, Program, ProgramError, RawTracePoint, TracePoint},
};
use nix::libc;

use super::{
    HookReport, Verified, WayKind,
    calls::{self, Table},
    table::{self, Hook, SYSCALL},
    way::{self, Way},
};
use crate::btf::{Btf as KernelTypes, VMLINUX};

/// What attaching needs to know of the kernel and of the settings.
#[derive(Debug)]
pub(super) struct Kernel<'a> {
    avoid: &'a [WayKind],
    /// The functions of the kernel that ways name, read for the first such way: a kernel that
    /// cannot have one needs none of them.
    types: OnceLock<Result<Btf, String>>,
}

impl<'a> Kernel<'a> {
    pub(super) fn new(avoid: &'a [WayKind]) -> Self {
        Self { avoid, types: OnceLock::new() }
    }

    fn types(&self) -> Result<&Btf, String> {
        self.types.get_or_init(types).as_ref().map_err(Clone::clone)
    }
}

/// Reads the kernel's types, and lets aya have what ways name of them: all would take 17 MiB, and
/// these take 8, at a time when the maps are there already.
fn types() -> Result<Btf, String> {
    let functions: Vec<String> =
        table::hooks().flat_map(|hook| hook.ways).flat_map(Way::functions).collect();
    let wanted = functions.iter().map(String::as_str).collect();
    let file = fs::read(VMLINUX).map_err(|error| sentence(&error))?;
    let kept = KernelTypes::parse(&file).map_err(|error| sentence(&error))?.functions(&wanted);
    drop(file);
    Btf::parse(&kept, Endianness::default()).map_err(|error| sentence(&error))
}

/// Tries a hook's ways in order, and reports which one holds and why the better ones do not.
pub(super) fn hook(programs: &mut Ebpf, hook: &Hook, kernel: &Kernel<'_>) -> HookReport {
    let mut report = HookReport {
        name: hook.name,
        signal: hook.signal.name(),
        required: hook.required,
        attached: None,
        stands_in: None,
        lost: None,
        error: None,
    };
    let mut refused: Vec<String> = Vec::new();
    for way in hook.ways {
        match attach(programs, hook.name, *way, kernel) {
            Ok(Attached { how, without }) => {
                refused.extend(without);
                report.attached = Some(how);
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

/// Loads the programs of the way that [`hook`] is going to choose, so that attaching takes no time.
pub(super) fn load_ahead(programs: &mut Ebpf, hook: &Hook, kernel: &Kernel<'_>) {
    // Why a way is refused is said when it is attached.
    let _chosen = hook.ways.iter().find(|way| ahead(programs, **way, kernel));
}

/// Returns whether the way can be attached, as far as the verifier decides.
fn ahead(programs: &mut Ebpf, way: Way, kernel: &Kernel<'_>) -> bool {
    if way.missing(kernel.avoid).is_some() {
        return false;
    }
    match way {
        // All of them are asked: one that is refused does not keep the others from being loaded.
        Way::Most(ways) => ways.iter().filter(|way| ahead(programs, **way, kernel)).count() > 0,
        Way::All(ways) => {
            let all = ways.iter().all(|way| ahead(programs, *way, kernel));
            if !all {
                way.parts(&mut |part| unload(programs, part));
            }
            all
        }
        single => load(programs, single, kernel).is_ok(),
    }
}

/// A way that holds, and what it had to do without.
#[derive(Debug)]
struct Attached {
    how: String,
    without: Vec<String>,
}

fn attach(
    programs: &mut Ebpf,
    name: &str,
    way: Way,
    kernel: &Kernel<'_>,
) -> Result<Attached, String> {
    if let Some(why) = way.missing(kernel.avoid) {
        return Err(why.to_owned());
    }
    match way {
        Way::All(ways) => all(programs, name, ways, kernel),
        Way::Most(ways) => most(programs, name, ways, kernel),
        single => by_itself(programs, name, single, kernel),
    }
}

/// Attaches all of the ways; when one of them fails, none stays.
fn all(
    programs: &mut Ebpf,
    name: &str,
    ways: &[Way],
    kernel: &Kernel<'_>,
) -> Result<Attached, String> {
    let (mut hows, mut without) = (Vec::new(), Vec::new());
    for (at, way) in ways.iter().enumerate() {
        match attach(programs, name, *way, kernel) {
            Ok(attached) => {
                hows.push(attached.how);
                without.extend(attached.without);
            }
            Err(why) => {
                for done in &ways[..at] {
                    done.parts(&mut |part| unload(programs, part));
                }
                return Err(format!("{}: {why}", way.describe()));
            }
        }
    }
    Ok(Attached { how: way::join(&hows), without })
}

/// Attaches the ways that this kernel has.
fn most(
    programs: &mut Ebpf,
    name: &str,
    ways: &[Way],
    kernel: &Kernel<'_>,
) -> Result<Attached, String> {
    let (mut hows, mut without, mut whys) = (Vec::new(), Vec::new(), Vec::new());
    for way in ways {
        match attach(programs, name, *way, kernel) {
            Ok(attached) => {
                hows.push(attached.how);
                without.extend(attached.without);
            }
            Err(why) => {
                without.push(format!("{}: {why}", way.describe()));
                whys.push(why);
            }
        }
    }
    match hows.is_empty() {
        // What is wrong with all of them is said once.
        true if whys.windows(2).all(|pair| pair[0] == pair[1]) => {
            Err(whys.pop().unwrap_or_default())
        }
        true => Err(without.join("; ")),
        false => Ok(Attached { how: way::join(&hows), without }),
    }
}

/// Attaches a single way; when it fails, no part of it stays.
fn by_itself(
    programs: &mut Ebpf,
    name: &str,
    way: Way,
    kernel: &Kernel<'_>,
) -> Result<Attached, String> {
    let loaded_before = is_loaded(programs, way);
    load(programs, way, kernel).map_err(Refusal::into_text)?;
    // A way that is switched is loaded now, so that a refusal shows at start.
    if name == SYSCALL {
        return Ok(Attached { how: way.describe(), without: Vec::new() });
    }
    let attached = attach_loaded(programs, way).map_err(|error| sentence(&error));
    if attached.is_err() && !loaded_before {
        unload(programs, way);
    }
    attached.map(|()| Attached { how: way.describe(), without: Vec::new() })
}

fn load(programs: &mut Ebpf, way: Way, kernel: &Kernel<'_>) -> Result<(), Refusal> {
    // A program can have several ways; it is loaded once.
    if is_loaded(programs, way) {
        return Ok(());
    }
    let loaded = match way {
        Way::RawTracepoint { program, .. }
        | Way::Call { program, .. }
        | Way::NextCall { program, .. } => {
            typed::<RawTracePoint>(programs, program).and_then(RawTracePoint::load)
        }
        Way::Tracepoint { program, .. } => {
            typed::<TracePoint>(programs, program).and_then(TracePoint::load)
        }
        Way::Kprobe { program, .. }
        | Way::Kretprobe { program, .. }
        | Way::Return { program, .. } => typed::<KProbe>(programs, program).and_then(KProbe::load),
        Way::Fentry { program, function } => {
            let types = kernel.types().map_err(Refusal::Missing)?;
            typed::<FEntry>(programs, program).and_then(|p| p.load(function, types))
        }
        Way::Fexit { program, function } => {
            let types = kernel.types().map_err(Refusal::Missing)?;
            typed::<FExit>(programs, program).and_then(|p| p.load(function, types))
        }
        Way::Lsm { program, hook } => {
            let types = kernel.types().map_err(Refusal::Missing)?;
            typed::<Lsm>(programs, program).and_then(|p| p.load(hook, types))
        }
        Way::All(_) | Way::Most(_) => Err(ProgramError::UnexpectedProgramType),
    };
    loaded.map_err(|error| refusal(way, &error))
}

/// Why a program could not be loaded.
#[derive(Debug)]
enum Refusal {
    /// The kernel lacks what the way needs.
    Missing(String),
    /// The kernel could have the way, but not this program.
    Refused(String),
}

impl Refusal {
    fn into_text(self) -> String {
        match self {
            Self::Missing(why) | Self::Refused(why) => why,
        }
    }
}

/// Tells a kernel that lacks the way from one that refuses the program. The verifier explains its
/// refusals and never answers EPERM; who answers EPERM without a word, as hardened kernels and
/// container runtimes do to whole kinds of programs, has not looked at the program.
fn refusal(way: Way, error: &ProgramError) -> Refusal {
    if let ProgramError::Btf(_) = error
        && let Way::Fentry { function: name, .. }
        | Way::Fexit { function: name, .. }
        | Way::Lsm { hook: name, .. } = way
    {
        return Refusal::Missing(format!("this kernel has no {name}"));
    }
    if let ProgramError::LoadError { io_error, verifier_log } = error
        && verifier_log.to_string().trim().is_empty()
    {
        let forbidden = (io_error.raw_os_error() == Some(libc::EPERM))
            .then_some("this kernel does not permit programs of this kind");
        if let Some(why) = way.missing(&[]).or(forbidden) {
            return Refusal::Missing(why.to_owned());
        }
    }
    Refusal::Refused(sentence(error))
}

fn attach_loaded(programs: &mut Ebpf, way: Way) -> Result<(), ProgramError> {
    match way {
        Way::RawTracepoint { program, hook } => {
            typed::<RawTracePoint>(programs, program)?.attach(hook).map(drop)
        }
        Way::Tracepoint { program, category, hooks } => {
            let program = typed::<TracePoint>(programs, program)?;
            hooks.iter().try_for_each(|hook| program.attach(category, hook).map(drop))
        }
        Way::Kprobe { program, function } | Way::Kretprobe { program, function } => {
            typed::<KProbe>(programs, program)?.attach(function, 0).map(drop)
        }
        Way::Call { program, call } => calls::wait(programs, Table::First, program, call),
        Way::NextCall { program, call } => calls::wait(programs, Table::Next, program, call),
        Way::Return { program, call } => calls::attach(programs, program, call),
        Way::Fentry { program, .. } => typed::<FEntry>(programs, program)?.attach().map(drop),
        Way::Fexit { program, .. } => typed::<FExit>(programs, program)?.attach().map(drop),
        Way::Lsm { program, .. } => typed::<Lsm>(programs, program)?.attach().map(drop),
        Way::All(_) | Way::Most(_) => Err(ProgramError::UnexpectedProgramType),
    }
}

pub(super) fn is_loaded(programs: &Ebpf, way: Way) -> bool {
    let program = way.program().and_then(|name| programs.program(name));
    program.is_some_and(|program| program.fd().is_ok())
}

/// Lets go of what a hook's ways have loaded, but for programs that others need as well.
pub(super) fn let_go(programs: &mut Ebpf, hook: &Hook, needed: &HashSet<&str>) {
    for way in hook.ways {
        way.parts(&mut |part| {
            if part.program().is_some_and(|name| !needed.contains(name)) {
                match part {
                    Way::Call { call, .. } => calls::forget(programs, Table::First, call),
                    Way::NextCall { call, .. } => calls::forget(programs, Table::Next, call),
                    _ => {}
                }
                if is_loaded(programs, part) {
                    unload(programs, part);
                }
            }
        });
    }
}

/// Unloads a way's program, which detaches it too.
fn unload(programs: &mut Ebpf, way: Way) {
    let Some(program) = way.program().and_then(|name| programs.program_mut(name)) else { return };
    let unloaded = match program {
        Program::RawTracePoint(program) => program.unload(),
        Program::TracePoint(program) => program.unload(),
        Program::KProbe(program) => program.unload(),
        Program::FEntry(program) => program.unload(),
        Program::FExit(program) => program.unload(),
        Program::Lsm(program) => program.unload(),
        _ => Err(ProgramError::UnexpectedProgramType),
    };
    if let Err(error) = unloaded {
        tracing::debug!(way = way.describe(), %error, "a program was not loaded any more");
    }
}

/// Loads every program of the object, also those that only stand in.
pub(super) fn load_all(programs: &mut Ebpf) -> Vec<Verified> {
    let kernel = &Kernel::new(&[]);
    let mut verified = Vec::new();
    for way in table::hooks().flat_map(|hook| hook.ways) {
        way.parts(&mut |part| {
            let Some(name) = part.program() else { return };
            if verified.iter().any(|known: &Verified| known.program == name) {
                return;
            }
            let (missing, refused) = match load(programs, part, kernel) {
                Ok(()) => (None, None),
                Err(Refusal::Missing(why)) => (Some(why), None),
                Err(Refusal::Refused(why)) => (None, Some(why)),
            };
            verified.push(Verified {
                program: name.to_owned(),
                missing,
                refused,
                instructions: None,
            });
        });
    }
    for (name, program) in programs.programs_mut() {
        let loaded = match program {
            Program::RawTracePoint(program) if name == calls::FIRST => program.load(),
            Program::Xdp(program) => program.load(),
            Program::SchedClassifier(program) => program.load(),
            _ => continue,
        };
        let refused = loaded.err().map(|error| sentence(&error));
        verified.push(Verified {
            program: name.to_owned(),
            missing: None,
            refused,
            instructions: None,
        });
    }
    let unlisted: Vec<String> = programs
        .programs()
        .map(|(name, _)| name.to_owned())
        .filter(|name| !verified.iter().any(|known| known.program == *name))
        .collect();
    verified.extend(unlisted.into_iter().map(|program| {
        let refused = Some("no hook of the probe table uses it".to_owned());
        Verified { program, missing: None, refused, instructions: None }
    }));
    for known in &mut verified {
        let info = programs.program(&known.program).and_then(|program| program.info().ok());
        known.instructions = info.and_then(|info| info.verified_instruction_count());
    }
    verified
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
