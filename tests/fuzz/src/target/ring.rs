//! Bytes as a kernel program would leave them in a ring or a map → record → batch.

use sensor::clock::ClockPair;
use sensor::convert::{self, What, sweep};
use sensor::drain::record::Decoder;
use sensor::ledger::Signal;
use sensor::observation::{Observation, Record};
use sensor_abi::flow::{FlowKey, FlowStats};
use sensor_abi::record::{self as abi, kind};
use sensor_abi::sketch::{SweepKey, SweepStats};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

use super::{KIB, MIB, Target};
use crate::delivery;

pub(super) const TARGET: Target = Target {
    name: "ring",
    what: "a record of a ring, or an entry of a map, as the kernel programs write them",
    input_max: 16 * KIB,
    memory_max: 4 * MIB,
    control: false,
    check,
    seeds,
};

const CLOCK: ClockPair = ClockPair { boot_ns: 1_000, unix_ns: 1_709_632_800_000_000_000 };
/// Numbers that no kind of record has, for entries of maps.
const FLOW: u32 = 1_000;
const SWEEP: u32 = 1_001;

fn check(input: &[u8]) {
    // A ring's records are aligned to eight bytes.
    let mut words = vec![0_u64; input.len().div_ceil(8)];
    words.as_mut_bytes()[..input.len()].copy_from_slice(input);
    let bytes = &words.as_bytes()[..input.len()];
    let entry = bytes.get(4..).unwrap_or_default();
    let observation = match bytes.first_chunk().copied().map(u32::from_ne_bytes) {
        Some(FLOW) => pair::<FlowKey, FlowStats>(entry).map(|(key, stats)| {
            let (_, _, flow) = convert::flow(&key, &stats, CLOCK);
            delivery::alone(Signal::Flow, Record::Flow(flow))
        }),
        Some(SWEEP) => pair::<SweepKey, SweepStats>(entry)
            .map(|pair| delivery::alone(Signal::Sweep, sweep::sweep(&pair, CLOCK))),
        _ => record(bytes),
    };
    delivery::check(observation.as_slice());
}

fn pair<K: FromBytes, V: FromBytes>(bytes: &[u8]) -> Option<(K, V)> {
    let (key, rest) = K::read_from_prefix(bytes).ok()?;
    Some((key, V::read_from_bytes(rest).ok()?))
}

fn record(bytes: &[u8]) -> Option<Observation> {
    let mut decoder = Decoder::new();
    let record = decoder.decode(bytes)?;
    let event = convert::event(&record, CLOCK)?;
    Some(match event.what {
        What::Exec(executed) => {
            delivery::by(executed.process, event.signal, Record::Exec(executed.exec))
        }
        What::Exit(exit) => delivery::alone(event.signal, Record::Exit(exit)),
        What::Socket(socket) => {
            // What it changes is the table of owners; the record is made of it there.
            let _shown = format!("{socket:?}");
            return None;
        }
        What::Payload(payload) => delivery::alone(event.signal, payload.record),
        What::Record(record, _) => delivery::alone(event.signal, *record),
        What::Fork { .. } => return None,
    })
}

/// A record of zeros with its kind.
fn zeros<T: FromZeros + IntoBytes + Immutable + KnownLayout>(kind: u32) -> Vec<u8> {
    let mut bytes = T::new_zeroed().as_bytes().to_vec();
    bytes[..4].copy_from_slice(&kind.to_ne_bytes());
    bytes
}

fn seeds() -> Vec<Vec<u8>> {
    let entry =
        |kind: u32, key: &[u8], value: &[u8]| [&kind.to_ne_bytes()[..], key, value].concat();
    let mut exec = abi::Exec::new_zeroed();
    exec.header.kind = kind::EXEC;
    (exec.path_len, exec.args_len, exec.cwd_len) = (11, 12, 10);
    let exec = [exec.as_bytes(), b"sh\0bin\0usr\0sh\0-c\0id -u\0user\0home\0"].concat();
    let mut file = abi::file::File::new_zeroed();
    file.header.kind = kind::FILE;
    (file.path_len, file.target_len) = (11, 4);
    let file = [file.as_bytes(), b"/etc/shadow", b"/tmp"].concat();
    let mut payload = abi::payload::Payload::new_zeroed();
    payload.header.kind = kind::PAYLOAD;
    let query = crate::seed::query();
    (payload.form, payload.captured, payload.length) = (1, query.len() as u16, query.len() as u32);
    vec![
        exec,
        file,
        [payload.as_bytes(), &query].concat(),
        zeros::<abi::Fork>(kind::FORK),
        zeros::<abi::Exit>(kind::EXIT),
        zeros::<abi::Socket>(kind::SOCKET),
        zeros::<abi::Module>(kind::MODULE),
        zeros::<abi::memory::Memory>(kind::MEMORY),
        zeros::<abi::privilege::Privilege>(kind::PRIVILEGE),
        zeros::<abi::privilege::Credentials>(kind::CREDENTIALS),
        zeros::<abi::privilege::Mount>(kind::MOUNT),
        entry(FLOW, FlowKey::new_zeroed().as_bytes(), FlowStats::new_zeroed().as_bytes()),
        entry(SWEEP, SweepKey::new_zeroed().as_bytes(), SweepStats::new_zeroed().as_bytes()),
    ]
}
