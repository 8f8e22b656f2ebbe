//! Programs that run when single system calls have ended.

use aya::{
    Ebpf,
    maps::{MapError, ProgramArray},
    programs::{KProbe, ProgramError, RawTracePoint},
};
use nix::libc::{self, c_long};
use sensor_abi::call;
use tracing::debug;

use super::attach::typed;

/// The program behind which the others wait, and the tracepoint that it sits on.
const FIRST: &str = "call";
const ENDED: &str = "sys_exit";
/// The table of the programs that wait.
const TABLE: &str = "CALLS";

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
    "dup" SYS_dup [41],
    "dup3" SYS_dup3 [330],
    "fcntl" SYS_fcntl [55, 221],
    "fsmount" SYS_fsmount [432],
    "fsopen" SYS_fsopen [430],
    "memfd_create" SYS_memfd_create [356],
    "mmap" SYS_mmap [192],
    "mount" SYS_mount [21],
    "move_mount" SYS_move_mount [429],
    "mprotect" SYS_mprotect [125],
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
    "setfsgid" SYS_setfsgid [139, 216],
    "setfsuid" SYS_setfsuid [138, 215],
    "setgid" SYS_setgid [46, 214],
    "setns" SYS_setns [346],
    "setregid" SYS_setregid [71, 204],
    "setresgid" SYS_setresgid [170, 210],
    "setresuid" SYS_setresuid [164, 208],
    "setreuid" SYS_setreuid [70, 203],
    "setuid" SYS_setuid [23, 213],
    "umount" SYS_umount2 [52],
    "unshare" SYS_unshare [310],
    "userfaultfd" SYS_userfaultfd [374],
    "write" SYS_write [4],
    "writev" SYS_writev [146],
};

/// Calls that newer architectures lack.
#[cfg(target_arch = "x86_64")]
const OLD_NUMBERS: &[Number] = numbers! {
    "creat" SYS_creat [8],
    "dup2" SYS_dup2 [63],
    "open" SYS_open [5],
};
#[cfg(not(target_arch = "x86_64"))]
const OLD_NUMBERS: &[Number] = &[];

/// Lets `program` wait for the end of `calls`, which it must know by name.
pub(super) fn attach(
    programs: &mut Ebpf,
    program: &str,
    calls: &[&str],
) -> Result<(), ProgramError> {
    let waits: &mut RawTracePoint = typed(programs, program)?;
    waits.load()?;
    let waits = waits.fd()?.try_clone().map_err(ProgramError::IOError)?;
    let table = programs.map_mut(TABLE).ok_or(ProgramError::NotLoaded)?;
    let mut table = ProgramArray::try_from(table)?;
    let set = |slot| table.set(slot, &waits, 0);
    slots(calls).try_for_each(set).map_err(|error: MapError| ProgramError::MapError(error))?;
    let first: &mut RawTracePoint = typed(programs, FIRST)?;
    match first.load() {
        // Another call's program needed it before; it is attached.
        Err(ProgramError::AlreadyLoaded) => Ok(()),
        loaded => loaded.and_then(|()| first.attach(ENDED).map(drop)),
    }
}

/// Places of the calls in the table, for every convention that the architecture has.
fn slots<'a>(calls: &'a [&str]) -> impl Iterator<Item = u32> + 'a {
    let wanted = |number: &&Number| calls.contains(&number.name);
    NUMBERS.iter().chain(OLD_NUMBERS).filter(wanted).flat_map(|number| {
        let ia32: &[u32] = if cfg!(target_arch = "x86_64") { number.ia32 } else { &[] };
        let native = number.native as u32;
        [native].into_iter().chain(ia32.iter().map(|number| call::IA32 + number))
    })
}

/// Attaches to the return of the functions of `calls`. Those for native callers must be there.
pub(super) fn attach_returns(
    programs: &mut Ebpf,
    program: &str,
    calls: &[&str],
) -> Result<(), ProgramError> {
    let program: &mut KProbe = typed(programs, program)?;
    program.load()?;
    for call in calls {
        program.attach(format!("{NATIVE}{call}"), 0)?;
        for prefix in IA32 {
            let function = format!("{prefix}{call}");
            if let Err(error) = program.attach(&function, 0) {
                debug!(function, %error, "32-bit callers have no function of their own");
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_waits_in_a_place_for_each_convention() {
        let places: Vec<u32> = slots(&["ptrace", "setuid"]).collect();
        let ptrace = libc::SYS_ptrace as u32;
        assert!(places.contains(&ptrace) && places.contains(&(libc::SYS_setuid as u32)));
        let old = places.iter().filter(|place| **place >= call::IA32).count();
        assert_eq!(old, if cfg!(target_arch = "x86_64") { 3 } else { 0 });
    }

    #[test]
    fn names_and_places_are_unique_and_inside_the_table() {
        let all: Vec<&str> = NUMBERS.iter().chain(OLD_NUMBERS).map(|number| number.name).collect();
        let mut places: Vec<u32> = slots(&all).collect();
        places.sort_unstable();
        let count = places.len();
        places.dedup();
        assert_eq!(places.len(), count);
        assert!(places.iter().all(|place| (*place as usize) < call::SLOTS));
    }
}
