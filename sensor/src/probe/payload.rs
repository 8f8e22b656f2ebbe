//! Hands the packet programs the programs in which they go on when a packet carries a message.

use aya::{
    Ebpf,
    maps::ProgramArray,
    programs::{ProgramFd, SchedClassifier, Xdp},
};

use super::{HookReport, attach};

/// What is lost when a packet program has nothing to go on in.
const LOST: &str = "DNS messages and TLS greetings";

/// Loads both programs and puts them where the packet programs find them.
pub(super) fn chain(programs: &mut Ebpf) -> HookReport {
    let arrived = attach::typed::<Xdp>(programs, "payload_arrived")
        .and_then(|program| program.load().and_then(|()| Ok(program.fd()?.try_clone()?)))
        .map_err(|error| attach::sentence(&error))
        .and_then(|fd| put(programs, "PAYLOAD_XDP", &fd));
    let left = attach::typed::<SchedClassifier>(programs, "payload_left")
        .and_then(|program| program.load().and_then(|()| Ok(program.fd()?.try_clone()?)))
        .map_err(|error| attach::sentence(&error))
        .and_then(|fd| put(programs, "PAYLOAD_TC", &fd));
    let errors: Vec<String> = [("xdp", arrived), ("tc", left)]
        .into_iter()
        .filter_map(|(how, result)| result.err().map(|error| format!("{how}: {error}")))
        .collect();
    let error = (!errors.is_empty()).then(|| errors.join("; "));
    HookReport {
        name: "payload",
        signal: "dns",
        required: false,
        attached: (errors.len() < 2).then(|| "called by the packet programs".to_owned()),
        stands_in: None,
        lost: error.is_some().then_some(LOST),
        error,
    }
}

fn put(programs: &mut Ebpf, name: &str, fd: &ProgramFd) -> Result<(), String> {
    let map = programs.map_mut(name).ok_or_else(|| format!("map {name} is missing"))?;
    ProgramArray::try_from(map)
        .and_then(|mut array| array.set(0, fd, 0))
        .map_err(|error| attach::sentence(&error))
}
