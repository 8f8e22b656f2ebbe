//! Files, memory, privileges, io_uring, and what is done often.

use wire::record::{
    Activity, CredentialChange, Credentials, File, Memory, Privilege, ProcessRef, Scan, Uring,
    file_action, file_flag, memory_action, privilege_action, scan_trigger,
};

use super::{Builder, HASH_BYTES, MS};
use crate::policy::sample::scenario::Step;
use crate::record::open_flag;

/// Length of a sensor's tick, in which acts are counted.
const TICK_NS: u64 = 1_000 * MS;

/// Makes a table of constants by their names, in the small letters that samples use.
macro_rules! names {
    ($module:ident: $($text:literal $name:ident),* $(,)?) => {
        &[$(($text, $module::$name)),*]
    };
}

pub(super) use names;

const FILE: &[(&str, u8)] = names![file_action:
    "open_write" OPEN_WRITE, "create" CREATE, "open_read" OPEN_READ, "rename" RENAME, "link" LINK,
    "symlink" SYMLINK, "unlink" UNLINK, "mode" MODE, "owner" OWNER, "truncate" TRUNCATE,
    "connect" CONNECT, "map_code" MAP_CODE,
];
const MEMORY: &[(&str, u8)] = names![memory_action:
    "trace_me" TRACE_ME, "attach" ATTACH, "poke" POKE, "set_registers" SET_REGISTERS,
    "peek" PEEK, "vm_read" VM_READ, "vm_write" VM_WRITE, "proc_mem_open" PROC_MEM_OPEN,
    "proc_mem_write" PROC_MEM_WRITE, "memory_file" MEMORY_FILE, "write_to_exec" WRITE_TO_EXEC,
    "map_write_exec" MAP_WRITE_EXEC, "stream_socket" STREAM_SOCKET, "resume" RESUME,
];
const PRIVILEGE: &[(&str, u8)] = names![privilege_action:
    "module_loaded" MODULE_LOADED, "module_removed" MODULE_REMOVED, "credentials" CREDENTIALS,
    "capabilities" CAPABILITIES, "bpf_program" BPF_PROGRAM, "bpf_map" BPF_MAP,
    "bpf_attach" BPF_ATTACH, "bpf_other" BPF_OTHER, "mount" MOUNT, "unmount" UNMOUNT,
    "root" ROOT, "namespace_entered" NAMESPACE_ENTERED, "namespace_created" NAMESPACE_CREATED,
    "userfaultfd" USERFAULTFD, "release_agent" RELEASE_AGENT, "uring_setup" URING_SETUP,
];

const SCAN: &[(&str, u8)] = names![scan_trigger:
    "executed" EXECUTED, "script" SCRIPT, "written" WRITTEN,
];
/// Every scanned file of a scenario has the same content, as hexadecimal digits of its hash.
const HASH_OF_A_FILE: &str = "5a";

pub(super) fn action(step: &Step, table: &[(&str, u8)]) -> Result<u8, String> {
    let wanted = step.action.as_deref().ok_or("an event of this kind needs an `action`")?;
    table.iter().find(|(name, _)| *name == wanted).map(|(_, number)| *number).ok_or_else(|| {
        let known: Vec<&str> = table.iter().map(|(name, _)| *name).collect();
        format!("action `{wanted}` is not one of {}", known.join(", "))
    })
}

impl Builder {
    fn other(&self, step: &Step) -> Result<ProcessRef, String> {
        step.of.as_deref().map_or(Ok(ProcessRef(0)), |name| self.process(name))
    }

    pub(super) fn scan(&mut self, step: &Step, process: ProcessRef) -> Result<(), String> {
        let trigger = match step.action.as_deref() {
            None => scan_trigger::EXECUTED,
            Some(_) => action(step, SCAN)?,
        };
        let (path, rule) = (self.string(&step.path)?, self.string(&step.rule)?);
        let sha256 = self.hash(&HASH_OF_A_FILE.repeat(HASH_BYTES))?;
        let meta = self.ended(step.meta.iter().map(String::as_str))?;
        let (time_ns, none) = (self.now_ns, Scan::default());
        let scan = Scan { time_ns, process, trigger, path, rule, sha256, meta, ..none };
        self.batch.scans.push(scan);
        Ok(())
    }

    pub(super) fn module(&mut self, step: &Step, process: ProcessRef) -> Result<(), String> {
        let name = self.string(&step.target)?;
        self.batch.privileges.push(Privilege {
            time_ns: self.now_ns,
            process,
            action: privilege_action::MODULE_LOADED,
            name,
            count: 1,
            ..Privilege::default()
        });
        Ok(())
    }

    pub(super) fn file(&mut self, step: &Step, process: ProcessRef) -> Result<(), String> {
        let mode = match &step.mode {
            None => 0,
            Some(digits) => u32::from_str_radix(digits, 8)
                .map_err(|_| format!("mode `{digits}` is not octal"))?,
        };
        let (path, target) = (self.string(&step.path)?, self.string(&step.target)?);
        self.batch.files.push(File {
            time_ns: self.now_ns,
            process,
            action: action(step, FILE)?,
            flags: if step.upper_layer { file_flag::UPPER_LAYER } else { 0 },
            open_flags: open_flags(&step.open)?,
            mode,
            uid: step.owner.map_or(0, |uid| uid.saturating_add(1)),
            error: step.error,
            path,
            target,
            ..File::default()
        });
        Ok(())
    }

    pub(super) fn memory(&mut self, step: &Step, process: ProcessRef) -> Result<(), String> {
        let (target, name) = (self.other(step)?, self.string(&step.name)?);
        self.batch.memory.push(Memory {
            time_ns: self.now_ns,
            process,
            target,
            action: action(step, MEMORY)?,
            argument: step.argument,
            length: step.length,
            count: step.count.unwrap_or(1),
            error: step.error,
            name,
            ..Memory::default()
        });
        Ok(())
    }

    pub(super) fn privilege(&mut self, step: &Step, process: ProcessRef) -> Result<(), String> {
        let target = self.other(step)?;
        let [name, source, type_name] =
            [&step.name, &step.source, &step.type_name].map(|text| self.string(text));
        let credentials = match (step.before, step.after) {
            (Some(before), Some(after)) => {
                Some(CredentialChange { before: identity(before), after: identity(after) })
            }
            (None, None) => None,
            _ => return Err("credentials need `before` and `after`".to_owned()),
        };
        self.batch.privileges.push(Privilege {
            time_ns: self.now_ns,
            process,
            target,
            action: action(step, PRIVILEGE)?,
            argument: step.argument,
            kind: step.kind,
            count: step.count.unwrap_or(1),
            error: step.error,
            credentials,
            name: name?,
            source: source?,
            type_name: type_name?,
            ..Privilege::default()
        });
        Ok(())
    }

    pub(super) fn uring(&mut self, step: &Step, process: ProcessRef) -> Result<(), String> {
        let (time_ns, count) = (self.now_ns, step.count.unwrap_or(1));
        self.batch.urings.push(Uring { time_ns, process, opcode: step.opcode, count });
        Ok(())
    }

    pub(super) fn activity(&mut self, step: &Step, process: ProcessRef) -> Result<(), String> {
        self.batch.activities.push(Activity {
            time_ns: self.now_ns,
            process,
            window_ns: TICK_NS,
            forks: step.forks,
            write_opens: step.write_opens,
            creates: step.creates,
            renames: step.renames,
            unlinks: step.unlinks,
            attribute_changes: step.attribute_changes,
            ..Activity::default()
        });
        Ok(())
    }
}

/// `open`'s flags by their names; a file that is written to is opened for nothing else.
fn open_flags(names: &[String]) -> Result<u32, String> {
    names.iter().try_fold(open_flag::WRITE_ONLY, |flags, name| match name.as_str() {
        "truncate" => Ok(flags | open_flag::TRUNCATE),
        "append" => Ok(flags | open_flag::APPEND),
        other => Err(format!("`{other}` is not truncate or append")),
    })
}

/// Real and effective user id, and effective capabilities.
fn identity([uid, euid, effective]: [u64; 3]) -> Credentials {
    let (uid, euid) = (uid as u32, euid as u32);
    Credentials { uid, euid, suid: euid, effective, permitted: effective, ..Credentials::default() }
}
