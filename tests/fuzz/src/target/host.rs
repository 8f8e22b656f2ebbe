//! What is read of the host: `/proc`, accounts, packages, sockets, the kernel's types.

use std::io::BufReader;

use sensor::btf::Btf;
use sensor::inventory::{Item, host, package};
use sensor::{procfs, sockets, user};

use super::{KIB, MIB, Target, choice};

pub(super) const TARGET: Target = Target {
    name: "host",
    what: "texts of /proc and /etc, databases of packages, the kernel's type information",
    input_max: 4 * KIB,
    memory_max: 4 * MIB,
    control: false,
    check,
    seeds,
};

/// TCP's number, and the ports that a kernel picks for clients.
const TCP: u8 = 6;
const UDP: u8 = 17;
const PICKED: (u16, u16) = (32_768, 60_999);

fn check(input: &[u8]) {
    let Some((choice, text)) = choice(input, 12) else { return };
    match choice {
        0 => packages(text, package::dpkg),
        1 => packages(text, package::apk),
        2 => packages(text, package::rpm),
        3 => items(&host::users(text), text),
        4 => items(&host::groups(text), text),
        5 => items(&host::system(text), text),
        6 => {
            for protocol in ["tcp", "udp"] {
                let lines = text.split(|&b| b == b'\n').count();
                assert!(host::listeners(protocol, text).len() <= lines);
            }
        }
        7 => process(text),
        8 => {
            let names = user::parse(text);
            assert!(names.values().all(|name| !name.contains(&b':') && !name.contains(&b'\n')));
        }
        9 => {
            for line in String::from_utf8_lossy(text).lines() {
                for protocol in [TCP, UDP] {
                    let _any = sockets::line(line, protocol, PICKED);
                }
            }
        }
        10 => drop(host::kernel(text, text)),
        _ => types(text),
    }
}

type Reader = fn(&mut dyn std::io::BufRead, &mut dyn FnMut(Item)) -> Result<(), std::io::Error>;

/// However the file comes in pieces, it says the same.
fn packages(text: &[u8], reader: Reader) {
    let read = |capacity| {
        let mut found = Vec::new();
        let mut file = BufReader::with_capacity(capacity, text);
        reader(&mut file, &mut |item| found.push(item)).expect("memory can be read");
        found
    };
    let whole = read(8 * KIB);
    items(&whole, text);
    assert_eq!(read(3), whole);
}

fn items(found: &[Item], text: &[u8]) {
    assert!(found.iter().all(|item| !item.name.is_empty() || text.contains(&b'=')));
    assert!(found.iter().all(|item| item.name.len() + item.version.len() <= text.len()));
}

/// `stat`, then `status` behind a NUL.
fn process(text: &[u8]) {
    let (stat, status) = match text.iter().position(|&b| b == 0) {
        Some(at) => (&text[..at], &text[at + 1..]),
        None => (text, &b""[..]),
    };
    let Some(seen) = procfs::parse(stat, status) else { return };
    assert!(seen.comm.len() <= stat.len());
    // The name is the process's own choice, and decides nothing else.
    let renamed = [b"7 (x) y (", &seen.comm[..], b") ", behind(stat)].concat();
    if let Some(again) = procfs::parse(&renamed, status) {
        assert_eq!((again.parent_pid, again.start_ns), (seen.parent_pid, seen.start_ns));
        assert_eq!((again.uid, again.pid), (seen.uid, 7));
    }
}

/// What stands behind the name.
fn behind(stat: &[u8]) -> &[u8] {
    let close = stat.iter().rposition(|&b| b == b')').map_or(stat.len(), |at| at + 1);
    &stat[close..]
}

fn types(bytes: &[u8]) {
    let Ok(types) = Btf::parse(bytes) else { return };
    for (name, path) in [("task_struct", "mm.exe_file"), ("a", "b"), ("file", "f_path.dentry")] {
        let _any = types.offset(name, path);
        let _any = types.tracepoint_arguments(name);
    }
    if let Ok(module) = Btf::parse_module(bytes, &types) {
        let _any = module.offset("a", "b.c");
    }
}

/// A type file with two structures that hold each other.
fn type_file() -> Vec<u8> {
    let mut types = Vec::new();
    for word in [1_u32, 4 << 24 | 1, 8, 3, 2, 0, 3, 4 << 24 | 1, 8, 1, 1, 32] {
        types.extend(word.to_le_bytes());
    }
    let strings = b"\0a\0b\0";
    let mut file = vec![0x9f, 0xeb, 1, 0];
    let length = types.len() as u32;
    for word in [24, 0, length, length, strings.len() as u32] {
        file.extend(u32::to_le_bytes(word));
    }
    [&file[..], &types, strings].concat()
}

fn seeds() -> Vec<Vec<u8>> {
    let texts: [&[u8]; 11] = [
        b"Package: bash\nStatus: install ok installed\nArchitecture: amd64\nVersion: 5.2\n\n\
          Package: gone\nStatus: deinstall ok config-files\n\n",
        b"C:Q1abc=\nP:musl\nV:1.2.5-r0\nA:x86_64\n\nP:busybox\nV:1.36-r1\n",
        b"bash\t5.1.8-9.el9\tx86_64\ngpg-pubkey\t1-2\t(none)\n",
        b"root:x:0:0:root:/root:/bin/sh\nopen::1000:1000::/:/bin/sh\n",
        b"sudo:x:27:ana,bob\n",
        b"ID=debian\nVERSION_ID=\"12\"\nPRETTY_NAME=\"Debian 12\"\n",
        b"  sl local_address rem_address st\n   0: 0100007F:0016 00000000:0000 0A 0:0 0:0 0 0 0 1\n",
        b"42 (a) b) S 1 42 42 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 999 1 2\0Uid:\t0\t0\t0\t0\n",
        b"root:x:0:0:root:/root:/bin/sh\nana:x:1000:1000::/home/ana:/bin/sh\n",
        b"1: 0100007F:0016 0200007F:9C40 01 00000000:00000000 00:0 0 0 0 4242 1\n",
        b"6.1.0-1-amd64\n",
    ];
    let texts = texts.iter().zip(0..).map(|(text, choice)| [&[choice], *text].concat());
    texts.chain([[&[11], &type_file()[..]].concat()]).collect()
}
