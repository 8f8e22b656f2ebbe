//! Follows a log file: reads what is added, goes on with the file that takes its place, and knows
//! after a restart where it stopped.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::LINE_MAX;
use crate::host_file::{FileId, FileStamp, HostFiles};

/// Bytes read at once; also the longest line that is looked at as a whole before it is cut.
const CHUNK: usize = 64 * 1024;
/// First bytes of a file that tell it apart from another one in the same place.
const BEGINNING: usize = 64;
/// How long a file that was rotated away is still read: its writer learns of it later.
const OLD_KEPT_NS: u64 = 10_000_000_000;
/// Files that were rotated away and are not finished yet.
const OLD_MAX: usize = 4;

/// Where reading stopped, kept across restarts.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Position {
    /// Device and inode number of the file.
    pub file: (u64, u64),
    /// Bytes read.
    pub at: u64,
    /// The rest of a line that is too long comes next.
    pub skipping: bool,
    /// The file's first bytes.
    pub beginning: Vec<u8>,
}

/// A log file that is followed.
#[derive(Debug)]
pub struct Tail {
    path: PathBuf,
    now: Option<Reading>,
    old: VecDeque<(Reading, u64)>,
    /// Where an earlier start stopped, older files first; empty when there was none.
    resume: Vec<Position>,
    /// A file that appears later is read from its beginning.
    started: bool,
    /// Times that lines may be missing: the file was cut, or a rotated one could not be found.
    gaps: u64,
}

/// One file that is being read.
#[derive(Debug)]
struct Reading {
    file: File,
    id: FileId,
    /// Beginning of the first line that was not handed on.
    at: u64,
    /// Size at the last look; nothing is read again before it changes.
    size: u64,
    skipping: bool,
    beginning: Vec<u8>,
}

/// A line, and whether it is cut.
pub type OnLine<'a> = &'a mut dyn FnMut(&[u8], bool);

impl Tail {
    /// Follows a file from where an earlier start stopped, else from its present end.
    pub fn new(path: PathBuf, resume: Vec<Position>) -> Self {
        Self { path, now: None, old: VecDeque::new(), resume, started: false, gaps: 0 }
    }

    /// Returns the file's path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns how often lines may have been missed since the last call.
    pub fn take_gaps(&mut self) -> u64 {
        std::mem::take(&mut self.gaps)
    }

    /// Returns where reading is, in files that were rotated away first.
    pub fn positions(&self) -> Vec<Position> {
        let readings = self.old.iter().map(|(reading, _)| reading).chain(&self.now);
        let position = |reading: &Reading| Position {
            file: (reading.id.dev, reading.id.ino),
            at: reading.at,
            skipping: reading.skipping,
            beginning: reading.beginning.clone(),
        };
        readings.map(position).collect()
    }

    /// Hands on the lines that were added, at most `budget` bytes of them; what it used is taken
    /// off.
    pub fn poll(
        &mut self,
        files: &HostFiles,
        now_ns: u64,
        budget: &mut usize,
        on: OnLine<'_>,
    ) -> io::Result<()> {
        if !self.started {
            self.start(files, now_ns);
            self.started = true;
        }
        self.finish_old(now_ns, budget, on)?;
        if let Some(reading) = &mut self.now {
            self.gaps += u64::from(reading.was_cut()?);
            reading.lines(budget, on)?;
        }
        let Ok(stamp) = files.stamp(&self.path) else { return Ok(()) };
        if self.now.as_ref().is_some_and(|reading| reading.id == stamp.id) {
            return Ok(());
        }
        let next = Reading::open(files.open(&self.path)?, 0)?;
        if let Some(old) = self.now.replace(next) {
            self.old.push_back((old, now_ns.saturating_add(OLD_KEPT_NS)));
        }
        if self.old.len() > OLD_MAX {
            self.old.pop_front();
            self.gaps += 1;
        }
        // What the new file has already comes after all of the old one.
        self.finish_old(now_ns, budget, on)?;
        match &mut self.now {
            Some(reading) if self.old.iter().all(|(old, _)| old.is_read()) => {
                reading.lines(budget, on)
            }
            _ => Ok(()),
        }
    }

    /// Takes up what an earlier start left, or begins at the end.
    fn start(&mut self, files: &HostFiles, now_ns: u64) {
        let at = if self.resume.is_empty() { u64::MAX } else { 0 };
        self.now = files.open(&self.path).and_then(|file| Reading::open(file, at)).ok();
        for position in std::mem::take(&mut self.resume).into_iter().take(OLD_MAX + 1) {
            let id = FileId { dev: position.file.0, ino: position.file.1 };
            if let Some(now) = self.now.as_mut().filter(|now| now.id == id) {
                self.gaps += u64::from(!now.resume(&position));
                continue;
            }
            let rotated = files.open_rotated(&self.path, id);
            let old = rotated
                .and_then(|file| Reading::open(file, 0).ok())
                .and_then(|mut old| old.resume(&position).then_some(old));
            match old {
                Some(old) => self.old.push_back((old, now_ns)),
                None => self.gaps += 1,
            }
        }
    }

    /// Reads files that were rotated away; one that is read, and whose time is over, is closed.
    fn finish_old(&mut self, now_ns: u64, budget: &mut usize, on: OnLine<'_>) -> io::Result<()> {
        for (reading, _) in &mut self.old {
            reading.lines(budget, on)?;
            if !reading.is_read() {
                return Ok(());
            }
        }
        while self.old.front().is_some_and(|(old, until)| now_ns >= *until && old.is_read()) {
            let Some((mut old, _)) = self.old.pop_front() else { break };
            old.last_line(on)?;
        }
        Ok(())
    }
}

impl Reading {
    /// Begins at a byte, or at the end when the file is shorter.
    fn open(file: File, at: u64) -> io::Result<Self> {
        let stamp = FileStamp::from(&file.metadata()?);
        let at = at.min(stamp.size);
        let mut reading =
            Self { file, id: stamp.id, at, size: at, skipping: false, beginning: Vec::new() };
        reading.learn_beginning()?;
        Ok(reading)
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn is_read(&self) -> bool {
        self.length().map_or(true, |length| length <= self.size)
    }

    fn begins(&self, beginning: &[u8]) -> bool {
        let mut bytes = [0; BEGINNING];
        let wanted = beginning.len().min(BEGINNING);
        let read = read_at(&self.file, &mut bytes[..wanted], 0);
        read.is_ok_and(|read| bytes[..read] == beginning[..wanted])
    }

    /// Goes on where an earlier start stopped, unless the file is another one by now.
    fn resume(&mut self, position: &Position) -> bool {
        let same = self.begins(&position.beginning)
            && self.length().is_ok_and(|length| length >= position.at);
        if same {
            (self.at, self.skipping) = (position.at, position.skipping);
        }
        same
    }

    fn learn_beginning(&mut self) -> io::Result<()> {
        if self.beginning.len() < BEGINNING {
            let mut bytes = [0; BEGINNING];
            let read = read_at(&self.file, &mut bytes, 0)?;
            self.beginning = bytes[..read].to_vec();
        }
        Ok(())
    }

    /// Returns whether the file was emptied in place (`copytruncate`), and begins anew if so. It
    /// may have grown again since, so its first bytes are compared as well.
    fn was_cut(&mut self) -> io::Result<bool> {
        let length = self.length()?;
        if length == self.size || (length > self.size && self.begins(&self.beginning)) {
            return Ok(false);
        }
        (self.at, self.size, self.skipping) = (0, 0, false);
        self.beginning.clear();
        self.learn_beginning()?;
        Ok(true)
    }

    /// Hands on complete lines until the end or until the budget is used up.
    fn lines(&mut self, budget: &mut usize, on: OnLine<'_>) -> io::Result<()> {
        if self.is_read() {
            return Ok(());
        }
        self.learn_beginning()?;
        let mut chunk = vec![0; CHUNK];
        while *budget > 0 {
            let read = read_at(&self.file, &mut chunk, self.at)?;
            let used = self.take(&chunk[..read], on);
            self.at += used as u64;
            *budget = budget.saturating_sub(used.max(1));
            if used == 0 {
                // An unfinished line; it is read again when the file has grown.
                self.size = self.at + read as u64;
                return Ok(());
            }
        }
        self.size = self.at;
        Ok(())
    }

    /// Hands on the lines of a chunk; returns how many bytes are done with.
    fn take(&mut self, chunk: &[u8], on: OnLine<'_>) -> usize {
        let mut used = 0;
        while let Some(length) = chunk[used..].iter().position(|&b| b == b'\n') {
            self.line(&chunk[used..used + length], on);
            used += length + 1;
        }
        if used == 0 && chunk.len() == CHUNK {
            // No end in sight: the beginning is the line.
            self.line(chunk, on);
            self.skipping = true;
            return CHUNK;
        }
        used
    }

    fn line(&mut self, line: &[u8], on: OnLine<'_>) {
        if std::mem::take(&mut self.skipping) {
            return;
        }
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        on(&line[..line.len().min(LINE_MAX)], line.len() > LINE_MAX);
    }

    /// Hands on what stands behind the last line end of a file that nobody writes any more.
    fn last_line(&mut self, on: OnLine<'_>) -> io::Result<()> {
        let mut chunk = vec![0; CHUNK];
        let read = read_at(&self.file, &mut chunk, self.at)?;
        if read > 0 {
            self.line(&chunk[..read], on);
        }
        Ok(())
    }
}

fn read_at(file: &File, buffer: &mut [u8], at: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], at + filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests;
