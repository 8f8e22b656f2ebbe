//! Whether captures replay to what independent tools count in them: packets and bytes by capinfos,
//! conversations, DNS messages and TLS greetings by tshark.
//!
//! A difference is a failure unless it has a general reason, which is then shown: what the sensor
//! does not look into, or a frame that was cut or damaged. No reason names a file.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::setup::{self, Need};
use crate::shell;

mod dissected;
mod replayed;

/// Where the material is, when neither flag nor folder beside the repository says.
const VARIABLE: &str = "SAKURAMORI_MATERIAL";
/// Differences that are shown of one capture.
const SHOWN_MAX: usize = 4;
/// What capture files are called.
const ENDINGS: [&str; 3] = ["pcap", "pcapng", "cap"];
/// The table that may lie beside captures: in its header, a file's name and its frames.
const TRUTH: &str = "labels.csv";

/// Both ends of a conversation, the smaller one first, and the protocol. Without ports where there
/// are none, or where they are in another fragment.
pub(super) type Ends = (u8, String, String);

/// Why lengths are left out of a comparison.
pub(super) const TOO_LONG: &str = "lengths longer than tshark can show";

/// Packets and bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sum {
    pub(super) packets: u64,
    pub(super) bytes: u64,
}

impl Sum {
    pub(super) fn add(&mut self, packets: u64, bytes: u64) {
        self.packets += packets;
        self.bytes += bytes;
    }
}

/// What somebody says of a capture.
#[derive(Debug, Default)]
pub(super) struct Said {
    pub(super) total: Sum,
    pub(super) conversations: BTreeMap<Ends, Sum>,
    /// What is no IP packet, or one that is not looked for, by what it is in.
    pub(super) others: BTreeMap<String, Sum>,
    /// Messages, each with its kind, its name and how many there were.
    pub(super) messages: BTreeMap<(Kind, String), u64>,
    /// General reasons for which the two may differ in messages, with how many they concern.
    pub(super) reasons: BTreeMap<&'static str, u64>,
}

/// Kinds of messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Query,
    Answer,
    Greeting,
}

/// A name as both sides write it; bytes that are no text are written in many ways, and names of
/// them are only counted.
pub(super) fn plain(name: &str) -> String {
    let is_text = name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    if is_text { name.to_ascii_lowercase() } else { "a name of odd bytes".to_owned() }
}

/// Orders two ends.
pub(super) fn ends(protocol: u8, one: String, other: String) -> Ends {
    if one <= other { (protocol, one, other) } else { (protocol, other, one) }
}

/// What came of one capture.
struct Row {
    name: String,
    ours: Said,
    theirs: Said,
    differ: Vec<String>,
    reasons: Vec<String>,
}

/// Compares and prints; `false` when something differs for no known reason.
pub fn run(material: Option<&Path>, as_json: bool) -> Result<bool> {
    let folder = folder(material);
    if !folder.is_dir() {
        eprintln!("skipped: there is no {}; name a folder by --material", folder.display());
        return Ok(true);
    }
    setup::ensure(&[Need::Eval])?;
    let sensor = sensor()?;
    let truth = truth(&folder);
    let files = captures(&folder)?;
    if files.is_empty() {
        bail!("{} has no captures", folder.display());
    }
    if !as_json {
        println!(
            "{:<52} {:>8} {:>10} {:>7} {:>7} {:>9} {:>9}  differ; why",
            "capture", "packets", "bytes", "flows", "others", "DNS", "TLS"
        );
    }
    let (mut good, mut same) = (true, 0);
    for file in &files {
        let row = row(&sensor, &folder, file, &truth)?;
        good &= row.differ.is_empty();
        same += usize::from(row.differ.is_empty());
        row.print(as_json);
    }
    if !as_json {
        println!("{same} of {} captures agree, or differ for a reason that is named", files.len());
        println!("JA4 is not compared: {}", dissected::VERSION_NOTE);
    }
    Ok(good)
}

/// The folder of captures, which may be the one given, or lie in it.
fn folder(material: Option<&Path>) -> PathBuf {
    let named = material.map(Path::to_owned).or_else(|| std::env::var_os(VARIABLE).map(Into::into));
    let base = named.unwrap_or_else(|| shell::root().join("../shared/material"));
    let inner = base.join("captures");
    if inner.is_dir() { inner } else { base }
}

fn sensor() -> Result<PathBuf> {
    let mut build = shell::cargo();
    build.args(["build", "--locked", "--quiet", "-p", "sensor", "--bin", "sakuramori-sensor"]);
    shell::must(&mut build)?;
    Ok(crate::build::target_folder()?.join("debug/sakuramori-sensor"))
}

/// All captures below a folder, in order.
fn captures(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(&folder);
        for entry in entries.with_context(|| format!("cannot read {}", folder.display()))? {
            let path = entry?.path();
            let ending = path.extension().and_then(|ending| ending.to_str());
            if path.is_dir() {
                folders.push(path);
            } else if ending.is_some_and(|ending| ENDINGS.contains(&ending)) {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Frames by file, as people counted them.
fn truth(folder: &Path) -> BTreeMap<String, u64> {
    let text = fs::read_to_string(folder.join(TRUTH)).unwrap_or_default();
    let mut lines = text.lines().map(fields);
    let header = lines.next().unwrap_or_default();
    let place = |name: &str| header.iter().position(|field| field == name);
    let (Some(file), Some(frames)) = (place("file"), place("frames")) else {
        return BTreeMap::new();
    };
    let row = |row: Vec<String>| Some((row.get(file)?.clone(), row.get(frames)?.parse().ok()?));
    lines.filter_map(row).collect()
}

/// The fields of a line of CSV; quotes hold commas.
fn fields(line: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut quoted = false;
    for c in line.chars() {
        match c {
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(String::new()),
            c => fields.last_mut().expect("there is always one").push(c),
        }
    }
    fields
}

fn row(sensor: &Path, folder: &Path, file: &Path, truth: &BTreeMap<String, u64>) -> Result<Row> {
    let name = file.strip_prefix(folder).unwrap_or(file).display().to_string();
    let ours = replayed::read(sensor, file).with_context(|| format!("replay of {name}"))?;
    let mut theirs = dissected::read(file).with_context(|| format!("tshark of {name}"))?;
    theirs.total = counted(file)?;
    let mut row = Row { name, ours, theirs, differ: Vec::new(), reasons: Vec::new() };
    row.compare(truth);
    Ok(row)
}

/// Packets and bytes as capinfos counts them.
fn counted(file: &Path) -> Result<Sum> {
    let output = Command::new("capinfos").args(["-T", "-M", "-r", "-c", "-d"]).arg(file).output();
    let text = String::from_utf8_lossy(&output.context("cannot run capinfos")?.stdout).into_owned();
    let mut fields = text.trim().rsplit('\t').map(str::parse::<u64>);
    match (fields.next(), fields.next()) {
        (Some(Ok(bytes)), Some(Ok(packets))) => Ok(Sum { packets, bytes }),
        _ => bail!("capinfos cannot read {}", file.display()),
    }
}

impl Row {
    fn compare(&mut self, truth: &BTreeMap<String, u64>) {
        if self.theirs.reasons.contains_key(TOO_LONG) {
            // capinfos' sum of all of them is compared all the same.
            for said in [&mut self.ours, &mut self.theirs] {
                said.conversations.values_mut().for_each(|sum| sum.bytes = 0);
            }
        }
        let (ours, theirs) = (&self.ours, &self.theirs);
        let mut differ = Vec::new();
        if ours.total != theirs.total {
            differ.push(format!("{:?} in all, not {:?}", ours.total, theirs.total));
        }
        if let Some(frames) = truth.get(&self.name).filter(|frames| **frames != ours.total.packets)
        {
            differ.push(format!("{} packets, {frames} by the labels", ours.total.packets));
        }
        let sums = |others: &BTreeMap<String, Sum>| {
            others.values().fold(Sum::default(), |mut all, sum| {
                all.add(sum.packets, sum.bytes);
                all
            })
        };
        if sums(&ours.others) != sums(&theirs.others) {
            differ.push(format!("no IP: {:?}, not {:?}", ours.others, theirs.others));
        }
        differ.extend(unlike(&ours.conversations, &theirs.conversations));
        differ.extend(unlike(&ours.messages, &theirs.messages));
        self.differ = differ;
        let hidden = self.theirs.others.iter().filter(|(what, _)| !what.is_empty());
        let hidden = hidden.map(|(what, sum)| format!("{} packets inside {what}", sum.packets));
        let reasons = [&self.ours.reasons, &self.theirs.reasons].into_iter().flatten();
        let reasons = reasons.map(|(reason, count)| format!("{count} {reason}"));
        self.reasons = hidden.chain(reasons).collect();
    }

    fn print(&self, as_json: bool) {
        let Self { name, ours, theirs, differ, reasons } = self;
        let messages = |said: &Said, greetings: bool| -> u64 {
            let wanted = |kind: Kind| (kind == Kind::Greeting) == greetings;
            said.messages.iter().filter(|((kind, _), _)| wanted(*kind)).map(|(_, n)| n).sum()
        };
        let both = |ours: u64, theirs: u64| match ours == theirs {
            true => ours.to_string(),
            false => format!("{ours}≠{theirs}"),
        };
        let flows = (ours.conversations.len() as u64, theirs.conversations.len() as u64);
        let others = |said: &Said| said.others.values().map(|sum| sum.packets).sum::<u64>();
        let (dns, tls) = (
            (messages(ours, false), messages(theirs, false)),
            (messages(ours, true), messages(theirs, true)),
        );
        if as_json {
            let row: Value = json!({
                "name": name, "packets": ours.total.packets, "packets_told": theirs.total.packets,
                "bytes": ours.total.bytes, "bytes_told": theirs.total.bytes,
                "conversations": flows.0, "conversations_told": flows.1,
                "others": others(ours), "others_told": others(theirs),
                "dns": dns.0, "dns_told": dns.1, "tls": tls.0, "tls_told": tls.1,
                "differ": differ, "reasons": reasons,
            });
            println!("{row}");
            return;
        }
        println!(
            "{name:<52} {:>8} {:>10} {:>7} {:>7} {:>9} {:>9}  {}{}",
            both(ours.total.packets, theirs.total.packets),
            both(ours.total.bytes, theirs.total.bytes),
            both(flows.0, flows.1),
            both(others(ours), others(theirs)),
            both(dns.0, dns.1),
            both(tls.0, tls.1),
            if differ.is_empty() { String::from("-") } else { differ.len().to_string() },
            if reasons.is_empty() { String::new() } else { format!("; {}", reasons.join(", ")) },
        );
        differ.iter().take(SHOWN_MAX).for_each(|line| println!("    {line}"));
    }
}

/// Entries that are not the same on both sides.
fn unlike<K: Ord + std::fmt::Debug, V: PartialEq + std::fmt::Debug>(
    ours: &BTreeMap<K, V>,
    theirs: &BTreeMap<K, V>,
) -> Vec<String> {
    let changed = ours.iter().filter(|(key, value)| theirs.get(key) != Some(value));
    let changed =
        changed.map(|(key, value)| format!("{key:?}: {value:?}, not {:?}", theirs.get(key)));
    let missing = theirs.iter().filter(|(key, _)| !ours.contains_key(key));
    let missing = missing.map(|(key, value)| format!("{key:?}: missing, {value:?}"));
    changed.chain(missing).collect()
}
