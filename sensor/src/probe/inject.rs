//! Runs a packet through the packet programs without any interface (`BPF_PROG_TEST_RUN`).

use std::time::Duration;

use aya::{
    Ebpf,
    programs::{ProgramError, SchedClassifier, TestRun, TestRunOptions, TestRunResult, Xdp},
};
use sensor_abi::parse::headers::Way;

use super::{ProbeError, attach};

/// Returns what the program decided: `XDP_PASS` on arrival, `TC_ACT_UNSPEC` on departure, whatever
/// the packet.
pub(super) fn packet(programs: &mut Ebpf, way: Way, packet: &[u8]) -> Result<u32, ProbeError> {
    run(programs, way, packet, 1).map(|result| result.return_value)
}

/// Returns how long one run takes, as the kernel measures it over `runs` of them.
pub(super) fn measure(
    programs: &mut Ebpf,
    way: Way,
    packet: &[u8],
    runs: u32,
) -> Result<Duration, ProbeError> {
    run(programs, way, packet, runs).map(|result| result.duration)
}

/// Both programs may be unused so far: other variants of them may be attached.
fn run(
    programs: &mut Ebpf,
    way: Way,
    packet: &[u8],
    runs: u32,
) -> Result<TestRunResult, ProbeError> {
    let result = match way {
        Way::Ingress => attach::typed::<Xdp>(programs, "flow_ingress").and_then(|program| {
            if program.fd().is_err() {
                program.load()?;
            }
            test_run(program, packet, runs)
        }),
        Way::Egress => {
            attach::typed::<SchedClassifier>(programs, "flow_egress").and_then(|program| {
                if program.fd().is_err() {
                    program.load()?;
                }
                test_run(program, packet, runs)
            })
        }
    };
    result.map_err(|error| ProbeError::Switch { hook: "flow", why: attach::sentence(&error) })
}

fn test_run<P>(program: &P, packet: &[u8], repeat: u32) -> Result<TestRunResult, ProgramError>
where
    P: for<'a> TestRun<Opts<'a> = TestRunOptions<'a>, Result = TestRunResult>,
{
    program.test_run(TestRunOptions { data_in: Some(packet), repeat, ..TestRunOptions::new() })
}
