//! What the host has: packages, accounts, listeners, kernel and release. All of it once after the
//! start, then only what changed, at a low pace.
//!
//! # Reading order
//! [`package`] and [`host`] read texts, this module looks which texts changed, compares, and hands
//! on the differences.

use std::collections::{HashMap, HashSet, VecDeque};
use std::io::{self, BufReader, ErrorKind, Read};
use std::path::{Path, PathBuf};

use wire::record::{Inventory, inventory_change, inventory_kind};

use crate::host_file::{FileStamp, HostFiles};
use crate::observation::Text;
use crate::privileged::program::{self, Program, Running};

pub mod host;
pub mod package;

/// The start of the sensor is busy enough.
const FIRST_LOOK_NS: u64 = 5_000_000_000;
/// Time between two looks at one source, and between looks at two of them.
const LOOK_NS: u64 = 60_000_000_000;
const STEP_NS: u64 = 500_000_000;
/// Records handed on in one step: two thousand packages take ten seconds.
const STEP_RECORDS: usize = 100;
/// Things of one kind that are remembered; the largest distributions install some 10 000 packages.
const ITEMS_MAX: usize = 20_000;
/// Bytes of a database, of a smaller file, and of a value that is kept.
const DATABASE_MAX: u64 = 64 * 1024 * 1024;
const FILE_MAX: u64 = 4 * 1024 * 1024;
const VALUE_MAX: usize = 1024;
/// How long `rpm` may take, and how much it may print.
const RPM_NS: u64 = 60_000_000_000;
const RPM_BYTES_MAX: usize = 8 * 1024 * 1024;

/// One thing that the host has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Item {
    /// Its name.
    pub name: Vec<u8>,
    /// Its version, or the number that says what it is.
    pub version: Vec<u8>,
    /// What else there is to say.
    pub detail: Vec<u8>,
}

/// Where things are listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    Dpkg,
    Apk,
    Rpm,
    Users,
    Groups,
    System,
    Kernel,
    Listeners,
}

/// Sources, the kind of their things, and the files that list them.
const SOURCES: &[(Source, u8, &[&str])] = &[
    (Source::Kernel, inventory_kind::KERNEL, &["/proc/sys/kernel/osrelease", "/proc/cmdline"]),
    (Source::System, inventory_kind::SYSTEM, &["/etc/os-release", "/usr/lib/os-release"]),
    (Source::Users, inventory_kind::USER, &["/etc/passwd"]),
    (Source::Groups, inventory_kind::GROUP, &["/etc/group"]),
    (
        Source::Listeners,
        inventory_kind::LISTENER,
        &["/proc/net/tcp", "/proc/net/tcp6", "/proc/net/udp", "/proc/net/udp6"],
    ),
    (Source::Dpkg, inventory_kind::PACKAGE, &["/var/lib/dpkg/status"]),
    (Source::Apk, inventory_kind::PACKAGE, &["/lib/apk/db/installed", "/usr/lib/apk/db/installed"]),
    (
        Source::Rpm,
        inventory_kind::PACKAGE,
        &[
            "/usr/lib/sysimage/rpm/rpmdb.sqlite",
            "/var/lib/rpm/rpmdb.sqlite",
            "/usr/lib/sysimage/rpm/Packages.db",
            "/var/lib/rpm/Packages.db",
            "/var/lib/rpm/Packages",
        ],
    ),
];

/// What became of things since the last step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Changes that were found.
    pub found: u64,
    /// Things beyond what is remembered.
    pub table_full: u64,
}

/// The host's inventory.
#[derive(Debug)]
pub struct Watch {
    files: HostFiles,
    listed: Vec<Listed>,
    /// Found, not handed on yet.
    waiting: VecDeque<Inventory<Text>>,
    next: usize,
    next_ns: u64,
    rpm: Option<Rpm>,
}

/// One source and what was last known of it.
#[derive(Debug)]
struct Listed {
    source: Source,
    kind: u8,
    paths: Vec<PathBuf>,
    stamps: Vec<Option<FileStamp>>,
    known: HashMap<Vec<u8>, (Vec<u8>, Vec<u8>)>,
    /// Whether it was read before: then what is new is added, not present.
    read: bool,
    due_ns: u64,
}

/// `rpm`, while it prints.
#[derive(Debug)]
struct Rpm {
    running: Running,
    text: Vec<u8>,
    until_ns: u64,
}

impl Watch {
    /// Watches the host whose root directory this is, `/` but in tests.
    pub fn new(root: &Path) -> Self {
        let below = |path: &&str| root.join(path.trim_start_matches('/'));
        let listed = |&(source, kind, paths): &(Source, u8, &[&str])| {
            let paths: Vec<PathBuf> = paths.iter().map(below).collect();
            let stamps = vec![None; paths.len()];
            Listed { source, kind, paths, stamps, known: HashMap::new(), read: false, due_ns: 0 }
        };
        let listed: Vec<Listed> = SOURCES.iter().map(listed).collect();
        let files = HostFiles::new(listed.iter().flat_map(|l| l.paths.clone()).collect());
        Self { files, listed, waiting: VecDeque::new(), next: 0, next_ns: 0, rpm: None }
    }

    /// Looks at one source, when it is time, and hands on some of what was found. Times are
    /// nanoseconds since boot and since the Unix epoch.
    pub fn poll(
        &mut self,
        boot_ns: u64,
        unix_ns: u64,
        on: &mut dyn FnMut(Inventory<Text>),
    ) -> Tally {
        let mut tally = Tally::default();
        if self.next_ns == 0 {
            self.next_ns = boot_ns.saturating_add(FIRST_LOOK_NS);
        }
        if boot_ns < self.next_ns {
            return tally;
        }
        self.next_ns = boot_ns.saturating_add(STEP_NS);
        if self.waiting.is_empty() {
            self.look(boot_ns, unix_ns, &mut tally);
        }
        for record in self.waiting.drain(..self.waiting.len().min(STEP_RECORDS)) {
            on(record);
        }
        if self.waiting.is_empty() {
            self.waiting.shrink_to_fit();
        }
        tally
    }

    /// Returns how much was found and not handed on, and forgets it.
    pub fn give_up(&mut self) -> u64 {
        self.waiting.drain(..).count() as u64
    }

    fn look(&mut self, boot_ns: u64, unix_ns: u64, tally: &mut Tally) {
        let (at, count) = (self.next, self.listed.len());
        self.next = (self.next + 1) % count;
        let Self { listed, files, waiting, rpm, .. } = self;
        let listed = &mut listed[at];
        if rpm.is_none() || listed.source != Source::Rpm {
            if boot_ns < listed.due_ns || !listed.has_changed(files) {
                return;
            }
            listed.due_ns = boot_ns.saturating_add(LOOK_NS);
        }
        let items = match listed.source {
            Source::Rpm => match step_rpm(rpm, boot_ns) {
                Ok(Some(items)) => Ok(items),
                Ok(None) => return,
                Err(error) => Err(error),
            },
            _ => listed.items(files),
        };
        match items {
            Ok(items) => listed.compare(items, unix_ns, waiting, tally),
            Err(error) => {
                tracing::warn!(source = ?listed.source, %error, "cannot read the inventory");
            }
        }
    }
}

impl Listed {
    /// Returns whether any of the files is another than last time. Those of `/proc` have no stamp
    /// that means anything, and are always read; a kernel is the same until the next boot.
    fn has_changed(&mut self, files: &HostFiles) -> bool {
        let stamps: Vec<Option<FileStamp>> =
            self.paths.iter().map(|path| files.stamp(path).ok()).collect();
        if stamps.iter().all(Option::is_none) {
            return false;
        }
        let before = std::mem::replace(&mut self.stamps, stamps);
        match self.source {
            Source::Listeners => true,
            Source::Kernel => !self.read,
            _ => before != self.stamps,
        }
    }

    fn items(&self, files: &HostFiles) -> io::Result<Vec<Item>> {
        let there: Vec<&PathBuf> =
            self.paths.iter().zip(&self.stamps).filter(|(_, s)| s.is_some()).map(|p| p.0).collect();
        let text = |at: usize| match there.get(at) {
            Some(path) => read_some(files, path),
            None => Ok(Vec::new()),
        };
        Ok(match self.source {
            Source::Dpkg => database(files, there[0], package::dpkg)?,
            Source::Apk => database(files, there[0], package::apk)?,
            Source::Users => host::users(&text(0)?),
            Source::Groups => host::groups(&text(0)?),
            Source::System => host::system(&text(0)?),
            Source::Kernel => host::kernel(&text(0)?, &text(1)?),
            Source::Rpm => Vec::new(),
            Source::Listeners => {
                let mut items = Vec::new();
                for path in there {
                    let protocol = match path.file_name().map(|n| n.as_encoded_bytes()) {
                        Some([b't', ..]) => "tcp",
                        _ => "udp",
                    };
                    items.extend(host::listeners(protocol, &read_some(files, path)?));
                }
                items
            }
        })
    }

    /// Compares with what was known, and puts the differences behind what waits.
    fn compare(
        &mut self,
        items: Vec<Item>,
        time_ns: u64,
        waiting: &mut VecDeque<Inventory<Text>>,
        tally: &mut Tally,
    ) {
        let mut tell = |change, name: &[u8], version: &[u8], detail: &[u8]| {
            tally.found += 1;
            waiting.push_back(Inventory {
                time_ns,
                kind: self.kind,
                change,
                name: Text::from(name),
                version: Text::from(version),
                detail: Text::from(detail),
            });
        };
        let mut there: HashSet<Vec<u8>> = HashSet::new();
        for mut item in items {
            for value in [&mut item.name, &mut item.version, &mut item.detail] {
                value.truncate(VALUE_MAX);
            }
            let Item { name, version, detail } = item;
            // Two architectures of one package, two sockets that share a port: the first stands
            // under its name, others under name and detail.
            let key = match there.contains(&name) {
                true => [name.as_slice(), b"\0", &detail].concat(),
                false => name.clone(),
            };
            if !there.insert(key.clone()) {
                continue;
            }
            let change = match self.known.get(&key) {
                Some(before) if *before == (version.clone(), detail.clone()) => continue,
                Some(_) => inventory_change::CHANGED,
                None if self.known.len() >= ITEMS_MAX => {
                    tally.table_full += 1;
                    continue;
                }
                None if self.read => inventory_change::ADDED,
                None => inventory_change::PRESENT,
            };
            tell(change, &name, &version, &detail);
            self.known.insert(key, (version, detail));
        }
        let gone: Vec<Vec<u8>> =
            self.known.keys().filter(|key| !there.contains(*key)).cloned().collect();
        for key in gone {
            if let Some((version, detail)) = self.known.remove(&key) {
                let name = key.split(|&b| b == 0).next().unwrap_or_default();
                tell(inventory_change::REMOVED, name, &version, &detail);
            }
        }
        self.read = true;
    }
}

fn read_some(files: &HostFiles, path: &Path) -> io::Result<Vec<u8>> {
    // Files of `/proc` say that they are empty, so the length is bounded while reading.
    let mut text = Vec::new();
    files.open(path)?.take(FILE_MAX).read_to_end(&mut text)?;
    Ok(text)
}

type Reader = fn(&mut dyn io::BufRead, &mut dyn FnMut(Item)) -> io::Result<()>;

fn database(files: &HostFiles, path: &Path, read: Reader) -> io::Result<Vec<Item>> {
    let mut items = Vec::new();
    let mut file = BufReader::new(files.open(path)?.take(DATABASE_MAX));
    read(&mut file, &mut |item| items.push(item))?;
    Ok(items)
}

/// Starts `rpm`, or reads what it has printed; returns the packages when it is done. Its database
/// has had three formats, with locks and a log of their own, so it is asked instead of read.
fn step_rpm(rpm: &mut Option<Rpm>, now_ns: u64) -> io::Result<Option<Vec<Item>>> {
    let running = match rpm {
        Some(running) => running,
        None => {
            *rpm = Some(Rpm::start(now_ns)?);
            return Ok(None);
        }
    };
    let finished = running.read(now_ns);
    if let Ok(false) = finished {
        return Ok(None);
    }
    let Some(done) = rpm.take() else { return Ok(None) };
    finished?;
    let mut items = Vec::new();
    package::rpm(&mut done.text.as_slice(), &mut |item| items.push(item))?;
    // A database without packages is one that could not be read.
    if items.is_empty() {
        return Err(io::Error::other("rpm lists no packages"));
    }
    Ok(Some(items))
}

impl Rpm {
    fn start(now_ns: u64) -> io::Result<Self> {
        let running = program::start(Program::Packages, 0)?;
        let until_ns = now_ns.saturating_add(RPM_NS);
        Ok(Self { running, text: Vec::new(), until_ns })
    }

    /// Reads what there is; returns whether that was the end.
    fn read(&mut self, now_ns: u64) -> io::Result<bool> {
        let mut chunk = [0; 16 * 1024];
        loop {
            match self.running.read(&mut chunk) {
                Ok(0) => return Ok(true),
                Ok(read) if self.text.len() + read > RPM_BYTES_MAX => {
                    return Err(ErrorKind::FileTooLarge.into());
                }
                Ok(read) => self.text.extend_from_slice(&chunk[..read]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    return match now_ns > self.until_ns {
                        true => Err(ErrorKind::TimedOut.into()),
                        false => Ok(false),
                    };
                }
                Err(error) => return Err(error),
            }
        }
    }
}

#[cfg(test)]
mod tests;
