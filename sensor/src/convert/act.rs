//! Acts on memory and with privileges → their records.

use sensor_abi::act::{self as abi_act, ActKey};
use sensor_abi::record::Stdio;
use sensor_abi::record::memory as abi_memory;
use sensor_abi::record::privilege::{self as abi_privilege, Identity};
use wire::record::{
    Address, CredentialChange, Credentials, Memory, Privilege, Uring, memory_flag,
    privilege_action, privilege_flag,
};

use super::until_nul;
use crate::clock::ClockPair;
use crate::ledger::Signal;
use crate::observation::{Record, Text};
use crate::process::Key;

/// What the kernel puts before a memory file's name.
const MEMORY_FILE: &[u8] = b"memfd:";
/// `MAX_ERRNO`.
const ERRNO_MAX: i64 = 4095;

/// Both borders number acts alike, each from its own start.
const PRIVILEGE_BASE: u32 = abi_act::privilege::CREDENTIALS - privilege_action::CREDENTIALS as u32;

/// An act that was counted in a tick.
#[derive(Debug)]
pub struct Counted {
    /// Who did it.
    pub process: Key,
    /// To whom.
    pub target: Option<Key>,
    /// In whose ledger it counts.
    pub signal: Signal,
    /// What.
    pub record: Record,
}

/// Converts an act on memory; `None` for one that this build does not know.
pub fn memory(record: &abi_memory::Memory, clock: ClockPair) -> Option<(Record, Option<Key>)> {
    let action = memory_action_of(record.action)?;
    let name = until_nul(&record.name);
    let Stdio { remote_addr, remote_port, .. } = record.stream;
    let memory = Memory {
        time_ns: clock.unix(record.header.time_ns),
        action,
        flags: flags(record.flags, MEMORY_FLAGS),
        argument: record.argument,
        address: record.address,
        length: record.length,
        count: 1,
        error: error(record.result),
        remote: Address(remote_addr),
        remote_port,
        name: Text::from(name.strip_prefix(MEMORY_FILE).unwrap_or(name)),
        ..Memory::default()
    };
    Some((Record::Memory(memory), key(record.target_tgid, record.target_start_ns)))
}

/// Converts an act with a privilege; `None` for one that this build does not know.
pub fn privilege(
    record: &abi_privilege::Privilege,
    clock: ClockPair,
) -> Option<(Record, Option<Key>)> {
    let (mut privilege, target) = common(&record.act, clock)?;
    privilege.name = Text::from(until_nul(&record.name));
    Some((Record::Privilege(privilege), target))
}

/// Converts a mount, its end, or a change of the root.
pub fn mount(record: &abi_privilege::Mount, clock: ClockPair) -> Option<(Record, Option<Key>)> {
    let (mut privilege, target) = common(&record.act, clock)?;
    privilege.name = Text::from(until_nul(&record.name));
    privilege.source = Text::from(until_nul(&record.source));
    privilege.type_name = Text::from(until_nul(&record.type_name));
    Some((Record::Privilege(privilege), target))
}

/// Converts a change of credentials.
pub fn credentials(
    record: &abi_privilege::Credentials,
    clock: ClockPair,
) -> Option<(Record, Option<Key>)> {
    let (mut privilege, target) = common(&record.act, clock)?;
    if record.before.known == 0 {
        privilege.flags |= privilege_flag::BEFORE_UNKNOWN;
    }
    let [before, after] = [&record.before, &record.after].map(identity);
    privilege.credentials = Some(CredentialChange { before, after });
    Some((Record::Privilege(privilege), target))
}

fn common(act: &abi_privilege::Act, clock: ClockPair) -> Option<(Privilege<Text>, Option<Key>)> {
    let privilege = Privilege {
        time_ns: clock.unix(act.header.time_ns),
        action: privilege_action_of(act.action)?,
        flags: flags(act.flags, PRIVILEGE_FLAGS),
        argument: act.argument,
        kind: act.kind,
        count: 1,
        error: error(act.result),
        ..Privilege::default()
    };
    Some((privilege, key(act.target_tgid, act.target_start_ns)))
}

const fn identity(identity: &Identity) -> Credentials {
    Credentials {
        uid: identity.uid,
        euid: identity.euid,
        suid: identity.suid,
        gid: identity.gid,
        egid: identity.egid,
        effective: identity.effective,
        permitted: identity.permitted,
    }
}

/// Converts what was counted; `None` for nothing, or an act that this build does not know.
pub fn counted(key: &ActKey, count: u64, time_ns: u64) -> Option<Counted> {
    if count == 0 {
        return None;
    }
    let (signal, record) = match key.action {
        abi_act::URING => {
            let opcode = key.code as u8;
            let uring = Uring { time_ns, opcode, count, ..Uring::default() };
            (Signal::Uring, Record::Uring(uring))
        }
        action if action <= abi_act::memory::LAST => {
            (Signal::Memory, Record::Memory(counted_memory(key, count, time_ns)?))
        }
        action => {
            let action = privilege_action_of(action)?;
            let flags = privilege_flag::RESULT_UNKNOWN;
            let kind = key.code >> 1;
            let privilege =
                Privilege { time_ns, action, kind, flags, count, ..Privilege::default() };
            (Signal::Privilege, Record::Privilege(privilege))
        }
    };
    Some(Counted {
        process: Key::new(key.tgid, key.start_ns),
        target: self::key(key.target_tgid, key.target_start_ns),
        signal,
        record,
    })
}

/// The code tells how the call ended, or which descriptor it was, or what is not known of it.
fn counted_memory(key: &ActKey, count: u64, time_ns: u64) -> Option<Memory<Text>> {
    let action = memory_action_of(key.action)?;
    let mut memory = Memory { time_ns, action, count, ..Memory::default() };
    match key.action {
        abi_act::memory::WRITE_TO_EXEC | abi_act::memory::MAP_WRITE_EXEC => {
            memory.flags = flags(key.code, MEMORY_FLAGS);
        }
        abi_act::memory::STREAM_SOCKET => memory.argument = key.code.into(),
        abi_act::memory::PROC_MEM_OPEN | abi_act::memory::PROC_MEM_WRITE => {}
        _ => memory.error = key.code,
    }
    Some(memory)
}

fn memory_action_of(action: u32) -> Option<u8> {
    (1..=abi_act::memory::LAST).contains(&action).then_some(action as u8)
}

fn privilege_action_of(action: u32) -> Option<u8> {
    (abi_act::privilege::FIRST..=abi_act::privilege::LAST)
        .contains(&action)
        .then(|| (action - PRIVILEGE_BASE) as u8)
}

fn key(tgid: u32, start_ns: u64) -> Option<Key> {
    (tgid != 0).then(|| Key::new(tgid, start_ns))
}

fn error(result: i64) -> u32 {
    if (-ERRNO_MAX..0).contains(&result) { (-result) as u32 } else { 0 }
}

const MEMORY_FLAGS: &[(u32, u32)] = &[
    (abi_act::flag::RACY, memory_flag::RACY),
    (abi_act::flag::RESULT_UNKNOWN, memory_flag::RESULT_UNKNOWN),
    (abi_act::flag::COMPAT, memory_flag::COMPAT),
    (abi_act::flag::TRUNCATED, memory_flag::TRUNCATED),
];
const PRIVILEGE_FLAGS: &[(u32, u32)] = &[
    (abi_act::flag::RACY, privilege_flag::RACY),
    (abi_act::flag::RESULT_UNKNOWN, privilege_flag::RESULT_UNKNOWN),
    (abi_act::flag::COMPAT, privilege_flag::COMPAT),
    (abi_act::flag::ONE_THREAD, privilege_flag::ONE_THREAD),
    (abi_act::flag::TRUNCATED, privilege_flag::TRUNCATED),
];

fn flags(set: u32, names: &[(u32, u32)]) -> u32 {
    names.iter().filter(|(bit, _)| set & bit != 0).fold(0, |all, (_, flag)| all | flag)
}

#[cfg(test)]
mod tests {
    use sensor_abi::act::{memory as m, privilege as p};
    use wire::record::memory_action;
    use zerocopy::FromZeros as _;

    use super::*;

    const CLOCK: ClockPair = ClockPair { boot_ns: 0, unix_ns: 0 };

    #[test]
    fn both_borders_number_acts_alike() {
        let memory = [
            (m::TRACE_ME, memory_action::TRACE_ME),
            (m::ATTACH, memory_action::ATTACH),
            (m::POKE, memory_action::POKE),
            (m::SET_REGISTERS, memory_action::SET_REGISTERS),
            (m::PEEK, memory_action::PEEK),
            (m::VM_READ, memory_action::VM_READ),
            (m::VM_WRITE, memory_action::VM_WRITE),
            (m::PROC_MEM_OPEN, memory_action::PROC_MEM_OPEN),
            (m::PROC_MEM_WRITE, memory_action::PROC_MEM_WRITE),
            (m::MEMORY_FILE, memory_action::MEMORY_FILE),
            (m::WRITE_TO_EXEC, memory_action::WRITE_TO_EXEC),
            (m::MAP_WRITE_EXEC, memory_action::MAP_WRITE_EXEC),
            (m::STREAM_SOCKET, memory_action::STREAM_SOCKET),
            (m::RESUME, memory_action::RESUME),
        ];
        assert_eq!(memory.len() as u32, m::LAST);
        for (abi, wire) in memory {
            assert_eq!(memory_action_of(abi), Some(wire));
        }
        let privilege = [
            (p::CREDENTIALS, privilege_action::CREDENTIALS),
            (p::BPF_PROGRAM, privilege_action::BPF_PROGRAM),
            (p::BPF_MAP, privilege_action::BPF_MAP),
            (p::BPF_ATTACH, privilege_action::BPF_ATTACH),
            (p::BPF_OTHER, privilege_action::BPF_OTHER),
            (p::MOUNT, privilege_action::MOUNT),
            (p::UNMOUNT, privilege_action::UNMOUNT),
            (p::ROOT, privilege_action::ROOT),
            (p::NAMESPACE_ENTERED, privilege_action::NAMESPACE_ENTERED),
            (p::NAMESPACE_CREATED, privilege_action::NAMESPACE_CREATED),
            (p::USERFAULTFD, privilege_action::USERFAULTFD),
            (p::RELEASE_AGENT, privilege_action::RELEASE_AGENT),
            (p::URING_SETUP, privilege_action::URING_SETUP),
            (p::MODULE_REMOVED, privilege_action::MODULE_REMOVED),
        ];
        for (abi, wire) in privilege {
            assert_eq!(privilege_action_of(abi), Some(wire));
        }
        assert_eq!(privilege_action_of(p::LAST + 1), None);
        assert_eq!(memory_action_of(m::LAST + 1), None);
    }

    #[test]
    fn a_memory_file_loses_the_kernels_prefix_and_a_failure_keeps_its_number() {
        let mut record = abi_memory::Memory::new_zeroed();
        record.action = m::MEMORY_FILE;
        record.name[..9].copy_from_slice(b"memfd:x\0z");
        record.result = -13;
        record.target_tgid = 7;
        let Some((Record::Memory(memory), target)) = memory(&record, CLOCK) else {
            panic!("a memory record");
        };
        assert_eq!((&*memory.name, memory.error), (&b"x"[..], 13));
        assert_eq!(target, Some(Key::new(7, 0)));
    }

    #[test]
    fn counts_of_nothing_and_of_unknown_acts_are_no_records() {
        let key = ActKey { action: m::PEEK, tgid: 1, ..ActKey::default() };
        assert!(counted(&key, 0, 0).is_none());
        let Some(Counted { record: Record::Memory(peek), target: None, .. }) = counted(&key, 5, 0)
        else {
            panic!("a count");
        };
        assert_eq!((peek.action, peek.count), (memory_action::PEEK, 5));
        assert!(counted(&ActKey { action: 9_999, ..key }, 1, 0).is_none());
        let uring = counted(&ActKey { action: abi_act::URING, code: 23, ..key }, 2, 0);
        assert!(matches!(uring, Some(Counted { record: Record::Uring(u), .. }) if u.opcode == 23));
    }

    #[test]
    fn credentials_that_nobody_knew_say_so() {
        let mut record = abi_privilege::Credentials::new_zeroed();
        record.act.action = p::CREDENTIALS;
        record.after = Identity { uid: 5, known: 1, ..Identity::default() };
        let Some((Record::Privilege(change), _)) = credentials(&record, CLOCK) else {
            panic!("a change");
        };
        assert_eq!(change.flags, privilege_flag::BEFORE_UNKNOWN);
        assert_eq!(change.credentials.map(|change| change.after.uid), Some(5));
    }
}
