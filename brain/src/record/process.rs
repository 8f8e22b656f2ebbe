//! A process and the ancestors that led to it.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use wire::batch::Batch;
use wire::limits::LINEAGE_MAX;
use wire::record::process_flag;

use crate::text;

use super::string;

/// Names a process for good on its host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProcessKey {
    /// Process id in the root namespace.
    pub pid: u32,
    /// When it started, nanoseconds since the Unix epoch.
    pub start_ns: u64,
}

/// A process as a record saw it. Strings are bytes as the host gave them; the methods that return
/// `String` make them safe to show.
#[derive(Clone, Default)]
pub struct Process {
    /// What names it.
    pub key: ProcessKey,
    /// Its parent, where known.
    pub parent: Option<Arc<Process>>,
    /// Ancestors that `parent` leads to.
    depth: u32,
    /// Path of the executable.
    pub exe: Bytes,
    /// Task name.
    pub comm: Bytes,
    /// Arguments, each ended by NUL.
    pub args: Bytes,
    /// Real user id.
    pub uid: u32,
    /// Effective user id.
    pub euid: u32,
    /// Group id.
    pub gid: u32,
    /// User name of `uid`, empty when not known.
    pub user: Bytes,
    /// Path of the cgroup.
    pub cgroup: Bytes,
    /// Container id, empty outside containers.
    pub container: Bytes,
    /// Bits of [`process_flag`].
    pub flags: u32,
    /// User id with which its session logged in, when it did.
    pub login_uid: Option<u32>,
    /// Audit session id.
    pub session: Option<u32>,
    /// Effective capabilities, one bit each.
    pub capabilities: u64,
    /// Inode number of the executable.
    pub exe_inode: u64,
    /// Device of the executable's file system.
    pub exe_dev: u32,
    /// Process id inside its own namespace; 0 when it is the same or not known.
    pub namespace_pid: u32,
    /// Inode numbers of its namespaces, 0 where not known.
    pub namespaces: Namespaces,
    /// Kubernetes namespace and pod, or the pod's uid.
    pub pod: Bytes,
    /// SHA-256 of the executable, empty when not known.
    pub sha256: Bytes,
    /// Working directory when it was executed.
    pub cwd: Bytes,
    /// Path of the script that the executable interprets.
    pub script: Bytes,
    /// Watched environment variables, `NAME=value`, each ended by NUL.
    pub env: Bytes,
    /// Terminal.
    pub tty: Bytes,
}

/// The namespaces of a process, by inode number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Namespaces {
    /// Process ids.
    pub pid: u32,
    /// Mounts.
    pub mount: u32,
    /// Network.
    pub network: u32,
    /// Users.
    pub user: u32,
}

/// Mark that the kernel puts behind the path of a file without a name.
const DELETED: &[u8] = b" (deleted)";

impl Process {
    /// Returns whether any of `flags` is set.
    pub fn has(&self, flags: u32) -> bool {
        self.flags & flags != 0
    }

    /// Returns the executable's path without the mark of a deleted file.
    pub fn exe_path(&self) -> &[u8] {
        self.exe.strip_suffix(DELETED).unwrap_or(&self.exe)
    }

    /// Returns the last part of the executable's path.
    pub fn exe_name(&self) -> &[u8] {
        self.exe_path().rsplit(|&byte| byte == b'/').next().unwrap_or(b"")
    }

    /// Returns the arguments one by one, the program's own name first.
    pub fn arguments(&self) -> impl Iterator<Item = &[u8]> {
        let args = self.args.strip_suffix(b"\0").unwrap_or(&self.args);
        let count = if args.is_empty() { 0 } else { usize::MAX };
        args.split(|&byte| byte == 0).take(count)
    }

    /// Returns the arguments joined by spaces. Nothing is quoted, as Sigma's `CommandLine` expects.
    pub fn command_line_bytes(&self) -> Vec<u8> {
        let args = self.args.strip_suffix(b"\0").unwrap_or(&self.args);
        args.iter().map(|&byte| if byte == 0 { b' ' } else { byte }).collect()
    }

    /// Returns the executable's path, safe to show.
    pub fn executable(&self) -> String {
        text::visible(&self.exe)
    }

    /// Returns the command line, safe to show.
    pub fn command_line(&self) -> String {
        text::visible(&self.command_line_bytes())
    }

    /// Returns a short name, safe to show: the executable's, else the task's.
    pub fn name(&self) -> String {
        let name = self.exe_name();
        text::visible(if name.is_empty() { &self.comm } else { name })
    }

    /// Returns the ancestors, the nearest first, at most [`LINEAGE_MAX`].
    pub fn lineage(&self) -> impl Iterator<Item = &Arc<Process>> {
        std::iter::successors(self.parent.as_ref(), |process| process.parent.as_ref())
            .take(LINEAGE_MAX)
    }

    /// Returns the names of the flags that are set.
    pub fn flag_names(&self) -> Vec<&'static str> {
        const NAMES: [(u32, &str); 11] = [
            (process_flag::ARGS_TRUNCATED, "args_truncated"),
            (process_flag::ARGS_UNKNOWN, "args_unknown"),
            (process_flag::EXE_UNKNOWN, "exe_unknown"),
            (process_flag::SEEDED, "seeded"),
            (process_flag::MEMFD, "memfd"),
            (process_flag::UNLINKED, "unlinked"),
            (process_flag::UPPER_LAYER, "upper_layer"),
            (process_flag::ENV_TRUNCATED, "env_truncated"),
            (process_flag::CWD_UNKNOWN, "cwd_unknown"),
            (process_flag::HASH_PENDING, "hash_pending"),
            (process_flag::HASH_MISSING, "hash_missing"),
        ];
        NAMES.iter().filter(|(bit, _)| self.has(*bit)).map(|(_, name)| *name).collect()
    }

    /// Returns the process with at most [`LINEAGE_MAX`] ancestors. What is kept beyond a batch is
    /// passed through here, so that a tree built to be deep cannot hold memory.
    pub fn bounded(process: &Arc<Process>) -> Arc<Process> {
        if process.depth as usize <= LINEAGE_MAX {
            return Arc::clone(process);
        }
        let ancestors: Vec<&Arc<Process>> = process.lineage().collect();
        let mut parent = None;
        for (depth, ancestor) in ancestors.into_iter().rev().enumerate() {
            parent = Some(Arc::new(ancestor.with_parent(parent, depth as u32)));
        }
        Arc::new(process.with_parent(parent, LINEAGE_MAX as u32))
    }

    /// Returns the process below `parent`, which must have `depth` minus one ancestors.
    fn with_parent(&self, parent: Option<Arc<Process>>, depth: u32) -> Process {
        Process {
            key: self.key,
            parent,
            depth,
            exe: self.exe.clone(),
            comm: self.comm.clone(),
            args: self.args.clone(),
            uid: self.uid,
            euid: self.euid,
            gid: self.gid,
            user: self.user.clone(),
            cgroup: self.cgroup.clone(),
            container: self.container.clone(),
            flags: self.flags,
            login_uid: self.login_uid,
            session: self.session,
            capabilities: self.capabilities,
            exe_inode: self.exe_inode,
            exe_dev: self.exe_dev,
            namespace_pid: self.namespace_pid,
            namespaces: self.namespaces,
            pod: self.pod.clone(),
            sha256: self.sha256.clone(),
            cwd: self.cwd.clone(),
            script: self.script.clone(),
            env: self.env.clone(),
            tty: self.tty.clone(),
        }
    }
}

impl fmt::Debug for Process {
    /// Names the process without its ancestors, whose number only the batch bounds.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Process")
            .field("key", &self.key)
            .field("exe", &self.exe)
            .field("args", &self.args)
            .field("depth", &self.depth)
            .finish_non_exhaustive()
    }
}

impl Drop for Process {
    /// Lets go of the ancestors one by one: a batch may hold a chain of thousands, and dropping it
    /// by recursion could overflow the stack.
    fn drop(&mut self) {
        let mut next = self.parent.take();
        while let Some(parent) = next {
            next = match Arc::try_unwrap(parent) {
                Ok(mut process) => process.parent.take(),
                Err(_) => None,
            };
        }
    }
}

/// Returns the batch's processes by their index. Parents stand before children there.
pub(super) fn from_batch(batch: &Batch) -> Vec<Arc<Process>> {
    let mut processes: Vec<Arc<Process>> = Vec::with_capacity(batch.processes.len());
    for p in &batch.processes {
        let parent = p.parent.index().and_then(|index| processes.get(index)).cloned();
        let depth = parent.as_ref().map_or(0, |parent| parent.depth + 1);
        processes.push(Arc::new(Process {
            key: ProcessKey { pid: p.pid, start_ns: p.start_ns },
            parent,
            depth,
            exe: string(batch, p.exe),
            comm: string(batch, p.comm),
            args: string(batch, p.args),
            uid: p.uid,
            euid: p.euid,
            gid: p.gid,
            user: string(batch, p.user),
            cgroup: string(batch, p.cgroup),
            container: string(batch, p.container),
            flags: p.flags,
            login_uid: p.login_uid.checked_sub(1),
            session: p.session.checked_sub(1),
            capabilities: p.capabilities,
            exe_inode: p.exe_inode,
            exe_dev: p.exe_dev,
            namespace_pid: p.namespace_pid,
            namespaces: Namespaces {
                pid: p.pid_namespace,
                mount: p.mount_namespace,
                network: p.network_namespace,
                user: p.user_namespace,
            },
            pod: string(batch, p.pod),
            sha256: string(batch, p.sha256),
            cwd: string(batch, p.cwd),
            script: string(batch, p.script),
            env: string(batch, p.env),
            tty: string(batch, p.tty),
        }));
    }
    processes
}
