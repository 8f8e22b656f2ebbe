//! Programs and maps that others load into the kernel.

use sensor_abi::{
    act::{flag, privilege as action},
    record::privilege::{PRIVILEGE_NAME_LEN, Privilege},
};

use super::{blank, is_told, tell};
use crate::{
    act,
    call::{Call, on_call},
    kernel::{field, read_user},
    scope,
    task::{self, Process},
};

/// Commands of bpf(2) that change something. All others look up or count, some very often.
mod command {
    pub const MAP_CREATE: u32 = 0;
    pub const PROG_LOAD: u32 = 5;
    pub const OBJ_PIN: u32 = 6;
    pub const PROG_ATTACH: u32 = 8;
    pub const PROG_DETACH: u32 = 9;
    pub const RAW_TRACEPOINT_OPEN: u32 = 17;
    pub const LINK_CREATE: u32 = 28;
    pub const LINK_UPDATE: u32 = 29;
    pub const LINK_DETACH: u32 = 34;
}

/// Length of names of programs and maps, with NUL.
const NAME_LEN: usize = 16;
/// Where `union bpf_attr` has the name of a program, and that of a map.
const PROGRAM_NAME: u64 = 48;
const MAP_NAME: u64 = 28;

on_call! {
    /// match-proto: bpf(int cmd, union bpf_attr __user *uattr, unsigned int size)
    bpf, bpf_returned => try_bpf;
}

#[inline(always)]
fn try_bpf(call: &Call) {
    let command = call.arg(0) as u32;
    let action = match command {
        command::MAP_CREATE => action::BPF_MAP,
        command::PROG_LOAD => action::BPF_PROGRAM,
        command::PROG_ATTACH | command::RAW_TRACEPOINT_OPEN | command::LINK_CREATE => {
            action::BPF_ATTACH
        }
        command::PROG_DETACH | command::LINK_UPDATE | command::LINK_DETACH | command::OBJ_PIN => {
            action::BPF_OTHER
        }
        _ => return,
    };
    if !scope::task() {
        return;
    }
    let mut act = blank(action, &Process::NONE, call.result, call.flags);
    act.argument = u64::from(command);
    let (kind, name) = subject(call, action);
    act.kind = kind;
    if call.error() != 0 {
        act.flags |= flag::RACY;
    }
    let mut record = Privilege { act, name: [0; PRIVILEGE_NAME_LEN] };
    for (to, from) in record.name.iter_mut().zip(name) {
        *to = from;
    }
    if is_told(&record.act, 0) {
        tell(&record);
    }
}

/// Type and name of a program or map: the kernel's own, or what the process passed for one that was
/// refused.
#[inline(always)]
fn subject(call: &Call, action: u32) -> (u32, [u8; NAME_LEN]) {
    let attributes = call.arg(1);
    if call.error() != 0 {
        let name = if action == action::BPF_PROGRAM { PROGRAM_NAME } else { MAP_NAME };
        return match action {
            action::BPF_PROGRAM | action::BPF_MAP => {
                (read_user(attributes), read_user(attributes.wrapping_add(name)))
            }
            _ => (0, [0; NAME_LEN]),
        };
    }
    let object = field!(task::file(call.result as u32), file_private_data => u64);
    match action {
        action::BPF_PROGRAM => {
            let auxiliary = field!(object, bpf_prog_aux => u64);
            let name = field!(auxiliary, bpf_prog_name => [u8; NAME_LEN]);
            (field!(object, bpf_prog_type => u32), name)
        }
        action::BPF_MAP => {
            (field!(object, bpf_map_type => u32), field!(object, bpf_map_name => [u8; NAME_LEN]))
        }
        _ => (0, [0; NAME_LEN]),
    }
}
