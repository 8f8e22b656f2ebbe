//! Which half of a pair of tables the programs write, and when the other may be read.

use std::sync::{Arc, Mutex, PoisonError};

use aya::maps::{Array, MapData};
use nix::libc;
use tracing::error;

/// `MEMBARRIER_CMD_QUERY`: tells which barriers the kernel offers.
const MEMBARRIER_QUERY: libc::c_int = 0;
/// `MEMBARRIER_CMD_GLOBAL`: returns after a grace period of RCU, under which the programs run.
const MEMBARRIER_GLOBAL: libc::c_int = 1;

/// The array that says which table is written, shared by all pairs.
pub(in crate::drain) type Generation = Arc<Mutex<Array<MapData, u32>>>;

/// The generation of the pairs that are switched together.
pub(in crate::drain) struct Turn {
    generation: Generation,
    /// Which entry of `generation` is theirs.
    slot: u32,
    /// The generation that the programs write now.
    written: u32,
    /// Whether the kernel offers to wait for running programs.
    barrier: bool,
}

impl Turn {
    /// Goes on with the half that is written now: the programs may have been counting for long.
    pub(in crate::drain) fn new(generation: Generation, slot: u32) -> Self {
        let read = generation.lock().unwrap_or_else(PoisonError::into_inner).get(&slot, 0);
        let written = read.unwrap_or(0) & 1;
        Self { generation, slot, written, barrier: offers_grace_period() }
    }

    /// Lets the programs write the other half, and calls `read` with the half that none of them
    /// writes any more.
    pub(in crate::drain) fn over(&mut self, read: impl FnOnce(u32)) {
        let full = self.written;
        if !self.barrier {
            // Kernels with isolated CPUs have no barrier. The other table has been left alone since
            // the last call, so no program can still be busy with it; what it holds comes one call
            // later than it could.
            read(full ^ 1);
            let _logged = self.flip();
        } else if self.flip().is_ok() && grace_period() {
            read(full);
        }
    }

    fn flip(&mut self) -> Result<(), ()> {
        let next = self.written ^ 1;
        let mut generation = self.generation.lock().unwrap_or_else(PoisonError::into_inner);
        generation.set(self.slot, next, 0).map_err(|error| {
            error!(%error, "the counting tables cannot be switched");
        })?;
        self.written = next;
        Ok(())
    }
}

fn offers_grace_period() -> bool {
    // SAFETY: the call takes numbers only.
    let offered = unsafe { libc::syscall(libc::SYS_membarrier, MEMBARRIER_QUERY, 0, 0) };
    offered > 0 && offered & libc::c_long::from(MEMBARRIER_GLOBAL) != 0
}

/// Waits until every program that ran when this was called has ended. When it fails, which it does
/// not where it is offered, the full table waits for the next but one call.
fn grace_period() -> bool {
    // SAFETY: the call takes numbers only.
    unsafe { libc::syscall(libc::SYS_membarrier, MEMBARRIER_GLOBAL, 0, 0) == 0 }
}
