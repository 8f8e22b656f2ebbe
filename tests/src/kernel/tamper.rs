//! Another process with all rights takes programs off and changes maps, by their numbers, as
//! `bpftool` does: it is noticed, told, and put back where that can be done.

use std::{
    fs::{self, File},
    os::fd::{AsRawFd as _, OwnedFd},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use libtest_mimic::{Completion, Trial};
use nix::libc;
use sensor::{file::Watched, probe::Settings};

use super::{
    child,
    watch::{Event, Watch, unavailable},
};
use crate::{figure, skip::trial};

/// Commands of bpf(2).
const MAP_LOOKUP: i32 = 1;
const MAP_UPDATE: i32 = 2;
const MAP_DELETE: i32 = 3;
const MAP_NEXT_KEY: i32 = 4;
const PROG_LOAD: i32 = 5;
const MAP_BY_ID: i32 = 14;
const LINK_UPDATE: i32 = 29;
const LINK_BY_ID: i32 = 30;
const LINK_DETACH: i32 = 34;
const PROG_TYPE_XDP: u32 = 6;
const PROG_TYPE_TC: u32 = 3;
/// `BPF_MAP_TYPE_PROG_ARRAY`.
const PROG_ARRAY: u32 = 3;
/// How often the loader tends its programs.
const TEND: Duration = Duration::from_millis(500);
const NOTICED_LIMIT: Duration = Duration::from_secs(10);
/// Longest key and value of the maps that are changed here.
const KEY_ROOM: usize = 512;
const VALUE_ROOM: usize = 64 << 10;

pub fn trials() -> Vec<Trial> {
    vec![
        trial("tamper::a_detached_packet_program_is_put_back", || packet_program("detached")),
        trial("tamper::an_exchanged_packet_program_is_put_back", || packet_program("exchanged")),
        trial("tamper::a_closed_link_is_told", closed),
        trial("tamper::changed_maps_are_put_back", maps),
        trial("tamper::changed_counters_are_a_known_gap", counters),
    ]
}

/// Nine words: as much of `bpf_attr` as these commands take.
fn bpf(command: i32, words: [u64; 9]) -> i64 {
    // SAFETY: the words live through the call; what they point at, the caller answers for.
    unsafe { libc::syscall(libc::SYS_bpf, command, words.as_ptr(), size_of_val(&words)) }
}

fn two(low: u32, high: u32) -> u64 {
    u64::from(low) | u64::from(high) << 32
}

/// What the kernel says of a descriptor of this process.
struct Held {
    descriptor: i32,
    text: String,
}

impl Held {
    fn number(&self, field: &str) -> Option<u32> {
        let line = self.text.lines().find_map(|line| line.strip_prefix(field))?;
        line.trim_start_matches(':').trim().parse().ok()
    }
}

fn held() -> Result<Vec<Held>> {
    let mut all = Vec::new();
    for entry in fs::read_dir("/proc/self/fdinfo")?.flatten() {
        let name = entry.file_name();
        let Some(descriptor) = name.to_str().and_then(|name| name.parse().ok()) else { continue };
        // The descriptor of the folder itself is gone by now.
        let Ok(text) = fs::read_to_string(entry.path()) else { continue };
        all.push(Held { descriptor, text });
    }
    Ok(all)
}

/// Tends the programs as the loader does until they tell of something; returns it and the time that
/// it took.
fn noticed(watch: &mut Watch, start: Instant, before: Option<&str>) -> Result<(String, Duration)> {
    loop {
        thread::sleep(TEND);
        watch.probes.tend();
        if let Some(told) = watch.probes.tampering().filter(|told| Some(told.as_str()) != before) {
            return Ok((told, start.elapsed()));
        }
        ensure!(start.elapsed() < NOTICED_LIMIT, "nothing was noticed in {NOTICED_LIMIT:?}");
    }
}

/// Lets the programs be looked at once, so that what is there now is known.
fn quiet(watch: &mut Watch) -> Result<()> {
    for _ in 0..6 {
        watch.probes.tend();
    }
    let told = watch.probes.tampering();
    ensure!(told.is_none(), "something is told before anything was done: {told:?}");
    Ok(())
}

fn on_loopback() -> Result<Watch> {
    Watch::start(&Settings { interfaces: vec!["lo".to_owned()], ..Settings::default() })
}

fn packet_program(how: &str) -> Result<Completion> {
    if let Some(reason) = unavailable() {
        return Ok(Completion::ignored_with(reason));
    }
    let mut watch = on_loopback()?;
    quiet(&mut watch)?;
    let hangs = |link: &Held| {
        let interface = link.number("ifindex")?;
        (interface != 0).then(|| link.number("link_id")).flatten()
    };
    let all = held()?;
    let Some(link) = all.iter().find(|link| hangs(link).is_some()) else {
        return Ok(Completion::ignored_with("packet programs hang on no link here"));
    };
    let before = all.iter().filter_map(hangs).count();
    // XDP_PASS, or else TC_ACT_UNSPEC: as if nobody was there.
    let is_xdp = link.text.contains("link_type:\txdp");
    let (kind, verdict) = if is_xdp { (PROG_TYPE_XDP, 2) } else { (PROG_TYPE_TC, u32::MAX) };
    let id = link.number("link_id").context("a link has a number")?;
    let detach = how == "detached";
    let start = Instant::now();
    let (_, status) = child::run(|| {
        let link = bpf(LINK_BY_ID, two(id, 0).into_words());
        if detach {
            return i32::from(bpf(LINK_DETACH, (link as u64).into_words()) != 0);
        }
        // r0 = verdict; exit
        let code: [u64; 2] = [two(0xb7, verdict), 0x95];
        let (code, licence) = (code.as_ptr() as u64, c"GPL".as_ptr() as u64);
        let program = bpf(PROG_LOAD, [two(kind, 2), code, licence, 0, 0, 0, 0, 0, 0]);
        i32::from(bpf(LINK_UPDATE, [two(link as u32, program as u32), 0, 0, 0, 0, 0, 0, 0, 0]) != 0)
    })?;
    ensure!(status == 0, "the attack itself failed: {status:#x}");
    let (told, took) = noticed(&mut watch, start, None)?;
    ensure!(told.contains("packet programs were taken off"), "{told}");
    let again: Vec<u32> = held()?.iter().filter_map(hangs).collect();
    ensure!(again.len() == before && !again.contains(&id), "not put back: {again:?}");
    figure::tell("X-04", format_args!("packet program {how}: told and put back after {took:.1?}"));
    Ok(Completion::Completed)
}

/// Arguments of a command that takes a number first.
trait IntoWords {
    fn into_words(self) -> [u64; 9];
}

impl IntoWords for u64 {
    fn into_words(self) -> [u64; 9] {
        [self, 0, 0, 0, 0, 0, 0, 0, 0]
    }
}

/// Somebody who makes the loader close a descriptor, by ptrace for instance.
fn closed() -> Result<Completion> {
    if let Some(reason) = unavailable() {
        return Ok(Completion::ignored_with(reason));
    }
    let mut watch = on_loopback()?;
    quiet(&mut watch)?;
    let all = held()?;
    let other = |link: &&Held| link.number("link_id").is_some() && link.number("ifindex").is_none();
    let Some(link) = all.iter().find(other) else {
        return Ok(Completion::ignored_with("no program hangs on a link here"));
    };
    let nothing = File::open("/dev/null")?;
    let start = Instant::now();
    // SAFETY: puts another file in the descriptor's place; whoever holds it closes that one.
    let put = unsafe { libc::dup2(nothing.as_raw_fd(), link.descriptor) };
    ensure!(put == link.descriptor, "the attack itself failed");
    let (told, took) = noticed(&mut watch, start, None)?;
    ensure!(told.contains("1 other programs were taken off"), "{told}");
    let before = watch.probes.tampering();
    watch.probes.set_syscall_counting(true)?;
    watch.probes.set_syscall_counting(false)?;
    (0..6).for_each(|_| watch.probes.tend());
    ensure!(watch.probes.tampering() == before, "our own links are told: {told}");
    figure::tell("X-04", format_args!("link closed inside the loader: told after {took:.1?}"));
    Ok(Completion::Completed)
}

/// Opens a map by its number and empties it, an array by writing zeros. For children.
fn wipe(id: u32, key_size: u32, value_size: u32, is_array: bool) -> i32 {
    let map = bpf(MAP_BY_ID, two(id, 0).into_words());
    if map < 0 || key_size as usize > KEY_ROOM || value_size as usize > VALUE_ROOM {
        return 2;
    }
    let map = map as u64;
    let (mut key, mut next) = ([0_u8; KEY_ROOM], [0_u8; KEY_ROOM]);
    let (mut value, zeros) = ([0_u8; VALUE_ROOM], [0_u8; VALUE_ROOM]);
    let mut wiped = 0;
    // An array's next key starts anew after an unknown one.
    let mut from = 0;
    while wiped < 100_000 {
        let at = next.as_mut_ptr() as u64;
        if bpf(MAP_NEXT_KEY, [map, from, at, 0, 0, 0, 0, 0, 0]) != 0 {
            break;
        }
        key.copy_from_slice(&next);
        let at = key.as_ptr() as u64;
        if is_array {
            bpf(MAP_UPDATE, [map, at, zeros.as_ptr() as u64, 0, 0, 0, 0, 0, 0]);
            from = at;
        } else {
            let there = bpf(MAP_LOOKUP, [map, at, value.as_mut_ptr() as u64, 0, 0, 0, 0, 0, 0]);
            let gone = bpf(MAP_DELETE, [map, at, 0, 0, 0, 0, 0, 0, 0]);
            // A place of a chain stays a key when it is empty.
            from = if gone == 0 && there == 0 && !is_chain(key_size, value_size) { 0 } else { at };
        }
        wiped += 1;
    }
    i32::from(wiped == 0)
}

fn is_chain(key_size: u32, value_size: u32) -> bool {
    (key_size, value_size) == (4, 4)
}

/// What a map that is wiped is found by.
struct Target {
    name: &'static str,
    id: u32,
    key_size: u32,
    value_size: u32,
    is_array: bool,
}

fn target(name: &'static str, map: &Held) -> Option<Target> {
    let is_array = ![PROG_ARRAY].contains(&map.number("map_type")?)
        && ["FILE_FILTER", ".data.selves", ".data.tuning", "SEEN"].contains(&name);
    Some(Target {
        name,
        id: map.number("map_id")?,
        key_size: map.number("key_size")?,
        value_size: map.number("value_size")?,
        is_array,
    })
}

fn named(watch: &Watch, name: &'static str) -> Result<Target> {
    let all = watch.probes.descriptors()?;
    let (_, map): &(String, OwnedFd) =
        all.iter().find(|(found, _)| found == name).with_context(|| format!("no map {name}"))?;
    let descriptor = map.as_raw_fd();
    let text = fs::read_to_string(format!("/proc/self/fdinfo/{descriptor}"))?;
    target(name, &Held { descriptor, text }).context("a map says what it is")
}

/// Programs are called through such tables; the one with the most places is that of system calls.
fn chains() -> Result<Vec<Target>> {
    let chain = |map: &Held| map.number("map_type") == Some(PROG_ARRAY);
    let all = held()?;
    let mut chains: Vec<&Held> = all.iter().filter(|map| chain(map)).collect();
    chains.sort_by_key(|map| map.number("max_entries"));
    let names = ["PAYLOAD_TC or _XDP", "PAYLOAD_XDP or _TC", "CALLS"];
    Ok(names.into_iter().zip(chains).filter_map(|(name, map)| target(name, map)).collect())
}

fn maps() -> Result<Completion> {
    if let Some(reason) = unavailable() {
        return Ok(Completion::ignored_with(reason));
    }
    let folder = tempfile::Builder::new().prefix("smk-tamper-").tempdir()?;
    let file = folder.path().canonicalize()?.join("watched");
    let watched = [format!("{}", file.display())];
    let files = Watched::new(Some(&watched), Some(&[]), Some(&[]))?;
    let interfaces = vec!["lo".to_owned()];
    let mut watch = Watch::start(&Settings { interfaces, files, ..Settings::default() })?;
    quiet(&mut watch)?;
    writes_are_told(&mut watch, &file, true).context("before anything was done")?;
    let names = [".data.tuning", "FILE_FILTER", "FILE_NAMES", "FILE_PREFIXES", ".data.selves"];
    let mut targets =
        names.map(|name| named(&watch, name)).into_iter().collect::<Result<Vec<_>>>()?;
    targets.extend(chains()?);
    let (start, mut wiped) = (Instant::now(), 0_usize);
    for target in targets {
        let Target { name, id, key_size, value_size, is_array } = target;
        let (_, status) = child::run(|| wipe(id, key_size, value_size, is_array))?;
        if name == "CALLS" && !calls_are_used(&watch) {
            continue;
        }
        ensure!(status == 0, "{name}: the attack itself failed: {status:#x}");
        wiped += 1;
    }
    writes_are_told(&mut watch, &file, false).context("the attack has no effect")?;
    let (_, took) = noticed(&mut watch, start, None)?;
    // What could not be read at that moment is read at the next look.
    (0..6).for_each(|_| watch.probes.tend());
    let told = watch.probes.tampering().unwrap_or_default();
    ensure!(told.contains(&format!("maps were changed {wiped} times")), "{wiped} wiped: {told}");
    writes_are_told(&mut watch, &file, true).context("after they were put back")?;
    (0..6).for_each(|_| watch.probes.tend());
    let again = watch.probes.tampering();
    ensure!(again.as_ref() == Some(&told), "told again: {again:?}");
    let figure = format!("{wiped} of {wiped} wiped maps told and put back after {took:.1?}");
    figure::tell("X-04", figure);
    Ok(Completion::Completed)
}

fn calls_are_used(watch: &Watch) -> bool {
    let is_call = |how: &String| how.contains("end of system call");
    watch.probes.report().iter().any(|hook| hook.attached.as_ref().is_some_and(is_call))
}

/// Writes a watched file in a child and says whether that was told.
fn writes_are_told(watch: &mut Watch, file: &std::path::Path, expected: bool) -> Result<()> {
    let path = std::ffi::CString::new(file.as_os_str().as_encoded_bytes())?;
    let (writer, status) = child::run(|| {
        let flags = libc::O_WRONLY | libc::O_CREAT;
        // SAFETY: a string that ends with NUL; the child's end closes the file.
        i32::from(unsafe { libc::open(path.as_ptr(), flags, 0o600) } < 0)
    })?;
    ensure!(status == 0, "the file could not be written");
    let of = |event: &Event| matches!(event, Event::File(f) if f.fixed.header.tgid == writer);
    if expected {
        watch.until("file record", |events| events.iter().any(of))?;
        return Ok(());
    }
    thread::sleep(Duration::from_millis(200));
    let events = watch.until("anything", |_| true)?;
    if events.iter().any(of) {
        bail!("the file is still watched");
    }
    Ok(())
}

/// What programs write all the time cannot be compared with anything: the trial keeps the
/// documentation honest.
fn counters() -> Result<Completion> {
    if let Some(reason) = unavailable() {
        return Ok(Completion::ignored_with(reason));
    }
    let mut watch = on_loopback()?;
    quiet(&mut watch)?;
    let Target { id, key_size, .. } = named(&watch, "SEEN")?;
    let (_, status) = child::run(|| {
        let map = bpf(MAP_BY_ID, two(id, 0).into_words());
        // Zeros for every CPU.
        let (key, zeros) = ([0_u8; KEY_ROOM], [0_u8; 4 * VALUE_ROOM]);
        let (key_at, at) = (key.as_ptr() as u64, zeros.as_ptr() as u64);
        let written = bpf(MAP_UPDATE, [map as u64, key_at, at, 0, 0, 0, 0, 0, 0]);
        i32::from(key_size as usize > KEY_ROOM || written != 0)
    })?;
    ensure!(status == 0, "the attack itself failed: {status:#x}");
    (0..6).for_each(|_| watch.probes.tend());
    ensure!(watch.probes.tampering().is_none(), "better than the documentation says");
    figure::tell("X-04", "counters wiped: not noticed as tampering");
    Ok(Completion::Completed)
}
