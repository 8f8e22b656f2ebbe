//! Files that rules match, found where they run; files that are too much, counted.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tests::fleet::Hosts;
use tests::fleet::brain::{Brain, Settings};
use tests::fleet::process::Running;
use tests::fleet::sensor::Sensor;
use tests::{binaries, figure, interrupt};

use crate::guard::status_field;

/// The host that is watched.
const HOST: &str = "web-1";
/// Rules are compiled, files scanned at the lowest priority, beside other trials.
const LIMIT: Duration = Duration::from_secs(90);
/// Marks the script over which a rule loops.
const MARK: &str = "slow-on-purpose";
/// Size of a file without content.
const SPARSE_BYTES: u64 = 1 << 30;
/// Memory that the scanner may take at most: what the unit gives it.
const MEMORY_KIB: u64 = 512 * 1024;

/// A rule that matches a marked file and then counts for longer than anybody waits, and a file that
/// does not compile.
const SLOW: &str = "rule slow { strings: $m = \"slow-on-purpose\" condition: $m and \
    for all i in (0..2000000000) : (for all j in (0..2000000000) : (i + j >= 0)) }\n";
const BROKEN: &str = "rule fine { condition: true }\nrule broken { condition: nothing }\n";

/// The test file runs as a script, a harmless program runs, and two files are too much.
pub fn rules_find_what_runs() -> Result<()> {
    let hosts = Hosts::new("test-scan")?;
    let policies = policies(&hosts)?;
    let brain = Brain::start_with(
        Settings {
            folder: hosts.subfolder("brain")?,
            place: hosts.control(),
            webhook: None,
            http: ([127, 0, 0, 1], 0).into(),
        },
        &format!("[policies]\ndir = \"{}\"\n", policies.display()),
    )?;
    let folder = hosts.subfolder(HOST)?;
    let socket = folder.join("scanner.socket");
    let mut scanner = hosts.control().command(binaries::find(binaries::SCANNER)?)?;
    let scanner =
        Running::start("the scanner", scanner.arg("listen").arg(&socket).stdin(Stdio::null()))?;
    let more = format!("[scan]\nsocket = \"{}\"\n", socket.display());
    let (control, place) = (hosts.control(), hosts.place(HOST));
    let mut sensor = Sensor::start_with(&folder, &control, HOST, &place, &brain, &more)?;
    let tried = interrupt::eventually("the rules' verdict", LIMIT, || {
        sensor.alive()?;
        let tried = brain.hosts()?.first().map(|host| host["yara"].clone());
        Ok(tried.filter(|tried| tried["rules"].as_u64().is_some_and(|rules| rules > 0)))
    })?;
    let problem = tried["problem"].as_str().unwrap_or_default();
    ensure!(problem.contains("broken.yar:2: unknown identifier `nothing`"), "{tried}");
    ensure!(!problem.contains("slow"), "{tried}");
    let sandbox = sandboxed(&scanner)?;
    let files = Files::make(&hosts)?;
    for path in [&files.test, &files.harmless, &files.sparse, &files.slow] {
        let mut command = place.command(path)?;
        Running::start("a program of the host", command.stdin(Stdio::null()))?.wait(LIMIT)?;
    }
    let finding = interrupt::eventually("the test file's finding", LIMIT, || {
        Ok(brain.findings()?.into_iter().find(is_of_malware))
    })?;
    ensure_tells(&finding, &files)?;
    let ledger = interrupt::eventually("files accounted for", LIMIT, || {
        let coverage = brain.hosts()?.first().map(|host| host["coverage"].clone());
        let lines = coverage.and_then(|coverage| coverage["ledger"].as_array().cloned());
        let scan = lines.into_iter().flatten().find(|line| line["signal"] == "scan");
        Ok(scan.filter(|scan| lost(scan, "timeout") > 0 && closed(scan)))
    })?;
    ensure!(lost(&ledger, "too_large") == 1 && lost(&ledger, "timeout") == 1, "{ledger}");
    let found = brain.findings()?;
    let found: Vec<&Value> = found.iter().filter(|finding| is_of_malware(finding)).collect();
    ensure!(found.len() == 1, "more than the test file was found: {found:?}");
    figure::tell(
        "Y-01",
        format_args!(
            "test file found with rule, hash and process, 0 others; {} files seen = {} scanned + {}; \
             a sparse file of 1 GiB and a rule without end skipped; scanner: {sandbox}",
            ledger["seen"], ledger["delivered"], ledger["lost"]
        ),
    );
    Ok(())
}

/// A policy folder with our rules, the slow one and a broken one.
fn policies(hosts: &Hosts) -> Result<PathBuf> {
    let ours = Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies");
    let folder = hosts.subfolder("policies")?;
    for part in ["yara", "detectors"] {
        fs::create_dir_all(folder.join(part))?;
        for entry in fs::read_dir(ours.join(part))? {
            let path = entry?.path();
            fs::copy(&path, folder.join(part).join(path.file_name().context("no name")?))?;
        }
    }
    fs::write(folder.join("yara/slow.yar"), SLOW)?;
    fs::write(folder.join("yara/broken.yar"), BROKEN)?;
    Ok(folder)
}

/// Says what the process that scans may do; it must be nobody, and next to nothing.
fn sandboxed(scanner: &Running) -> Result<String> {
    let pid = scanner.pid();
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
    let child: u32 = children.split_whitespace().next().context("nothing scans")?.parse()?;
    let field = |name: &str| status_field(child, name);
    let (uid, capabilities) = (field("Uid")?, field("CapEff")?);
    ensure!(!uid.starts_with('0'), "it runs as root: {uid}");
    ensure!(u64::from_str_radix(&capabilities, 16)? == 0, "it has capabilities: {capabilities}");
    ensure!(field("NoNewPrivs")? == "1" && field("Seccomp")? == "2", "it is not locked up");
    let kib = field("VmHWM")?;
    let kib: u64 = kib.split(' ').next().unwrap_or_default().parse()?;
    ensure!(kib < MEMORY_KIB, "it took {kib} KiB");
    let stat = fs::read_to_string(format!("/proc/{child}/stat"))?;
    let nice = stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(16));
    ensure!(nice == Some("19"), "its priority is {nice:?}");
    Ok(format!("no capabilities, seccomp, nice 19, {} MiB at most", kib / 1024))
}

/// What runs on the host.
struct Files {
    test: PathBuf,
    harmless: PathBuf,
    sparse: PathBuf,
    slow: PathBuf,
}

impl Files {
    fn make(hosts: &Hosts) -> Result<Self> {
        let folder = hosts.subfolder("programs")?;
        let script = |name: &str, text: &str| -> Result<PathBuf> {
            let path = folder.join(name);
            fs::write(&path, format!("#!/bin/sh\n# {text}\nexit 0\n"))?;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
            Ok(path)
        };
        // Put together here, so that this file is no test file itself.
        let eicar = [r"X5O!P%@AP[4\PZX54(P^)7CC)7}$EICAR-", "STANDARD-ANTIVIRUS-TEST-FILE!$H+H*"];
        let harmless = folder.join("harmless");
        fs::copy("/bin/true", &harmless)?;
        let sparse = script("sparse", "nothing follows")?;
        File::options().write(true).open(&sparse)?.set_len(SPARSE_BYTES)?;
        Ok(Self {
            test: script("test-file", &eicar.concat())?,
            harmless,
            sparse,
            slow: script("slow", MARK)?,
        })
    }
}

fn is_of_malware(finding: &Value) -> bool {
    finding["type"].as_str().is_some_and(|kind| kind.ends_with("File"))
}

/// A finding says which file, by what rule, and who ran it.
fn ensure_tells(finding: &Value, files: &Files) -> Result<()> {
    let text = finding.to_string();
    let path = files.test.display().to_string();
    for part in ["Execution:Host/MaliciousFile", HOST, "test_file", "test_file.yar", &path] {
        ensure!(text.contains(part), "the finding does not say {part}: {text}");
    }
    let content = fs::read(&files.test)?;
    let hash = sha256(&content)?;
    ensure!(text.contains(&hash), "the finding does not have the file's hash {hash}: {text}");
    ensure!(text.contains("\"pid\""), "the finding names no process: {text}");
    Ok(())
}

/// Asks the system's own tool for the hash.
fn sha256(content: &[u8]) -> Result<String> {
    use std::io::Write;
    let mut tool = std::process::Command::new("sha256sum");
    let mut tool = tool.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    tool.stdin.take().context("no input")?.write_all(content)?;
    let output = tool.wait_with_output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.split_whitespace().next().map(str::to_owned).context("no hash")
}

fn lost(line: &Value, reason: &str) -> u64 {
    let lines = line["lost"].as_array().into_iter().flatten();
    lines.filter(|lost| lost["reason"] == reason).filter_map(|lost| lost["count"].as_u64()).sum()
}

fn closed(line: &Value) -> bool {
    let losses = line["lost"].as_array().into_iter().flatten();
    let lost: u64 = losses.filter_map(|lost| lost["count"].as_u64()).sum();
    line["seen"].as_u64() == Some(line["delivered"].as_u64().unwrap_or(0) + lost)
}
