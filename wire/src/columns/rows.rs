//! Which columns a record has. Their order is part of the protocol.

use super::Fault;
use super::ends::{self, Ends};
use super::number::{Packer, Unpacker};
use crate::record::{
    Activity, Connection, CredentialChange, Dns, DnsAnswer, Exec, Exit, File, Flow, Hook,
    Inventory, LedgerLine, Login, MapFill, Memory, Privilege, Process, ProcessRef, Scan, Stdio,
    Sweep, Syscalls, Tls, Uring, Use,
};
use crate::text::StrId;

/// Records of one kind, field by field.
pub(super) trait Rows: Clone + Default {
    fn put(rows: &[Self], to: &mut Packer);

    /// Fills records that are there already.
    fn take(rows: &mut [Self], from: &mut Unpacker) -> Result<(), Fault>;
}

/// A field that is a number.
trait Number: Copy {
    fn up(self) -> u64;
    fn down(number: u64) -> Result<Self, Fault>;
}

macro_rules! numbers {
    ($($type:ty),*) => {$(
        impl Number for $type {
            fn up(self) -> u64 {
                self.into()
            }

            fn down(number: u64) -> Result<Self, Fault> {
                number.try_into().map_err(|_| "a number is too large for its field")
            }
        }
    )*};
}
numbers!(u8, u16, u32, u64);

impl Number for StrId {
    fn up(self) -> u64 {
        self.0.into()
    }

    fn down(number: u64) -> Result<Self, Fault> {
        u32::down(number).map(Self)
    }
}

impl Number for ProcessRef {
    fn up(self) -> u64 {
        self.0.into()
    }

    fn down(number: u64) -> Result<Self, Fault> {
        u32::down(number).map(Self)
    }
}

impl Number for Option<u32> {
    fn up(self) -> u64 {
        self.map_or(0, |number| u64::from(number) + 1)
    }

    fn down(number: u64) -> Result<Self, Fault> {
        number.checked_sub(1).map(u32::down).transpose()
    }
}

/// Lists a record's columns: plain fields, fields that are told as what they are above another one
/// (`last_ns after first_ns`), `ends` for the four fields of both ends, `address`; and a module for
/// what is none of these.
macro_rules! rows {
    (
        $record:ty { $($kind:ident $($field:ident).+ $(after $base:ident)?,)* } $(and $more:ident)?
    ) => {
        impl Rows for $record {
            fn put(rows: &[Self], to: &mut Packer) {
                if rows.is_empty() {
                    return;
                }
                $(column!(put $kind rows to $($field).+ $(after $base)?);)*
                $($more::put(rows, to);)?
            }

            fn take(rows: &mut [Self], from: &mut Unpacker) -> Result<(), Fault> {
                if rows.is_empty() {
                    return Ok(());
                }
                $(column!(take $kind rows from $($field).+ $(after $base)?);)*
                $($more::take(rows, from)?;)?
                Ok(())
            }
        }
    };
}

macro_rules! column {
    (put number $rows:ident $to:ident $($field:ident).+) => {
        $to.numbers($rows.iter().map(|row| row.$($field).+.up()))
    };
    (put number $rows:ident $to:ident $($field:ident).+ after $base:ident) => {
        $to.numbers($rows.iter().map(|row| row.$($field).+.up().wrapping_sub(row.$base.up())))
    };
    (put address $rows:ident $to:ident $field:ident) => {
        ends::put_addresses($to, $rows.iter().map(|row| row.$field))
    };
    (put ends $rows:ident $to:ident $field:ident) => {{
        let places: Vec<u64> = $rows.iter().map(|row| {
            $to.ends.place(Ends {
                local: row.local,
                remote: row.remote,
                local_port: row.local_port,
                remote_port: row.remote_port,
            })
        }).collect();
        $to.numbers(places.into_iter());
    }};
    (take number $rows:ident $from:ident $($field:ident).+) => {{
        let numbers = $from.numbers($rows.len())?;
        for (row, &number) in $rows.iter_mut().zip(&numbers) {
            row.$($field).+ = Number::down(number)?;
        }
        $from.used_up(numbers);
    }};
    (take number $rows:ident $from:ident $($field:ident).+ after $base:ident) => {{
        let numbers = $from.numbers($rows.len())?;
        for (row, &number) in $rows.iter_mut().zip(&numbers) {
            row.$($field).+ = Number::down(number.wrapping_add(row.$base.up()))?;
        }
        $from.used_up(numbers);
    }};
    (take address $rows:ident $from:ident $field:ident) => {{
        let addresses = ends::take_addresses($from, $rows.len())?;
        for (row, address) in $rows.iter_mut().zip(addresses) {
            row.$field = address;
        }
    }};
    (take ends $rows:ident $from:ident $field:ident) => {{
        let places = $from.numbers($rows.len())?;
        for (row, &place) in $rows.iter_mut().zip(&places) {
            let Ends { local, remote, local_port, remote_port } = $from.ends.at(place)?;
            (row.local, row.remote) = (local, remote);
            (row.local_port, row.remote_port) = (local_port, remote_port);
        }
        $from.used_up(places);
    }};
}

rows!(Process {
    number pid, number start_ns, number parent, number uid, number euid, number gid,
    number login_uid, number session, number capabilities, number exe_inode, number exe_dev,
    number namespace_pid, number pid_namespace, number mount_namespace, number network_namespace,
    number user_namespace, number flags, number exe, number comm, number args, number user,
    number cgroup, number container, number pod, number sha256, number cwd, number script,
    number env, number tty,
});
rows!(Exec { number time_ns, number process, } and stdio);
rows!(Exit { number time_ns, number process, number code, number duration_ns, });
rows!(Flow {
    number first_ns, number last_ns after first_ns, number process, ends local, number protocol,
    number family, number vlan, number inner_vlan, number tunnel, number tunnel_id, number ifindex,
    number detail, number direction, number ingress.packets, number ingress.bytes,
    number ingress.syns, number ingress.tcp_flags, number ingress.isn, number egress.packets,
    number egress.bytes, number egress.syns, number egress.tcp_flags, number egress.isn,
});
rows!(Connection { number time_ns, number process, number event, number protocol, ends local, });
rows!(Privilege {
    number time_ns, number process, number target, number action, number flags, number argument,
    number kind, number count, number error, number name, number source, number type_name,
} and credentials);
rows!(Syscalls {
    number time_ns, number process, number number, number count, number window_ns,
} and latency);
rows!(Activity {
    number time_ns, number process, number window_ns, number forks, number write_opens,
    number creates, number renames, number unlinks, number links, number attribute_changes,
});
rows!(Use {
    number first_ns, number last_ns after first_ns, number process, number protocol,
    number direction, ends local, number sent, number received, number sends, number receives,
});
rows!(Sweep {
    number first_ns, number last_ns after first_ns, number process, address source,
    number direction, number packets, number syns, number resets, number unreachables, number odd,
    number addresses, number ports,
});
rows!(Dns {
    number time_ns, number process, number transport, number flags, number id, number query_type,
    number response_code, number count, number size, number ifindex, ends local, number name,
} and answers);
rows!(Tls {
    number time_ns, number process, number direction, number version, number ifindex, ends local,
    number count, number server_name, number ja4, number alpn,
});
rows!(File {
    number time_ns, number process, number action, number flags, number inode, number dev,
    number open_flags, number mode, number uid, number gid, number error, number path,
    number target,
});
rows!(Memory {
    number time_ns, number process, number target, number action, number flags, number argument,
    number address, number length, number count, number error, address remote, number remote_port,
    number name,
});
rows!(Uring { number time_ns, number process, number opcode, number count, });
rows!(Login {
    number time_ns, number process, number action, number flags, number count, number pid,
    address remote, number remote_port, number service, number user, number target_user,
    number method, number key, number tty, number command, number cwd, number remote_name,
    number detail, number message,
});
rows!(Inventory {
    number time_ns, number kind, number change, number name, number version, number detail,
});
rows!(Scan {
    number time_ns, number process, number trigger, number inode, number dev, number size,
    number more, number path, number sha256, number rule, number source, number revision,
    number tags, number meta,
});
rows!(Hook { number name, number attached, number reason, });
rows!(LedgerLine { number signal, number outcome, number count, });
rows!(MapFill { number name, number used, number capacity, number bytes, });

rows!(Stdio { number kind, address remote, number remote_port, number local_port, });
rows!(DnsAnswer { number kind, number ttl, number data, });
rows!(CredentialChange {
    number before.uid, number before.euid, number before.suid, number before.gid,
    number before.egid, number before.effective, number before.permitted, number after.uid,
    number after.euid, number after.suid, number after.gid, number after.egid,
    number after.effective, number after.permitted,
});

/// Three descriptors each.
mod stdio {
    use super::{Exec, Fault, Packer, Rows, Stdio, Unpacker};

    pub(super) fn put(rows: &[Exec], to: &mut Packer) {
        let ends: Vec<Stdio> = rows.iter().flat_map(|row| row.stdio).collect();
        Stdio::put(&ends, to);
    }

    pub(super) fn take(rows: &mut [Exec], from: &mut Unpacker) -> Result<(), Fault> {
        let mut ends = vec![Stdio::default(); 3 * rows.len()];
        Stdio::take(&mut ends, from)?;
        for (row, ends) in rows.iter_mut().zip(ends.chunks_exact(3)) {
            row.stdio.copy_from_slice(ends);
        }
        Ok(())
    }
}

/// Some changed, some did not.
mod credentials {
    use super::{CredentialChange, Fault, Packer, Privilege, Rows, Unpacker};

    pub(super) fn put(rows: &[Privilege], to: &mut Packer) {
        to.numbers(rows.iter().map(|row| u64::from(row.credentials.is_some())));
        let changes: Vec<CredentialChange> = rows.iter().filter_map(|r| r.credentials).collect();
        CredentialChange::put(&changes, to);
    }

    pub(super) fn take(rows: &mut [Privilege], from: &mut Unpacker) -> Result<(), Fault> {
        let there = from.numbers(rows.len())?;
        let count = there.iter().filter(|there| **there != 0).count();
        let mut changes = vec![CredentialChange::default(); count];
        CredentialChange::take(&mut changes, from)?;
        let changed = rows.iter_mut().zip(&there).filter(|(_, there)| **there != 0);
        for ((row, _), change) in changed.zip(changes) {
            row.credentials = Some(change);
        }
        from.used_up(there);
        Ok(())
    }
}

/// As many buckets as there are.
mod latency {
    use super::{Fault, Number, Packer, Syscalls, Unpacker};

    pub(super) fn put(rows: &[Syscalls], to: &mut Packer) {
        to.numbers(rows.iter().map(|row| row.latency.len() as u64));
        to.numbers(rows.iter().flat_map(|row| row.latency.iter().map(|calls| calls.up())));
    }

    pub(super) fn take(rows: &mut [Syscalls], from: &mut Unpacker) -> Result<(), Fault> {
        let (lengths, sum) = from.lengths(rows.len())?;
        let buckets = from.numbers(sum)?;
        let mut rest = &*buckets;
        for (row, &length) in rows.iter_mut().zip(&lengths) {
            let (own, others) = rest.split_at(length as usize);
            rest = others;
            row.latency = own.iter().map(|&calls| u32::down(calls)).collect::<Result<_, _>>()?;
        }
        from.used_up(lengths);
        from.used_up(buckets);
        Ok(())
    }
}

/// As many answers as there are.
mod answers {
    use super::{Dns, DnsAnswer, Fault, Packer, Rows, Unpacker};

    pub(super) fn put(rows: &[Dns], to: &mut Packer) {
        to.numbers(rows.iter().map(|row| row.answers.len() as u64));
        let answers: Vec<DnsAnswer> =
            rows.iter().flat_map(|row| row.answers.iter().cloned()).collect();
        DnsAnswer::put(&answers, to);
    }

    pub(super) fn take(rows: &mut [Dns], from: &mut Unpacker) -> Result<(), Fault> {
        let (lengths, sum) = from.lengths(rows.len())?;
        let mut answers = vec![DnsAnswer::default(); sum];
        DnsAnswer::take(&mut answers, from)?;
        let mut answers = answers.into_iter();
        for (row, &length) in rows.iter_mut().zip(&lengths) {
            row.answers = answers.by_ref().take(length as usize).collect();
        }
        from.used_up(lengths);
        Ok(())
    }
}
