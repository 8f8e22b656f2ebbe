//! Installed packages, as the databases of dpkg and apk list them, and as `rpm` does.

use std::io::{self, BufRead};

use super::Item;

/// Bytes of a line that are read; descriptions and file lists may be longer.
const LINE_MAX: usize = 4096;

/// Reads dpkg's status file: paragraphs of `Name: value`, empty lines between them.
pub fn dpkg(file: &mut dyn BufRead, on: &mut dyn FnMut(Item)) -> io::Result<()> {
    let mut package = Item::default();
    let mut installed = false;
    each_line(file, &mut |line| {
        if line.is_empty() {
            let done = std::mem::take(&mut package);
            if std::mem::take(&mut installed) && !done.name.is_empty() {
                on(done);
            }
            return;
        }
        let field = |name: &[u8]| line.strip_prefix(name).map(|value| value.trim_ascii());
        if let Some(name) = field(b"Package:") {
            package.name = name.to_vec();
        } else if let Some(version) = field(b"Version:") {
            package.version = version.to_vec();
        } else if let Some(architecture) = field(b"Architecture:") {
            package.detail = architecture.to_vec();
        } else if let Some(status) = field(b"Status:") {
            installed = status.ends_with(b" installed");
        }
    })
}

/// Reads apk's database: paragraphs of `X:value`.
pub fn apk(file: &mut dyn BufRead, on: &mut dyn FnMut(Item)) -> io::Result<()> {
    let mut package = Item::default();
    each_line(file, &mut |line| match line {
        [] => {
            let done = std::mem::take(&mut package);
            if !done.name.is_empty() {
                on(done);
            }
        }
        [b'P', b':', name @ ..] => package.name = name.to_vec(),
        [b'V', b':', version @ ..] => package.version = version.to_vec(),
        [b'A', b':', architecture @ ..] => package.detail = architecture.to_vec(),
        _ => {}
    })
}

/// Reads what rpm prints: name, version and architecture, divided by tabs.
pub fn rpm(file: &mut dyn BufRead, on: &mut dyn FnMut(Item)) -> io::Result<()> {
    each_line(file, &mut |line| {
        let mut fields = line.split(|&b| b == b'\t').map(<[u8]>::to_vec);
        let (Some(name), Some(version)) = (fields.next(), fields.next()) else { return };
        // Keys that the database holds beside packages; their "version" is an id.
        if !name.is_empty() && name != b"gpg-pubkey" {
            on(Item { name, version, detail: fields.next().unwrap_or_default() });
        }
    })
}

/// Hands on each line without its end, cut to [`LINE_MAX`], and an empty one at the end.
pub fn each_line(file: &mut dyn BufRead, on: &mut dyn FnMut(&[u8])) -> io::Result<()> {
    let mut line = Vec::new();
    loop {
        let (used, ended) = {
            let available = match file.fill_buf() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                available => available?,
            };
            let end = available.iter().position(|&b| b == b'\n');
            let part = &available[..end.unwrap_or(available.len())];
            let room = LINE_MAX.saturating_sub(line.len());
            line.extend_from_slice(&part[..part.len().min(room)]);
            (part.len() + usize::from(end.is_some()), end.is_some() || available.is_empty())
        };
        if ended {
            on(line.strip_suffix(b"\r").unwrap_or(&line));
            line.clear();
        }
        if used == 0 {
            on(b"");
            return Ok(());
        }
        file.consume(used);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Reader = fn(&mut dyn BufRead, &mut dyn FnMut(Item)) -> io::Result<()>;

    fn read(text: &[u8], reader: Reader) -> Vec<String> {
        let mut items = Vec::new();
        let mut file = io::BufReader::with_capacity(7, text);
        reader(&mut file, &mut |item| {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            items.push(format!(
                "{} {} {}",
                text(&item.name),
                text(&item.version),
                text(&item.detail)
            ));
        })
        .unwrap();
        items
    }

    #[test]
    fn dpkg_lists_what_is_installed() {
        let text = b"Package: bash\nStatus: install ok installed\nArchitecture: amd64\n\
            Version: 5.2.15-2\nDescription: shell\n Package: not this\n\n\
            Package: gone\nStatus: deinstall ok config-files\nVersion: 1\n\n\
            Package: held\nStatus: hold ok installed\nVersion: 2:1.0\nArchitecture: all";
        assert_eq!(read(text, dpkg), ["bash 5.2.15-2 amd64", "held 2:1.0 all"]);
    }

    #[test]
    fn apk_and_rpm_too() {
        let text = b"C:Q1abc=\nP:musl\nV:1.2.5-r0\nA:x86_64\nF:lib\n\nP:busybox\nV:1.36-r1\n";
        assert_eq!(read(text, apk), ["musl 1.2.5-r0 x86_64", "busybox 1.36-r1 "]);
        let text = b"bash\t5.1.8-9.el9\tx86_64\ngpg-pubkey\t1-2\t(none)\nvim\t2:8.2-1\tx86_64\n";
        assert_eq!(read(text, rpm), ["bash 5.1.8-9.el9 x86_64", "vim 2:8.2-1 x86_64"]);
    }

    proptest! {
        #[test]
        fn any_bytes_are_safe(text in proptest::collection::vec(any::<u8>(), 0..300)) {
            for reader in [dpkg, apk, rpm] {
                let mut file = io::BufReader::with_capacity(5, &text[..]);
                reader(&mut file, &mut |_| {}).unwrap();
            }
        }

        #[test]
        fn lines_are_the_same_in_any_pieces(
            text in "[a-c\n]{0,60}", capacity in 1_usize..20,
        ) {
            let mut lines = Vec::new();
            let mut file = io::BufReader::with_capacity(capacity, text.as_bytes());
            each_line(&mut file, &mut |line| lines.push(line.to_vec())).unwrap();
            let split = text.as_bytes().split(|&b| b == b'\n');
            let mut wanted: Vec<Vec<u8>> = split.map(<[u8]>::to_vec).collect();
            wanted.push(Vec::new());
            prop_assert_eq!(lines, wanted);
        }
    }
}
