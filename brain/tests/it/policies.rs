//! Policies of a running brain: read again when they change, whatever state their folder is in, and
//! exceptions that change what people are told.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::brain::{Brain, eventually};
use crate::sensor::{Session, enrol, fileless};

const FILELESS: &str = "detector: fileless\n";

fn write(folder: &Path, name: &str, text: impl AsRef<[u8]>) {
    let path = folder.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    // As git and careful editors do, so that nobody reads half of it.
    let beside = path.with_extension("part");
    fs::write(&beside, text).unwrap();
    fs::rename(beside, path).unwrap();
}

fn rule(number: usize) -> String {
    format!(
        "title: Rule {number}\nid: rule-{number}\nlevel: low\nlogsource:\n    \
         category: process_creation\n    product: linux\ndetection:\n    selection:\n        \
         Image|endswith: '/tool{number}'\n        CommandLine|contains: '--flag{number}'\n    \
         condition: selection\n"
    )
}

fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "detectors/fileless.yml", FILELESS);
    write(folder.path(), "detectors/sigma.yml", "detector: sigma\n");
    write(folder.path(), "sigma/first.yml", rule(1));
    folder
}

async fn brain(folder: &TempDir) -> Brain {
    let folder = folder.path().to_owned();
    Brain::start_with(|config| config.policies.dir = Some(folder)).await
}

async fn session(brain: &Brain) -> Session {
    let token = brain.access.join_token(1, 60).await;
    let identity = enrol(brain.access.quic, &token, "web-1").await.unwrap();
    Session::begin(brain.access.quic, &identity, 1).await
}

async fn gauge(brain: &Brain, name: &str) -> u64 {
    brain.access.metric(&format!("sakuramori_policy_{name}")).await
}

/// Waits until the brain has noticed by itself that rules and errors are so many.
async fn settles(brain: &Brain, rules: u64, errors: u64, kept: u64) {
    let what = format!("{rules} rules, {errors} errors, {kept} kept");
    eventually(&what, async || {
        let now = [gauge(brain, "rules").await, gauge(brain, "errors").await];
        (now == [rules, errors] && gauge(brain, "kept").await == kept).then_some(())
    })
    .await;
}

async fn finds(brain: &Brain, session: &mut Session, seq: u64, name: &str) -> Value {
    session.deliver(&fileless(1, seq, name)).await;
    eventually("a finding", async || {
        let all = brain.access.findings().await;
        all.into_iter().find(|f| f["title"].as_str().is_some_and(|title| title.contains(name)))
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_is_in_the_folder_the_brain_goes_on() {
    let folder = folder();
    let brain = brain(&folder).await;
    let mut session = session(&brain).await;
    settles(&brain, 1, 0, 0).await;

    // Malformed where a good version is known, and where none is; 10 MB; a regex that explodes;
    // YAML that explodes; bytes that are no text.
    let bomb = rule(7).replace("Image|endswith: '/tool7'", "Image|re: '(((a{99}){99}){99}){99}'");
    let mut aliases = "a: &a [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for (name, of) in ["b", "c", "d", "e", "f", "g"].iter().zip(["a", "b", "c", "d", "e", "f"]) {
        aliases += &format!("{name}: &{name} [{}]\n", vec![format!("*{of}"); 10].join(", "));
    }
    write(folder.path(), "sigma/first.yml", "title: [\n");
    write(folder.path(), "sigma/large.yml", vec![b'#'; 10_000_000]);
    write(folder.path(), "sigma/regex.yml", bomb);
    write(folder.path(), "sigma/aliases.yml", aliases);
    write(folder.path(), "sigma/deep.yml", "- ".repeat(100_000));
    write(folder.path(), "sigma/nul.yml", b"title: a\0b\n");
    write(folder.path(), "sigma/twice.yml", "title: a\ntitle: b\n");
    write(folder.path(), "sigma/second.yml", rule(2));
    let begun = Instant::now();
    settles(&brain, 2, 7, 1).await;
    println!("8 hostile files were noticed, named and passed over within {:?}", begun.elapsed());
    finds(&brain, &mut session, 1, "payload-a").await;

    // Mended, the rest removed.
    for name in ["large", "regex", "aliases", "deep", "nul", "twice"] {
        fs::remove_file(folder.path().join(format!("sigma/{name}.yml"))).unwrap();
    }
    write(folder.path(), "sigma/first.yml", rule(1));
    settles(&brain, 2, 0, 0).await;

    // The folder goes away, and comes back with something else.
    let away = folder.path().with_extension("away");
    fs::rename(folder.path(), &away).unwrap();
    assert!(brain.app.reload_policies().await.is_err());
    finds(&brain, &mut session, 2, "payload-b").await;
    write(&away, "sigma/third.yml", rule(3));
    fs::rename(&away, folder.path()).unwrap();
    settles(&brain, 3, 0, 0).await;
    brain.app.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_thousand_rules_are_loaded_while_the_brain_goes_on() {
    const RULES: usize = 50_000;
    let folder = folder();
    let brain = brain(&folder).await;
    let mut session = session(&brain).await;
    for number in 2..=RULES {
        let name = format!("rules/public/{:03}/{number}.yml", number % 500);
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, rule(number)).unwrap();
    }
    let begun = Instant::now();
    let mut longest = Duration::ZERO;
    for seq in 1.. {
        let sent = Instant::now();
        finds(&brain, &mut session, seq, &format!("payload-{seq}")).await;
        longest = longest.max(sent.elapsed());
        if gauge(&brain, "rules").await == RULES as u64 {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(240), "they were never loaded");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    println!(
        "{RULES} rules: loaded {:?} after the last file, longest wait {longest:?}",
        begun.elapsed()
    );
    assert_eq!(gauge(&brain, "errors").await, 0);
    finds(&brain, &mut session, 1_000_000, "payload-after").await;
    brain.app.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_load_reloads_miss_no_event_and_double_no_finding() {
    const BATCHES: u64 = 400;
    const PROGRAMS: u64 = 5;
    let folder = folder();
    let brain = brain(&folder).await;
    let mut session = session(&brain).await;
    let stop = AtomicBool::new(false);
    let reloads = async {
        let mut count = 0usize;
        while !stop.load(Ordering::SeqCst) {
            count += 1;
            // Half of it broken, so that good versions go on.
            let text =
                if count.is_multiple_of(3) { "title: [\n".to_owned() } else { rule(10 + count) };
            write(folder.path(), "sigma/changing.yml", text);
            brain.app.reload_policies().await.unwrap();
        }
        count
    };
    let load = async {
        for seq in 1..=BATCHES {
            session.deliver(&fileless(1, seq, &format!("payload-{}", seq % PROGRAMS))).await;
        }
        stop.store(true, Ordering::SeqCst);
    };
    let (count, ()) = tokio::join!(reloads, load);
    let findings = eventually("all sightings", async || {
        let findings = brain.access.findings().await;
        let seen: u64 = findings.iter().map(|f| f["count"].as_u64().unwrap()).sum();
        (seen >= BATCHES).then_some(findings)
    })
    .await;
    let seen: u64 = findings.iter().map(|f| f["count"].as_u64().unwrap()).sum();
    println!(
        "{count} reloads under load: {} events missed, {} findings doubled",
        BATCHES - seen,
        findings.len() as u64 - PROGRAMS
    );
    assert_eq!((seen, findings.len() as u64), (BATCHES, PROGRAMS));
    assert!(count > 5, "{count} reloads");
    brain.app.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_that_never_rests_leaves_the_old_set_in_place() {
    let folder = folder();
    let brain = brain(&folder).await;
    let mut session = session(&brain).await;
    for number in 100..3_000 {
        write(folder.path(), &format!("sigma/{number}.yml"), rule(number));
    }
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::SeqCst) {
                write(folder.path(), "sigma/first.yml", rule(1));
            }
        });
        let waiting = async {
            let error = brain.app.reload_policies().await.unwrap_err();
            let error = format!("{error:#}");
            finds(&brain, &mut session, 1, "payload-a").await;
            error
        };
        let error =
            tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(waiting));
        stop.store(true, Ordering::SeqCst);
        assert!(error.contains("changed each of the"), "{error}");
    });
    settles(&brain, 2_901, 0, 0).await;
    brain.app.shutdown().await.unwrap();
}

#[tokio::test]
async fn what_is_suppressed_is_kept_apart_and_what_is_overridden_says_so() {
    let folder = folder();
    write(
        folder.path(),
        "suppress/known.yml",
        "owner: ops\nreason: our own loader\nexpires: 2100-01-01\n\
         match: {type: 'DefenseEvasion:Host/FilelessExecution', executable: '*known*'}\n",
    );
    write(
        folder.path(),
        "overrides/web.yml",
        "owner: ops\nreason: web hosts face the world\nmatch: {role: web}\nseverity: 9.5\n",
    );
    let brain = brain(&folder).await;
    let mut session = session(&brain).await;
    let hidden = finds(&brain, &mut session, 1, "known-payload").await;
    let told = finds(&brain, &mut session, 2, "other-payload").await;
    assert_eq!((&hidden["state"], &told["state"]), (&json!("suppressed"), &json!("open")));
    assert_eq!((&hidden["severity"], &told["severity"]), (&json!(9.5), &json!(9.5)));
    assert_eq!(hidden["history"][1]["user"], "policy suppress/known.yml");
    let note = hidden["history"][1]["note"].as_str().unwrap();
    assert!(note.starts_with("our own loader (owner ops; ends 2100-01-02)"), "{note}");
    let of = async |state: &str| {
        let answer = brain.access.get(&format!("/api/v1/findings?state={state}")).await;
        answer["total"].as_u64().unwrap()
    };
    assert_eq!((of("suppressed").await, of("open").await), (1, 1));
    assert_eq!(brain.access.get("/api/v1/overview").await["findings"]["open"], 1);

    // People can open it all the same, but they cannot suppress.
    let path = format!("/api/v1/findings/{}/state", told["id"].as_str().unwrap());
    let wish = json!({"state": "suppressed"});
    let (status, answer) = brain.access.ask(reqwest::Method::POST, &path, Some(wish)).await;
    assert_eq!(status, 400, "{answer}");

    // Without the file, the next sighting is news.
    fs::remove_file(folder.path().join("suppress/known.yml")).unwrap();
    brain.app.reload_policies().await.unwrap();
    session.deliver(&fileless(1, 3, "known-payload")).await;
    eventually("news", async || (of("open").await == 2).then_some(())).await;
    assert_eq!(of("suppressed").await, 1);
    brain.app.shutdown().await.unwrap();
}

fn policy(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sakuramori-brain"));
    command.arg("policy").args(arguments).output().unwrap()
}

fn lines(output: &Output) -> Vec<Value> {
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn the_commands_say_by_their_exit_code_how_it_went() {
    let good = folder();
    let dir = good.path().to_str().unwrap();
    let tested = policy(&["test", dir, "--json"]);
    assert_eq!(tested.status.code(), Some(0), "{tested:?}");
    let summary = lines(&tested).pop().unwrap();
    assert_eq!((&summary["rules"], &summary["errors"]), (&json!(1), &json!(0)), "{summary}");
    // Nothing has samples here.
    assert_eq!(policy(&["test", dir, "--strict"]).status.code(), Some(1));

    write(good.path(), "sigma/broken.yml", "title: T\nlogsource: {category: x}\n");
    let failed = policy(&["test", dir, "--format", "github"]);
    assert_eq!(failed.status.code(), Some(1));
    let text = String::from_utf8(failed.stdout).unwrap();
    let wanted = format!("::error file={dir}/sigma/broken.yml,line=");
    assert!(text.lines().any(|line| line.starts_with(&wanted)), "{text}");

    let event = good.path().join("events.jsonl");
    let seen = "{\"Image\": \"/bin/tool1\", \"CommandLine\": \"tool1 --flag1\"}\n";
    write(good.path(), "events.jsonl", format!("{seen}{{\"Image\": \"/bin/tool1\"}}\n"));
    let event = event.to_str().unwrap();
    let explained = policy(&["explain", "rule-1", "--event", event, "--json", dir]);
    assert_eq!(explained.status.code(), Some(0), "{explained:?}");
    let explained = lines(&explained);
    assert_eq!((&explained[0]["matched"], &explained[1]["matched"]), (&json!(true), &json!(false)));
    let item = &explained[1]["step"]["parts"][1];
    assert_eq!(item["note"], "the event does not have the field", "{item}");
    write(good.path(), "events.jsonl", "{\"Image\": \"/bin/other\"}\n");
    assert_eq!(policy(&["explain", "first", "--event", event, dir]).status.code(), Some(1));
    write(good.path(), "events.jsonl", "not json");
    for wrong in ["rule-1", "rule-2", "broken"] {
        let output = policy(&["explain", wrong, "--event", event, dir]);
        assert_eq!(output.status.code(), Some(2), "{wrong}: {output:?}");
    }

    for wrong in [vec!["test", "/nowhere"], vec!["test", "--format", "xml"], vec!["tset"]] {
        assert_eq!(policy(&wrong).status.code(), Some(2), "{wrong:?}");
    }
    let layer = good.path().join("layer.json");
    let covered = policy(&["coverage", "--navigator", layer.to_str().unwrap(), "--json"]);
    assert_eq!(covered.status.code(), Some(0), "{covered:?}");
    let layer: Value = serde_json::from_slice(&fs::read(layer).unwrap()).unwrap();
    assert_eq!(layer["versions"]["attack"], "19");
    assert!(layer["techniques"].as_array().unwrap().len() > 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forecast_reads_the_journal_of_a_running_brain_and_changes_nothing() {
    let current = folder();
    let brain = brain(&current).await;
    let mut session = session(&brain).await;
    for seq in 1..=3 {
        finds(&brain, &mut session, seq, &format!("payload-{seq}")).await;
    }
    let candidate = tempfile::tempdir().unwrap();
    write(candidate.path(), "detectors/sigma.yml", "detector: sigma\n");
    write(
        candidate.path(),
        "sigma/memfd.yml",
        rule(1)
            .replace("Image|endswith: '/tool1'", "Image|startswith: '/memfd:'")
            .replace("CommandLine|contains: '--flag1'", "CommandLine|contains: '--flag'"),
    );
    let data = brain.data.path();
    let before = tree(data);
    let [data, dir, now] = [data, candidate.path(), current.path()].map(|p| p.to_str().unwrap());
    let arguments = ["forecast", dir, "--current", now, "--data", data, "--since", "1h", "--json"];
    let output = tokio::task::block_in_place(|| policy(&arguments));
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(tree(brain.data.path()), before);
    let lines = lines(&output);
    let of = |change: &str| lines.iter().find(|line| line["change"] == change).unwrap();
    assert_eq!(of("new")["then"]["hosts"], json!(["web-1"]), "{lines:#?}");
    assert_eq!(of("new")["then"]["sightings"], 3);
    assert_eq!(
        (&of("gone")["policy"], &of("gone")["now"]["findings"]),
        (&json!("fileless"), &json!(3))
    );
    assert_eq!(lines.last().unwrap()["batches"], 3);
    brain.app.shutdown().await.unwrap();
}

/// Names and sizes of everything in the journal and the list of hosts.
fn tree(data: &Path) -> Vec<(String, u64)> {
    let mut all = Vec::new();
    for folder in ["journal", "keep"] {
        for entry in fs::read_dir(data.join(folder)).unwrap() {
            let entry = entry.unwrap();
            let bytes = entry.metadata().unwrap().len();
            all.push((entry.file_name().into_string().unwrap(), bytes));
        }
    }
    all.sort();
    all
}
