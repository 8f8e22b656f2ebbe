//! Hands the packet programs the programs in which they go on when a packet carries a message.

use aya::{
    Ebpf,
    maps::ProgramArray,
    programs::{ProgramError, ProgramFd, SchedClassifier, Xdp},
};

use sensor_abi::seen::Signal;

use super::{HookReport, attach};

/// Name of the hook that both programs are.
pub(super) const NAME: &str = "payload";

/// The programs, and the tables in which the packet programs find them.
const ARRIVED: &str = "payload_arrived";
const ARRIVED_TABLE: &str = "PAYLOAD_XDP";
const LEFT: &str = "payload_left";
const LEFT_TABLE: &str = "PAYLOAD_TC";
/// What is lost when a packet program has nothing to go on in.
const LOST: &str = "DNS messages and TLS greetings";

/// Says what became of both programs while nobody wants what they record.
pub(super) fn switched_off() -> HookReport {
    HookReport::switched_off(NAME, Signal::Dns, LOST)
}

/// Loads both programs.
pub(super) fn load_ahead(programs: &mut Ebpf) {
    // Why one is refused is said when it is put to use.
    let _refused = (arrived(programs).err(), left(programs).err());
}

fn arrived(programs: &mut Ebpf) -> Result<ProgramFd, ProgramError> {
    let program = attach::typed::<Xdp>(programs, ARRIVED)?;
    if program.fd().is_err() {
        program.load()?;
    }
    Ok(program.fd()?.try_clone()?)
}

fn left(programs: &mut Ebpf) -> Result<ProgramFd, ProgramError> {
    let program = attach::typed::<SchedClassifier>(programs, LEFT)?;
    if program.fd().is_err() {
        program.load()?;
    }
    Ok(program.fd()?.try_clone()?)
}

/// Loads both programs and puts them where the packet programs find them.
pub(super) fn chain(programs: &mut Ebpf) -> HookReport {
    let arrived = arrived(programs)
        .map_err(|error| attach::sentence(&error))
        .and_then(|fd| put(programs, ARRIVED_TABLE, &fd));
    let left = left(programs)
        .map_err(|error| attach::sentence(&error))
        .and_then(|fd| put(programs, LEFT_TABLE, &fd));
    let errors: Vec<String> = [("xdp", arrived), ("tc", left)]
        .into_iter()
        .filter_map(|(how, result)| result.err().map(|error| format!("{how}: {error}")))
        .collect();
    let error = (!errors.is_empty()).then(|| errors.join("; "));
    HookReport {
        name: NAME,
        signal: Signal::Dns.name(),
        required: false,
        attached: (errors.len() < 2).then(|| "called by the packet programs".to_owned()),
        stands_in: None,
        lost: error.is_some().then_some(LOST),
        error,
    }
}

/// Takes both programs away.
pub(super) fn unchain(programs: &mut Ebpf) {
    for table in [ARRIVED_TABLE, LEFT_TABLE] {
        let cleared = programs.map_mut(table).and_then(|map| ProgramArray::try_from(map).ok());
        // Nothing is there when the program could not be loaded.
        let _ = cleared.map(|mut array| array.clear_index(&0));
    }
    let arrived = attach::typed::<Xdp>(programs, ARRIVED).and_then(Xdp::unload);
    let left = attach::typed::<SchedClassifier>(programs, LEFT).and_then(SchedClassifier::unload);
    if let Err(error) = arrived.and(left) {
        tracing::debug!(%error, "a program of messages was not loaded");
    }
}

fn put(programs: &mut Ebpf, name: &str, fd: &ProgramFd) -> Result<(), String> {
    let map = programs.map_mut(name).ok_or_else(|| format!("map {name} is missing"))?;
    ProgramArray::try_from(map)
        .and_then(|mut array| array.set(0, fd, 0))
        .map_err(|error| attach::sentence(&error))
}
