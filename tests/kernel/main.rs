//! The kernel trials as a program of their own: they need root, or a whole kernel in a guest.

use std::process::ExitCode;

use libtest_mimic::Arguments;

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // Trials attach to namespaces and cgroups of one kernel; side by side they would see each
    // other.
    arguments.test_threads.get_or_insert(1);
    libtest_mimic::run(&arguments, tests::kernel::trials()).exit_code()
}
