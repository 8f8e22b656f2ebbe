//! Trials against a running kernel: programs load, attach and report what happened.
//!
//! The same trials run on the developer's kernel and as the first program of a guest, where little
//! more than `/proc` and `/sys` is mounted; whatever a kernel or a machine lacks is a skip that
//! says so, never a pass.

use libtest_mimic::Trial;

pub mod files;
pub mod load;
pub mod logins;
pub mod memory;
pub mod namespaces;
pub mod packets;
pub mod payload;
pub mod privilege;
pub mod processes;
pub mod records;
pub mod signals;
pub mod tamper;
pub mod uring;
pub mod uses;
pub mod verifier;

mod acts;
mod child;
mod group;
mod ia32;
mod netns;
mod overlay;
mod talk;
mod traffic;
mod watch;

/// Every kernel trial.
pub fn trials() -> Vec<Trial> {
    let modules = [
        load::trials(),
        logins::trials(),
        packets::trials(),
        payload::trials(),
        records::trials(),
        namespaces::trials(),
        uses::trials(),
        verifier::trials(),
        memory::trials(),
        privilege::trials(),
        uring::trials(),
        signals::trials(),
        processes::trials(),
        files::trials(),
        tamper::trials(),
    ];
    modules.into_iter().flatten().collect()
}

/// Says why no program can be loaded here, if so.
pub fn unavailable() -> Option<&'static str> {
    watch::unavailable()
}
