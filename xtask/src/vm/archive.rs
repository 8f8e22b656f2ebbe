//! The archive that a kernel unpacks as its first file system: cpio, in its `newc` form.
//!
//! Written here, so that nobody needs root or one more program to make one.

use std::collections::BTreeSet;

const FOLDER: u32 = 0o040_755;
const LINK: u32 = 0o120_777;
const PROGRAM: u32 = 0o100_755;

/// An archive in memory.
#[derive(Debug, Default)]
pub struct Archive {
    bytes: Vec<u8>,
    names: BTreeSet<String>,
}

impl Archive {
    /// Adds a folder, and those above it.
    pub fn folder(&mut self, name: &str) {
        self.parent(name);
        self.entry(name, FOLDER, &[]);
    }

    /// Adds a file that may be executed.
    pub fn file(&mut self, name: &str, content: &[u8]) {
        self.parent(name);
        self.entry(name, PROGRAM, content);
    }

    /// Adds a symbolic link.
    pub fn link(&mut self, name: &str, target: &str) {
        self.parent(name);
        self.entry(name, LINK, target.as_bytes());
    }

    /// Whether something of this name was added.
    pub fn contains(&self, name: &str) -> bool {
        self.names.contains(name)
    }

    /// Ends the archive.
    pub fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, &[]);
        self.bytes
    }

    fn parent(&mut self, name: &str) {
        if let Some((parent, _)) = name.rsplit_once('/') {
            self.folder(parent);
        }
    }

    /// Appends an entry; the first one of a name stays.
    fn entry(&mut self, name: &str, mode: u32, content: &[u8]) {
        if !self.names.insert(name.to_owned()) {
            return;
        }
        let inode = self.names.len();
        let (size, name_size) = (content.len(), name.len() + 1);
        // Magic, inode, mode, owner, group, links, time, size, two device numbers, two more of
        // devices, length of the name, checksum.
        let header = format!(
            "070701{inode:08x}{mode:08x}{0:08x}{0:08x}{1:08x}{0:08x}{size:08x}\
             {0:08x}{0:08x}{0:08x}{0:08x}{name_size:08x}{0:08x}",
            0, 1
        );
        self.bytes.extend_from_slice(header.as_bytes());
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.align();
        self.bytes.extend_from_slice(content);
        self.align();
    }

    fn align(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_come_before_what_is_in_them() {
        let mut archive = Archive::default();
        archive.file("usr/bin/tool", b"12345");
        let bytes = archive.finish();
        let place = |name: &[u8]| {
            bytes.windows(name.len()).position(|window| window == name).expect("an entry")
        };
        assert!(place(b"usr\0") < place(b"usr/bin\0"));
        assert!(place(b"usr/bin\0") < place(b"usr/bin/tool\0"));
        assert_eq!(place(b"12345") % 4, 0);
        assert_eq!(bytes.len() % 4, 0);
    }

    #[test]
    fn a_header_has_the_form_that_the_kernel_reads() {
        let mut archive = Archive::default();
        archive.link("a", "b");
        let header = "070701000000010000a1ff000000000000000000000001000000000000000100000000\
                      0000000000000000000000000000000200000000a\0";
        assert!(archive.finish().starts_with(header.as_bytes()));
    }

    #[test]
    fn a_name_is_written_once() {
        let mut archive = Archive::default();
        archive.file("a", b"first");
        let length = archive.bytes.len();
        archive.link("a", "second");
        assert_eq!(archive.bytes.len(), length);
    }
}
