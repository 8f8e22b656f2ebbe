//! libFuzzer around one target, which the environment names.
//!
//! Its options are libFuzzer's own; `cargo xtask fuzz` sets them.

#![no_main]

use std::env;
use std::sync::OnceLock;

use fuzz::target::{self, Target};
use libfuzzer_sys::fuzz_target;

/// Names the target.
const TARGET: &str = "SAKURAMORI_FUZZ_TARGET";

fn chosen() -> &'static Target {
    static CHOSEN: OnceLock<&'static Target> = OnceLock::new();
    CHOSEN.get_or_init(|| {
        let name = env::var(TARGET).unwrap_or_default();
        target::named(&name).unwrap_or_else(|| panic!("{TARGET} names no target: {name:?}"))
    })
}

fuzz_target!(|data: &[u8]| chosen().run(data));
