//! Runs a packet through the packet programs without any interface (`BPF_PROG_TEST_RUN`).

use aya::{
    Ebpf,
    programs::{ProgramError, SchedClassifier, TestRun, TestRunOptions, TestRunResult, Xdp},
};
use sensor_abi::parse::headers::Way;

use super::{ProbeError, attach};

/// Returns what the program decided: `XDP_PASS` on arrival, `TC_ACT_UNSPEC` on departure, whatever
/// the packet.
pub(super) fn packet(programs: &mut Ebpf, way: Way, packet: &[u8]) -> Result<u32, ProbeError> {
    let run = match way {
        Way::Ingress => attach::typed::<Xdp>(programs, "flow_ingress")
            .and_then(|program| test_run(program, packet)),
        Way::Egress => attach::typed::<SchedClassifier>(programs, "flow_egress")
            .and_then(|program| test_run(program, packet)),
    };
    run.map(|result| result.return_value)
        .map_err(|error| ProbeError::Switch { hook: "flow", why: attach::sentence(&error) })
}

fn test_run<P>(program: &P, packet: &[u8]) -> Result<TestRunResult, ProgramError>
where
    P: for<'a> TestRun<Opts<'a> = TestRunOptions<'a>, Result = TestRunResult>,
{
    program.test_run(TestRunOptions { data_in: Some(packet), ..TestRunOptions::new() })
}
