//! Writes the settings that the programs read while they run.

use aya::{Ebpf, maps::Array};
use sensor_abi::{
    parse::payload::DNS_PORTS,
    seen::Signal,
    tuning::{Tuning, VARIABLES_MAX, Variable},
};

use super::{ProbeError, Settings, calls};

/// The section of the object that holds them.
pub(super) const SECTION: &str = ".data.tuning";
/// Where DNS is spoken by default (RFC 1035, section 4.2).
const DNS_PORT: u16 = 53;

/// Writes what the settings say, once the programs are attached that they say are wanted.
pub(super) fn set(programs: &mut Ebpf, settings: &Settings) -> Result<(), ProbeError> {
    let tuning = Tuning {
        variables: variables(&settings.variables),
        calls: calls::awaited(programs),
        dns_ports: match settings.wants(Signal::Dns) {
            true => dns_ports(&settings.dns_ports),
            false => [0; DNS_PORTS],
        },
        tls: u64::from(settings.wants(Signal::Tls)),
    };
    let unusable =
        |error: &dyn ToString| ProbeError::MapUnusable { name: SECTION, why: error.to_string() };
    let map = programs.map_mut(SECTION).ok_or(ProbeError::Map(SECTION))?;
    let mut section = Array::<_, Tuning>::try_from(map).map_err(|error| unusable(&error))?;
    section.set(0, tuning, 0).map_err(|error| unusable(&error))
}

/// Names past the limit are left out; the configuration has refused them already.
fn variables(names: &[String]) -> [Variable; VARIABLES_MAX] {
    let mut variables = [Variable::NONE; VARIABLES_MAX];
    for (variable, name) in variables.iter_mut().zip(names) {
        *variable = Variable::named(name.as_bytes());
    }
    variables
}

/// Returns the ports in the form that the programs read: the first few, zero for none.
fn dns_ports(ports: &[u16]) -> [u16; DNS_PORTS] {
    let ports = if ports.is_empty() { &[DNS_PORT] } else { ports };
    std::array::from_fn(|at| ports.get(at).copied().unwrap_or(0))
}
