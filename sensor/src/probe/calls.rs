//! Programs that run when single system calls have ended.

use aya::{
    Ebpf,
    maps::ProgramArray,
    programs::{KProbe, ProgramError, RawTracePoint},
};
use nix::libc::{self, c_long};
use sensor_abi::{call, tuning::CALL_WORDS};
use tracing::debug;

use super::{
    attach::{is_loaded, typed},
    table,
    way::Way,
};

/// The program behind which the others wait, and the tracepoint that it sits on.
pub(super) const FIRST: &str = "call";
const ENDED: &str = "sys_exit";

/// The tables of programs that wait: those of the first run before those of the second.
#[derive(Clone, Copy, Debug)]
pub(super) enum Table {
    First,
    Next,
}

impl Table {
    const fn name(self) -> &'static str {
        match self {
            Self::First => "CALLS",
            Self::Next => "NEXT_CALLS",
        }
    }
}

const X86: bool = cfg!(target_arch = "x86_64");

/// What the kernel's functions for system calls are called.
#[cfg(target_arch = "x86_64")]
const NATIVE: &str = "__x64_sys_";
#[cfg(target_arch = "aarch64")]
const NATIVE: &str = "__arm64_sys_";
/// The same for 32-bit callers on x86-64; a kernel has one of them for each call, or both.
const IA32: [&str; 2] = ["__ia32_sys_", "__ia32_compat_sys_"];

/// A system call's numbers.
struct Number {
    name: &'static str,
    native: c_long,
    /// By the 32-bit convention of x86, whose older calls have several numbers for one thing.
    ia32: &'static [u32],
}

macro_rules! numbers {
    ($($name:literal $native:ident $ia32:expr,)*) => {
        &[$(Number { name: $name, native: libc::$native, ia32: &$ia32 },)*]
    };
}

const NUMBERS: &[Number] = numbers! {
    "bpf" SYS_bpf [357],
    "capset" SYS_capset [185],
    "chroot" SYS_chroot [61],
    "connect" SYS_connect [362],
    "dup" SYS_dup [41],
    "dup3" SYS_dup3 [330],
    "fchmod" SYS_fchmod [94],
    "fchmodat" SYS_fchmodat [306],
    "fchmodat2" SYS_fchmodat2 [452],
    "fchown" SYS_fchown [95, 207],
    "fchownat" SYS_fchownat [298],
    "fcntl" SYS_fcntl [55, 221],
    "fsmount" SYS_fsmount [432],
    "fsopen" SYS_fsopen [430],
    "ftruncate" SYS_ftruncate [93, 194],
    "linkat" SYS_linkat [303],
    "memfd_create" SYS_memfd_create [356],
    "mmap" SYS_mmap [192],
    "mount" SYS_mount [21],
    "move_mount" SYS_move_mount [429],
    "mprotect" SYS_mprotect [125],
    "open_by_handle_at" SYS_open_by_handle_at [342],
    "open_tree" SYS_open_tree [428],
    "openat" SYS_openat [295],
    "openat2" SYS_openat2 [437],
    "pivot_root" SYS_pivot_root [217],
    "pkey_mprotect" SYS_pkey_mprotect [380],
    "process_vm_readv" SYS_process_vm_readv [347],
    "process_vm_writev" SYS_process_vm_writev [348],
    "ptrace" SYS_ptrace [26],
    "pwrite64" SYS_pwrite64 [181],
    "pwritev" SYS_pwritev [334],
    "pwritev2" SYS_pwritev2 [379],
    "renameat" SYS_renameat [302],
    "renameat2" SYS_renameat2 [353],
    "setfsgid" SYS_setfsgid [139, 216],
    "setfsuid" SYS_setfsuid [138, 215],
    "setgid" SYS_setgid [46, 214],
    "setns" SYS_setns [346],
    "setregid" SYS_setregid [71, 204],
    "setresgid" SYS_setresgid [170, 210],
    "setresuid" SYS_setresuid [164, 208],
    "setreuid" SYS_setreuid [70, 203],
    "setuid" SYS_setuid [23, 213],
    "symlinkat" SYS_symlinkat [304],
    "truncate" SYS_truncate [92, 193],
    "umount" SYS_umount2 [52],
    "unlinkat" SYS_unlinkat [301],
    "unshare" SYS_unshare [310],
    "userfaultfd" SYS_userfaultfd [374],
    "write" SYS_write [4],
    "writev" SYS_writev [146],
};

/// Calls that newer architectures lack.
#[cfg(target_arch = "x86_64")]
const OLD_NUMBERS: &[Number] = numbers! {
    "chmod" SYS_chmod [15],
    "chown" SYS_chown [182, 212],
    "creat" SYS_creat [8],
    "dup2" SYS_dup2 [63],
    "lchown" SYS_lchown [16, 198],
    "link" SYS_link [9],
    "open" SYS_open [5],
    "rename" SYS_rename [38],
    "rmdir" SYS_rmdir [40],
    "symlink" SYS_symlink [83],
    "unlink" SYS_unlink [10],
};
#[cfg(not(target_arch = "x86_64"))]
const OLD_NUMBERS: &[Number] = &[];

/// The x32 convention numbers a few calls anew, in the same part of the table.
const X32: &[(&str, u32)] = &[
    ("process_vm_readv", 539),
    ("process_vm_writev", 540),
    ("ptrace", 521),
    ("pwritev", 535),
    ("pwritev2", 547),
    ("writev", 516),
];

/// Lets a loaded program wait for the end of a call.
pub(super) fn wait(
    programs: &mut Ebpf,
    table: Table,
    program: &str,
    call: &str,
) -> Result<(), ProgramError> {
    let waits: &mut RawTracePoint = typed(programs, program)?;
    let waits = waits.fd()?.try_clone()?;
    let table = programs.map_mut(table.name()).ok_or(ProgramError::NotLoaded)?;
    let mut table: ProgramArray<_> = table.try_into()?;
    slots(call).try_for_each(|slot| table.set(slot, &waits, 0))?;
    let first: &mut RawTracePoint = typed(programs, FIRST)?;
    match first.load() {
        // Another call's program needed it before; it is attached.
        Err(ProgramError::AlreadyLoaded) => Ok(()),
        loaded => loaded.and_then(|()| first.attach(ENDED).map(drop)),
    }
}

/// Takes a call's program away.
pub(super) fn forget(programs: &mut Ebpf, table: Table, call: &str) {
    let table = programs.map_mut(table.name()).map(ProgramArray::try_from);
    let Some(Ok(mut table)) = table else { return };
    for slot in slots(call) {
        // Nothing is there when the call was never waited for.
        let _ = table.clear_index(&slot);
    }
}

/// Returns which calls a program waits for, a bit for each number, and lets go of the program
/// on the path of all calls when there is none.
pub(super) fn awaited(programs: &mut Ebpf) -> [u64; CALL_WORDS] {
    let mut numbers = [0; CALL_WORDS];
    for way in table::hooks().flat_map(|hook| hook.ways) {
        way.parts(&mut |part| {
            if let Way::Call { call, .. } | Way::NextCall { call, .. } = part
                && is_loaded(programs, part)
            {
                let places = slots(call).map(|slot| slot % call::NUMBERS);
                places.for_each(|number| numbers[number as usize / 64] |= 1 << (number % 64));
            }
        });
    }
    if numbers == [0; CALL_WORDS]
        && let Ok(first) = typed::<RawTracePoint>(programs, FIRST)
        && first.fd().is_ok()
        && let Err(error) = first.unload()
    {
        debug!(%error, "the program at the end of all calls stays");
    }
    numbers
}

/// Places of a call in the table, for every convention that the architecture has.
pub(super) fn slots(call: &str) -> impl Iterator<Item = u32> {
    let number = NUMBERS.iter().chain(OLD_NUMBERS).find(|number| number.name == call);
    number.into_iter().flat_map(|number| {
        let x32 = X32.iter().filter(|(name, _)| X86 && *name == number.name);
        let ia32 = number.ia32.iter().filter(|_| X86).map(|number| call::IA32 + number);
        [number.native as u32].into_iter().chain(x32.map(|(_, number)| *number)).chain(ia32)
    })
}

/// Attaches a loaded program to the return of a call's functions. The one for native callers must
/// be there, unless the architecture lacks the call.
pub(super) fn attach(programs: &mut Ebpf, program: &str, call: &str) -> Result<(), ProgramError> {
    let program: &mut KProbe = typed(programs, program)?;
    if slots(call).next().is_some() {
        program.attach(format!("{NATIVE}{call}"), 0)?;
    }
    for prefix in IA32 {
        let function = format!("{prefix}{call}");
        if let Err(error) = program.attach(&function, 0) {
            debug!(function, %error, "32-bit callers have no function of their own");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_waits_in_a_place_for_each_convention() {
        let places: Vec<u32> = slots("setuid").chain(slots("ptrace")).collect();
        assert!(places.contains(&(libc::SYS_ptrace as u32)));
        assert!(places.contains(&(libc::SYS_setuid as u32)));
        assert_eq!(places.len(), if cfg!(target_arch = "x86_64") { 6 } else { 2 });
    }

    #[test]
    fn names_and_places_are_unique_and_inside_the_table() {
        let names = NUMBERS.iter().chain(OLD_NUMBERS).map(|number| number.name);
        let mut places: Vec<u32> = names.flat_map(slots).collect();
        places.sort_unstable();
        let count = places.len();
        places.dedup();
        assert_eq!(places.len(), count);
        assert!(places.iter().all(|place| (*place as usize) < call::SLOTS));
    }

    #[test]
    fn every_call_of_the_table_has_numbers() {
        let known = |call: &str| slots(call).next().is_some() || is_foreign(call);
        for way in table::hooks().flat_map(|hook| hook.ways) {
            way.parts(&mut |part| {
                if let Way::Call { call, .. }
                | Way::NextCall { call, .. }
                | Way::Return { call, .. } = part
                {
                    assert!(known(call), "{call} has no number");
                }
            });
        }
    }

    /// Calls that this architecture lacks; `fcntl64` is for 32-bit callers alone.
    fn is_foreign(call: &str) -> bool {
        call == "fcntl64" || !X86 && ["creat", "dup2", "open"].contains(&call)
    }
}
