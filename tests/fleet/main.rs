//! Trials of the whole product: hosts as namespaces, the real programs, a real attack.
//!
//! They need root. Each trial uses a fleet of its own label, so that a demo may run beside them.

mod chaos;
mod clean;
mod guard;
mod hosts;
mod limits;
mod pod;
mod refusal;
mod replay;
mod restart;
mod runtime;
mod scan;
mod story;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};
use tests::skip::{self, trial};

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // Two cores carry one fleet well; two at a time would stretch every time limit.
    arguments.test_threads.get_or_insert(1);
    let trials = [
        trial("hosts::talk_and_leave_nothing", || with_root(hosts::talk_and_leave_nothing)),
        trial("hosts::a_label_is_taken_once", || with_root(hosts::a_label_is_taken_once)),
        trial("refusal::every_wrong_peer_is_counted", || with_root(refusal::every_wrong_peer)),
        trial("replay::capture_reaches_the_brain", || with_root(replay::capture_reaches_the_brain)),
        trial("story::demo_finds_the_attack", || with_root(story::demo_finds_the_attack)),
        trial("restart::brain_killed_mid_attack", || with_root(restart::brain_killed_mid_attack)),
        trial("guard::unit_is_strict", guard::unit_is_strict),
        trial("guard::worker_has_no_privilege", || {
            guard::with_programs(guard::worker_has_no_privilege)
        }),
        trial("guard::killed_in_a_storm", || guard::with_programs(guard::killed_in_a_storm)),
        trial("guard::loader_killed_in_a_storm", || {
            guard::with_programs(guard::loader_killed_in_a_storm)
        }),
        trial("guard::stopped_and_told_to_end", || {
            guard::with_programs(guard::stopped_and_told_to_end)
        }),
        trial("guard::settings_in_a_storm", || guard::with_programs(guard::settings_in_a_storm)),
        trial("limits::little_memory", limits::little_memory),
        trial("limits::little_processor_time", limits::little_time),
        trial("limits::the_disk_fails", limits::disk_fails),
        trial("limits::the_brain_is_away", limits::brain_away),
        trial("limits::the_clock_is_set", limits::clock::clock_is_set),
        trial("limits::soak", limits::soak),
        trial("pod::runs_as_its_manifest_says", pod::runs_as_its_manifest_says),
        trial("runtime::rows_are_found_and_twins_are_not", || {
            with_root(runtime::rows_are_found_and_twins_are_not)
        }),
        trial("scan::rules_find_what_runs", || guard::with_programs(scan::rules_find_what_runs)),
        trial("chaos::every_event_arrives_once_or_is_counted", || {
            with_root(chaos::every_event_arrives_once_or_is_counted)
        }),
        trial("clean::after_interrupt", || with_root(clean::after_interrupt)),
        trial("clean::after_kill_and_next_run", || with_root(clean::after_kill_and_next_run)),
    ];
    libtest_mimic::run(&arguments, Vec::from(trials) as Vec<Trial>).exit_code()
}

/// Runs a trial that needs root, or says that it cannot.
fn with_root(run: fn() -> anyhow::Result<()>) -> anyhow::Result<libtest_mimic::Completion> {
    if let Some(reason) = skip::without_root() {
        return Ok(libtest_mimic::Completion::ignored_with(reason));
    }
    run().map(|()| libtest_mimic::Completion::Completed)
}
