//! Reads a descriptor into memory, within bounds.

use std::fs::File;
use std::io::Read;

use scanner_abi::message::Outcome;

/// Bytes by which the buffer grows: a file that lies about its size costs no more than it has.
const CHUNK: usize = 1024 * 1024;

/// Reads a plain file of at most `size_max` bytes into `buffer`, from its begin. It is not mapped:
/// whoever can write it could cut it meanwhile, which would end this process.
pub fn read(file: &File, size_max: u64, buffer: &mut Vec<u8>) -> Result<(), Outcome> {
    buffer.clear();
    let metadata = file.metadata().map_err(|_| Outcome::Unreadable)?;
    if !metadata.is_file() {
        return Err(Outcome::Unreadable);
    }
    if metadata.len() > size_max {
        return Err(Outcome::TooLarge);
    }
    let mut rest = file.take(size_max.saturating_add(1));
    loop {
        let before = buffer.len();
        buffer.resize(before + CHUNK, 0);
        let read = rest.read(&mut buffer[before..]).map_err(|_| Outcome::Unreadable);
        buffer.truncate(before + *read.as_ref().unwrap_or(&0));
        match read? {
            0 => return Ok(()),
            _ if buffer.len() as u64 > size_max => return Err(Outcome::TooLarge),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_file_is_read_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        fs::write(&path, vec![7; CHUNK + 5]).unwrap();
        let file = File::open(&path).unwrap();
        let mut buffer = vec![1, 2, 3];
        assert_eq!(read(&file, CHUNK as u64 + 5, &mut buffer), Ok(()));
        assert_eq!((buffer.len(), buffer[0]), (CHUNK + 5, 7));
        assert_eq!(read(&file, CHUNK as u64 + 4, &mut buffer), Err(Outcome::TooLarge));
        let sparse = File::create(folder.path().join("sparse")).unwrap();
        sparse.set_len(1 << 30).unwrap();
        assert_eq!(read(&sparse, 1 << 25, &mut buffer), Err(Outcome::TooLarge));
        assert!(buffer.is_empty());
    }

    #[test]
    fn what_is_no_plain_file_is_not_read() {
        let mut buffer = Vec::new();
        // The kernel says that it is empty, and it never ends.
        let endless = File::open("/dev/zero").unwrap();
        assert_eq!(read(&endless, 100, &mut buffer), Err(Outcome::Unreadable));
        let folder = File::open("/").unwrap();
        assert_eq!(read(&folder, 100, &mut buffer), Err(Outcome::Unreadable));
    }
}
