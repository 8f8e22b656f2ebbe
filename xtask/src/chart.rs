//! The Helm chart, checked: rendered by Helm's own engine, held against Kubernetes' own schemas and
//! against the pod security standards. Each check first has to refuse something that is known to be
//! bad. What was rendered is then run, as far as that is possible without a cluster.

mod psa;

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::count::Count;
use crate::setup::chart as tools;
use crate::{shell, test};

/// The chart, from the workspace's folder.
const CHART: &str = "deploy/helm/sakuramori-sensor";
/// The page whose table says what of the pod the standards refuse, and why it is so.
const PAGE: &str = "deploy/README.md";
/// Kubernetes releases whose schemas the manifests have to fit: the oldest that the chart takes,
/// the newest, and one between.
const KUBERNETES: [&str; 3] = ["1.30", "1.34", "1.37"];
const SCRIPT: &str = include_str!("chart/render.py");
/// Lint messages from here on are warnings and errors.
const LINT_WARNING: u64 = 2;
/// Where a trial finds the rendered pod.
const POD_VARIABLE: &str = "SAKURAMORI_POD";

/// What render.py answers.
#[derive(Debug, Deserialize)]
struct Answer {
    engine: String,
    lint: Vec<Value>,
    cases: Vec<Case>,
}

/// One rendering.
#[derive(Debug, Deserialize)]
struct Case {
    name: String,
    error: Option<String>,
    documents: Vec<Value>,
    invalid: Vec<String>,
}

/// Checks the chart, and runs the sensor as its pod would.
pub fn run() -> Result<Count> {
    check(true)
}

/// Checks what is rendered; with `trial` runs it as well, which needs everything built.
pub fn check(trial: bool) -> Result<Count> {
    let Some(python) = tools::python() else {
        let missing = tools::missing().unwrap_or_default();
        let why = format!("chart: needs {missing}; `cargo xtask setup chart` gets them");
        let mut count = Count::default();
        count.skipped.push(why);
        return Ok(count);
    };
    let broken = Broken::make()?;
    let answer = ask(&python, &request(&broken.0))?;
    let mut count = Count::default();
    for (name, outcome) in judge(&answer)? {
        let told = outcome.as_ref().map_or_else(|why| format!("FAILED: {why}"), Clone::clone);
        println!("chart: {name}: {told}");
        count.add(Count::of_one(outcome.is_ok()));
    }
    if !trial {
        return Ok(count);
    }
    let pod = broken.0.join("pod.json");
    let default = answer.cases.first().context("nothing was rendered")?;
    fs::write(&pod, serde_json::to_vec(&default.documents)?)?;
    let program = test::test_program("fleet")?;
    let mut trial = shell::as_root("env");
    trial.arg(format!("{POD_VARIABLE}={}", pod.display())).arg(program);
    count.add(test::harness(trial.args(["--nocapture", "pod::"]))?);
    Ok(count)
}

/// Values that render, values that the schema must refuse, and templates that the cluster would.
fn request(folder: &Path) -> Value {
    let chart = shell::root().join(CHART);
    let good = json!({"address": "brain.example:7443"});
    let case = |name: &str, values: Value| json!({"name": name, "chart": &chart, "values": values});
    let bad =
        |name: &str| json!({"name": name, "chart": folder.join(name), "values": {"brain": &good}});
    let with = |more: Value| {
        let mut values = json!({"brain": &good});
        let own = more.as_object().cloned().unwrap_or_default();
        values.as_object_mut().into_iter().for_each(|values| values.extend(own.clone()));
        values
    };
    let config =
        json!({"collect": {"tick_ms": 2000, "interfaces": ["eth*"]}, "log": {"level": "warn"}});
    json!({"chart": &chart, "kubernetes": KUBERNETES, "cases": [
        case("good: default", with(json!({}))),
        case("good: least", with(json!({
            "pin": false, "hostAccess": {"folders": [], "tracefs": false}, "appArmorProfile": null,
        }))),
        case("good: most", with(json!({
            "config": config, "seLinuxOptions": {"type": "spc_t"}, "podLabels": {"a": "b"},
            "image": {"digest": format!("sha256:{}", "0".repeat(64))},
            "imagePullSecrets": [{"name": "pull"}], "serviceAccount": {"name": "own"},
            "extraEnv": [{"name": "A", "value": "b"}], "podAnnotations": {"a": "b"},
            "seccompProfile": {"type": "Localhost", "localhostProfile": "sensor.json"},
        }))),
        case("refused: no address", json!({})),
        case("refused: misspelt", with(json!({"tolerationz": []}))),
        case("refused: SYS_ADMIN", with(json!({"capabilities": ["BPF", "SYS_ADMIN"]}))),
        case("refused: no filter", with(json!({"seccompProfile": {"type": "Unconfined"}}))),
        case("refused: digest", with(json!({"image": {"digest": "sha256:1"}}))),
        case("refused: section", with(json!({"config": {"colect": {}}}))),
        bad("invalid: field"),
        bad("invalid: type"),
        bad("audited: privileged"),
    ]})
}

/// Copies of the chart with one mistake each, removed with this value.
struct Broken(PathBuf);

impl Broken {
    fn make() -> Result<Self> {
        let folder = std::env::temp_dir().join(format!("sakuramori-chart-{}", std::process::id()));
        let broken = Self(folder);
        for (name, right, wrong) in [
            ("invalid: field", "readOnlyRootFilesystem:", "readOnlyRootFileSystem:"),
            ("invalid: type", "hostPID: true", "hostPID: \"yes\""),
            ("audited: privileged", "privileged: false", "privileged: true"),
        ] {
            let copy = broken.0.join(name);
            copy_folder(&shell::root().join(CHART), &copy)?;
            let template = copy.join("templates/daemonset.yaml");
            let text = fs::read_to_string(&template)?;
            ensure!(text.contains(right), "the template has no {right}");
            fs::write(&template, text.replace(right, wrong))?;
        }
        Ok(broken)
    }
}

impl Drop for Broken {
    fn drop(&mut self) {
        // In the folder for such things, which is emptied anyway.
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from).with_context(|| from.display().to_string())? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        match entry.file_type()?.is_dir() {
            true => copy_folder(&entry.path(), &target)?,
            false => fs::copy(entry.path(), target).map(drop)?,
        }
    }
    Ok(())
}

fn ask(python: &Path, request: &Value) -> Result<Answer> {
    let mut render = Command::new(python);
    render.args(["-c", SCRIPT]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = render.spawn().context("cannot start Python")?;
    let mut input = child.stdin.take().context("Python takes no input")?;
    input.write_all(request.to_string().as_bytes())?;
    drop(input);
    let output = child.wait_with_output()?;
    ensure!(output.status.success(), "render.py failed; its own message is above");
    serde_json::from_slice(&output.stdout).context("render.py did not answer")
}

/// A check's name, and what it says.
type Outcome = (String, Result<String, String>);

fn judge(answer: &Answer) -> Result<Vec<Outcome>> {
    let mut outcomes = vec![("lint".to_owned(), lint(answer))];
    for case in &answer.cases {
        outcomes.push((case.name.clone(), of_case(case)));
    }
    let default = answer.cases.first().context("nothing was rendered")?;
    let found = audited(default);
    outcomes.push(("pod security".to_owned(), excused(&found)));
    outcomes.push(("confined".to_owned(), confined(default)));
    Ok(outcomes)
}

fn lint(answer: &Answer) -> Result<String, String> {
    let is_serious = |message: &&Value| message["severity"].as_u64().unwrap_or(0) >= LINT_WARNING;
    let serious: Vec<String> =
        answer.lint.iter().filter(is_serious).map(ToString::to_string).collect();
    if serious.is_empty() {
        Ok(format!("clean, {}", answer.engine))
    } else {
        Err(serious.join("; "))
    }
}

/// The first word of a case's name says what has to become of it.
fn of_case(case: &Case) -> Result<String, String> {
    let error = case.error.as_deref().map(|error| error.lines().last().unwrap_or(error).trim());
    let (documents, invalid) = (case.documents.len(), case.invalid.join("; "));
    let expected = case.name.split(':').next().unwrap_or_default();
    match (expected, error) {
        ("refused", Some(error)) => Ok(format!("the values are refused: {error}")),
        ("refused", None) => Err("the values were taken".to_owned()),
        (_, Some(error)) => Err(format!("it does not render: {error}")),
        ("good", None) if documents > 0 && invalid.is_empty() => {
            Ok(format!("{documents} manifests fit Kubernetes {}", KUBERNETES.join(", ")))
        }
        ("invalid", None) if !invalid.is_empty() => Ok(format!("the schema refuses: {invalid}")),
        ("audited", None) => audited(case)
            .into_iter()
            .find(|(_, check, _)| *check == "privileged")
            .map(|_| "the audit finds it".to_owned())
            .ok_or_else(|| "the audit does not find it".to_owned()),
        (_, None) => Err(format!("{documents} manifests, wrong: {invalid:?}")),
    }
}

fn pod(case: &Case) -> &Value {
    let set = case.documents.iter().find(|document| document["kind"] == "DaemonSet");
    set.map_or(&Value::Null, |set| &set["spec"]["template"]["spec"])
}

fn audited(case: &Case) -> BTreeSet<psa::Violation> {
    psa::audit(pod(case))
}

/// Compares what the standards refuse with what the page says of it: neither more nor less.
fn excused(found: &BTreeSet<psa::Violation>) -> Result<String, String> {
    let page = fs::read_to_string(shell::root().join(PAGE)).map_err(|error| error.to_string())?;
    let told: BTreeSet<String> = page.lines().filter_map(told_violation).collect();
    let found: BTreeSet<String> =
        found.iter().map(|(level, check, what)| format!("{level} {check} {what}")).collect();
    let more: Vec<&String> = found.difference(&told).collect();
    let less: Vec<&String> = told.difference(&found).collect();
    match more.is_empty() && less.is_empty() && !found.is_empty() {
        true => Ok(format!("{} violations, each with its reason in {PAGE}", found.len())),
        false => Err(format!("not in {PAGE}: {more:?}; only there: {less:?}")),
    }
}

/// Reads a row `| level | check | what | why |`.
fn told_violation(line: &str) -> Option<String> {
    let cells: Vec<&str> = line.split('|').map(|cell| cell.trim().trim_matches('`')).collect();
    let [_, level @ ("baseline" | "restricted"), check, what, why, _] = cells[..] else {
        return None;
    };
    (!why.is_empty()).then(|| format!("{level} {check} {what}"))
}

/// What every container of the pod has to be, whatever the standards say.
fn confined(case: &Case) -> Result<String, String> {
    let pod = pod(case);
    let containers: Vec<&Value> = pod["containers"].as_array().into_iter().flatten().collect();
    for container in &containers {
        let context = &container["securityContext"];
        for (what, good) in [
            ("privileged", context["privileged"] != true),
            ("no read-only root", context["readOnlyRootFilesystem"] == true),
            ("may gain privileges", context["allowPrivilegeEscalation"] == false),
            ("capabilities are not dropped", context["capabilities"]["drop"] == json!(["ALL"])),
            ("no limits", context.is_object() && container["resources"]["limits"].is_object()),
            ("no probe", container["livenessProbe"].is_object()),
        ] {
            if !good {
                return Err(what.to_owned());
            }
        }
    }
    if containers.is_empty() { Err("no container".to_owned()) } else { Ok("yes".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_the_page_are_read_and_need_a_reason() {
        let row = "| baseline | hostNamespaces | `hostPID` | process numbers |";
        assert_eq!(told_violation(row).unwrap(), "baseline hostNamespaces hostPID");
        assert_eq!(told_violation("| baseline | hostNamespaces | `hostPID` | |"), None);
        assert_eq!(told_violation("| other | a | b | c |"), None);
    }
}
