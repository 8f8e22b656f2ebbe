//! Every map: what it holds, how much, what happens when it is full, who writes and who reads.
//!
//! All are BTF maps, so that bpftool and veristat load the object too and dumps print field names.
//! Hash tables are preallocated: a flood then costs no allocation on the packet path and cannot
//! fail for one. The sensor scales the per-CPU ones down on machines with many CPUs.

use aya_ebpf::{
    btf_maps::{
        Array, HashMap, LpmTrie, LruHashMap, PerCpuArray, PerCpuHashMap, ProgramArray, RingBuf,
    },
    macros::btf_map,
};
use sensor_abi::{
    act::ActKey,
    activity::{ActivityCounts, ActivityKey},
    call,
    fault::Fault,
    file::{BUCKETS_MAX, FileFilter, FileInodeKey, FileNameKey, FilePrefix},
    flow::{Fill, FlowKey, FlowStats, coarse},
    loss::Loss,
    parse::{headers::Headers, payload::TLS_MAX},
    record::{
        Header,
        payload::{Payload, Repeats},
        privilege::Identity,
    },
    seen::Signal,
    sketch::{SweepKey, SweepStats},
    syscall::{SyscallKey, SyscallStats},
    usage::{USES_MAX, Use, UseKey},
};

use crate::{
    file::{
        scratch::{self, FileScratch},
        submit::Bucket,
    },
    throttle,
};

/// Flows that one drain interval may have before the rest is counted coarsely.
const FLOWS_MAX: usize = 16_384;
/// Pairs of addresses that one drain interval may have once flows are counted coarsely.
const PAIRS_MAX: usize = 4_096;
/// Pairs of prefixes, likewise.
const PREFIXES_MAX: usize = 1_024;
/// Sources of probes in one drain interval; the least recently seen are evicted.
const SWEEPS_MAX: usize = 2_048;
/// Pairs of process and system call in one drain interval. Not per CPU: the room that the times
/// take would grow with them.
const SYSCALLS_MAX: usize = 8_192;
/// Threads that send at the same time, which few do for long.
const SENDING_MAX: usize = 2_048;
/// Connections that are read at the same time.
const READ_UNTIL_MAX: usize = 8_192;
/// Pairs of datagram socket and process that were announced.
const USERS_MAX: usize = 8_192;
/// Repeated acts on memory and with privileges in one drain interval.
const ACTS_MAX: usize = 2_048;
/// Threads whose credentials changed lately.
const IDENTITIES_MAX: usize = 2_048;
/// Threads that were in a system call lately.
const TIMED_MAX: usize = 8_192;
/// Different DNS messages in one drain interval whose repetitions are only counted.
const DNS_MAX: usize = 4_096;
/// Sockets between `connect` and its result, or between `close` and its end.
const OWNERS_MAX: usize = 16_384;
/// Listening ports on the host.
const LISTENERS_MAX: usize = 4_096;
/// 2 MiB: over 350 of the longest exec records, or about 5 000 usual ones, between two polls.
const SECURITY_BYTES: usize = 2 << 20;
/// 1 MiB: about 11 000 socket records between two polls.
const PROCESS_BYTES: usize = 1 << 20;
/// 1 MiB: about 4 000 watched files between two polls.
const FILE_BYTES: usize = 1 << 20;
/// 1 MiB: about 5 000 usual DNS messages between two polls.
const PAYLOAD_BYTES: usize = 1 << 20;
/// Process groups whose exit was reported lately, on kernels that do not say which thread is last.
const REPORTED_MAX: usize = 1_024;

/// cgroups whose allowance is known. One that was evicted starts with a whole one.
const ALLOWANCES_MAX: usize = 4_096;
/// Processes that do something that is counted in one drain interval.
const ACTIVE_MAX: usize = 4_096;
/// Names that occur in the watched set.
const FILE_NAMES_MAX: usize = 2_048;
/// Files and directories that are watched whatever their path.
const FILE_INODES_MAX: usize = 8_192;
/// Prefixes of watched paths.
const FILE_PREFIXES_MAX: usize = 2_048;

/// A system call that a thread is in.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Call {
    /// When it began, nanoseconds since boot; 0 when it has ended.
    pub start_ns: u64,
    pub number: u32,
    pub reserved: u32,
}

/// The process that a socket belongs to.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Owner {
    pub start_ns: u64,
    pub cgroup_id: u64,
    /// Address of the kernel's socket, to tell listeners that share a port.
    pub sock: u64,
    pub tgid: u32,
    pub tid: u32,
    pub uid: u32,
    pub reserved: u32,
}

impl Owner {
    /// Nobody known.
    pub const NONE: Self =
        Self { start_ns: 0, cgroup_id: 0, sock: 0, tgid: 0, tid: 0, uid: 0, reserved: 0 };
}

/// Names a thread for good.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Thread {
    pub start_ns: u64,
    pub tid: u64,
}

/// How far a stream has been read.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ReadUntil {
    /// The kernel's sequence number of the next byte.
    pub sequence: u32,
    /// What the kernel hashes of the ends, since sockets follow each other at one address.
    pub hash: u32,
    pub is_known: u32,
    pub reserved: u32,
}

impl ReadUntil {
    pub const NOTHING: Self = Self { sequence: 0, hash: 0, is_known: 0, reserved: 0 };
}

/// Names a listening port.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ListenKey {
    pub netns: u32,
    pub port: u32,
}

/// Room in which one exec record is put together: the fixed part, then the others packed.
/// Larger than any record, so that masks can show the verifier a bound.
#[repr(C, align(8))]
pub struct Scratch {
    pub bytes: [u8; Scratch::SIZE],
    /// Bytes used so far.
    pub used: usize,
}

impl Scratch {
    pub const SIZE: usize = 16 * 1024;
}

/// A packet whose flow has no entry yet, and room for what is asked about it.
#[repr(C, align(8))]
pub struct Beginning {
    pub headers: Headers,
    /// A `bpf_sock_tuple`, in either of its forms.
    pub tuple: [u32; 9],
    pub sweep: SweepKey,
}

/// Room in which one payload record is put together: the fixed part, the copied bytes, and eight
/// more that are compared with them.
#[repr(C, align(8))]
pub struct PayloadScratch {
    pub bytes: [u8; Self::COPIED + Self::MASK + 1 + 8],
    /// Where the payload starts in the packet.
    pub offset: u32,
    pub reserved: u32,
}

impl PayloadScratch {
    /// Keeps an offset within the copied bytes, in a way that the verifier understands.
    pub const MASK: usize = 2 * TLS_MAX + 1;
    /// Where the copied bytes start.
    pub const COPIED: usize = size_of::<Payload>();
}

/// Slots of [`BUDGETS`].
pub mod budget {
    /// All DNS messages.
    pub const DNS: u32 = 0;
    /// All TLS clients.
    pub const TLS: u32 = 1;
    /// First of those for DNS messages between the same two ends.
    pub const EACH: u32 = 2;
    /// How many of those there are; a power of two.
    pub const EACH_COUNT: u32 = 64;
    /// All slots.
    pub const SLOTS: usize = (EACH + EACH_COUNT) as usize;
}

/// Which half of each pair is written: index 0 flows, 1 system calls, 2 uses of sockets, 3 acts, 4
/// what processes do often, 5 DNS; even or odd. The sensor flips it, waits until no program can
/// still write the other half, then reads and empties that half.
#[btf_map]
pub static GENERATION: Array<u32, 6> = Array::new();

/// Exact flows, written while the generation is even. Full: [`PAIRS_EVEN`].
#[btf_map]
pub static FLOWS_EVEN: PerCpuHashMap<FlowKey, FlowStats, FLOWS_MAX> = PerCpuHashMap::new();
/// Exact flows, written while the generation is odd.
#[btf_map]
pub static FLOWS_ODD: PerCpuHashMap<FlowKey, FlowStats, FLOWS_MAX> = PerCpuHashMap::new();
/// Flows without an entry of their own, by their addresses. Full: [`PREFIXES_EVEN`].
#[btf_map]
pub static PAIRS_EVEN: PerCpuHashMap<FlowKey, FlowStats, PAIRS_MAX> = PerCpuHashMap::new();
/// Flows without an entry of their own, by their addresses, while the generation is odd.
#[btf_map]
pub static PAIRS_ODD: PerCpuHashMap<FlowKey, FlowStats, PAIRS_MAX> = PerCpuHashMap::new();
/// Flows that found no room there either, by their prefixes. Full: [`FLOWS_COARSE`].
#[btf_map]
pub static PREFIXES_EVEN: PerCpuHashMap<FlowKey, FlowStats, PREFIXES_MAX> = PerCpuHashMap::new();
/// Flows that found no room there either, by their prefixes, while the generation is odd.
#[btf_map]
pub static PREFIXES_ODD: PerCpuHashMap<FlowKey, FlowStats, PREFIXES_MAX> = PerCpuHashMap::new();
/// Who probes what, written while the generation is even. Full: evicts, which the difference
/// between [`Fill`] and what is read tells.
#[btf_map]
pub static SWEEPS_EVEN: LruHashMap<SweepKey, SweepStats, SWEEPS_MAX> = LruHashMap::new();
/// Who probes what, written while the generation is odd.
#[btf_map]
pub static SWEEPS_ODD: LruHashMap<SweepKey, SweepStats, SWEEPS_MAX> = LruHashMap::new();
/// Packets whose flow has no entry yet, one per CPU. Only programs use it.
#[btf_map]
pub static BEGINNING: PerCpuArray<Beginning, 1> = PerCpuArray::new();
/// Entries of the tables of each generation.
#[btf_map]
pub static FILL: Array<Fill, 2> = Array::new();
/// Packets that found no room at all, by generation, family and protocol.
#[btf_map]
pub static FLOWS_COARSE: PerCpuArray<FlowStats, { 2 * coarse::SLOTS as usize }> =
    PerCpuArray::new();

/// System calls, written while the generation is even. Full: counted as a fault.
#[btf_map]
pub static SYSCALLS_EVEN: HashMap<SyscallKey, SyscallStats, SYSCALLS_MAX> = HashMap::new();
/// System calls, written while the generation is odd.
#[btf_map]
pub static SYSCALLS_ODD: HashMap<SyscallKey, SyscallStats, SYSCALLS_MAX> = HashMap::new();
/// The call that each thread is in, by its id. Only programs use it; evicts.
#[btf_map]
pub static TIMED: LruHashMap<u32, Call, TIMED_MAX> = LruHashMap::new();
/// When the current window of counting began, set by the sensor: a call that began before it is not
/// timed, since the thread may have made others meanwhile.
#[btf_map]
pub static WINDOW: Array<u64, 1> = Array::new();

/// Uses of sockets, written while the generation is even; on all CPUs together, since a socket and
/// a process rarely meet on two at once. Full: lost.
#[btf_map]
pub static USES_EVEN: HashMap<UseKey, Use, USES_MAX> = HashMap::new();
/// Uses of sockets, written while the generation is odd.
#[btf_map]
pub static USES_ODD: HashMap<UseKey, Use, USES_MAX> = HashMap::new();
/// Entries that were made in either table since load, for the sensor to see when one fills.
#[btf_map]
pub static USES_MADE: Array<u64, 1> = Array::new();
/// Sockets through which threads are sending right now. Only programs use it, and only where they
/// learn of the end of a call by a return.
#[btf_map]
pub static SENDING: HashMap<u64, u64, SENDING_MAX> = HashMap::new();
/// How far streams have been read. Only programs use it, likewise; evicts.
#[btf_map]
pub static READ_UNTIL: LruHashMap<u64, ReadUntil, READ_UNTIL_MAX> = LruHashMap::new();
/// Users of datagram sockets that the sensor was told of. Only programs use it; evicts, and then
/// tells again.
#[btf_map]
pub static USERS: LruHashMap<UseKey, u32, USERS_MAX> = LruHashMap::new();
/// Acts that repeat, written while the generation is even. Full: told one by one, or lost.
#[btf_map]
pub static ACTS_EVEN: PerCpuHashMap<ActKey, u64, ACTS_MAX> = PerCpuHashMap::new();
/// Acts that repeat, written while the generation is odd.
#[btf_map]
pub static ACTS_ODD: PerCpuHashMap<ActKey, u64, ACTS_MAX> = PerCpuHashMap::new();

/// What tells of an attack by itself: exec, module, memory and privilege records. Full: lost.
#[btf_map]
pub static SECURITY: RingBuf<Header, SECURITY_BYTES> = RingBuf::new();
/// Fork, exit and socket records: bulk that must not push out security records. Full: lost.
#[btf_map]
pub static PROCESS: RingBuf<Header, PROCESS_BYTES> = RingBuf::new();
/// Watched files and sockets. Full: lost.
#[btf_map]
pub static FILE: RingBuf<Header, FILE_BYTES> = RingBuf::new();
/// Payloads of packets, which a peer can send at will. Full: lost.
#[btf_map]
pub static PAYLOAD: RingBuf<Header, PAYLOAD_BYTES> = RingBuf::new();

/// Last known credentials of threads that changed them, where the change itself cannot be probed.
/// Only programs use it; evicts.
#[btf_map]
pub static IDENTITIES: LruHashMap<Thread, Identity, IDENTITIES_MAX> = LruHashMap::new();
/// 1 once somebody opened another process's memory file for writing. Only programs use it.
#[btf_map]
pub static MEMORY_OPENED: Array<u32, 1> = Array::new();

/// Programs of single system calls, run when one has ended; set by the sensor. Empty where they are
/// probed one by one.
#[btf_map]
pub static CALLS: ProgramArray<{ call::SLOTS }> = ProgramArray::new();
/// The same for programs on files, which run after those of [`CALLS`].
#[btf_map]
pub static NEXT_CALLS: ProgramArray<{ call::SLOTS }> = ProgramArray::new();
/// DNS messages that came again, written while the generation is even. Full: each is recorded.
#[btf_map]
pub static DNS_EVEN: PerCpuHashMap<u64, Repeats, DNS_MAX> = PerCpuHashMap::new();
/// DNS messages that came again, written while the generation is odd.
#[btf_map]
pub static DNS_ODD: PerCpuHashMap<u64, Repeats, DNS_MAX> = PerCpuHashMap::new();
/// The programs that record payloads, for the packet programs of either type to go on in. The
/// sensor fills them in.
#[btf_map]
pub static PAYLOAD_XDP: ProgramArray<1> = ProgramArray::new();
/// As [`PAYLOAD_XDP`].
#[btf_map]
pub static PAYLOAD_TC: ProgramArray<1> = ProgramArray::new();
/// How many payloads each CPU may still record. Only programs use it.
#[btf_map]
pub static BUDGETS: PerCpuArray<sensor_ebpf::bucket::Bucket, { budget::SLOTS }> =
    PerCpuArray::new();
/// Payload records under construction, one per CPU. Only programs use it.
#[btf_map]
pub static PAYLOAD_SCRATCH: PerCpuArray<PayloadScratch, 1> = PerCpuArray::new();

/// Owners of sockets that are opening or closing, by the socket's address. Only programs use it.
#[btf_map]
pub static OWNERS: HashMap<u64, Owner, OWNERS_MAX> = HashMap::new();
/// Owners of listening sockets. Only programs use it.
#[btf_map]
pub static LISTENERS: HashMap<ListenKey, Owner, LISTENERS_MAX> = HashMap::new();
/// Start time and id of process groups whose exit was reported. Only programs use it; evicts.
#[btf_map]
pub static REPORTED: LruHashMap<[u64; 2], u32, REPORTED_MAX> = LruHashMap::new();

/// Until when each cgroup has used up what it may report, by its id. Only programs use it; evicts.
#[btf_map]
pub static ALLOWANCES: LruHashMap<u64, [u64; throttle::LIMITS], ALLOWANCES_MAX> = LruHashMap::new();

/// Exec records under construction, one per CPU. Only programs use it.
#[btf_map]
pub static SCRATCH: PerCpuArray<Scratch, 1> = PerCpuArray::new();

/// What processes do often, written while the generation is even. Full: lost.
#[btf_map]
pub static ACTIVITY_EVEN: PerCpuHashMap<ActivityKey, ActivityCounts, ACTIVE_MAX> =
    PerCpuHashMap::new();
/// What processes do often, written while the generation is odd.
#[btf_map]
pub static ACTIVITY_ODD: PerCpuHashMap<ActivityKey, ActivityCounts, ACTIVE_MAX> =
    PerCpuHashMap::new();

/// Whether a name or an inode may be watched. The sensor writes it and the four tables below.
#[btf_map]
pub static FILE_FILTER: Array<FileFilter, 1> = Array::new();
/// Names that occur in the watched set, with the accesses by which they are watched.
#[btf_map]
pub static FILE_NAMES: HashMap<FileNameKey, u32, FILE_NAMES_MAX> = HashMap::new();
/// Watched inodes, likewise.
#[btf_map]
pub static FILE_INODES: HashMap<FileInodeKey, u32, FILE_INODES_MAX> = HashMap::new();
/// Watched prefixes, likewise; the value of a longer one includes those of the shorter ones.
#[btf_map]
pub static FILE_PREFIXES: LpmTrie<FilePrefix, u32, FILE_PREFIXES_MAX> = LpmTrie::new();
/// File records under construction. Only programs use it.
#[btf_map]
pub static FILE_SCRATCH: PerCpuArray<FileScratch, { scratch::SLOTS }> = PerCpuArray::new();
/// What each cgroup, and each file of a cgroup, may still report. Only programs use it; evicts.
#[btf_map]
pub static FILE_BUCKETS: LruHashMap<[u64; 2], Bucket, BUCKETS_MAX> = LruHashMap::new();

/// Totals per [`Fault`], read by the sensor.
#[btf_map]
pub static FAULTS: PerCpuArray<[u64; Fault::COUNT], 1> = PerCpuArray::new();
/// Totals per [`Loss`] and [`Signal`], read by the sensor.
#[btf_map]
pub static LOST: PerCpuArray<[u64; Loss::SLOTS], 1> = PerCpuArray::new();
/// Totals per [`Signal`], read by the sensor.
#[btf_map]
pub static SEEN: PerCpuArray<[u64; Signal::COUNT], 1> = PerCpuArray::new();
