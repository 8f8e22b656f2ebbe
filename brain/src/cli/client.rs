//! Commands that ask a running brain.

use std::io::{self, Write};

use anyhow::{Context, Result, anyhow, bail};
use reqwest::{Certificate, Client, Method, Response, StatusCode};
use serde_json::{Value, json};

use super::table;
use super::{Findings, HostCommand, Server, TokenCommand};
use crate::app;

/// Findings asked for at once.
const PAGE: usize = 200;

/// A connection to the brain.
struct Brain {
    client: Client,
    base: String,
    token: String,
}

impl Brain {
    fn open(server: &Server) -> Result<Self> {
        app::install_provider();
        let path = server.token_file.clone().unwrap_or_else(|| server.data.join("cli.token"));
        let token = std::fs::read_to_string(&path).with_context(|| {
            format!(
                "failed to read {}; name the brain's data directory with --data",
                path.display()
            )
        })?;
        // The system's authorities have no say here, and a small image has none.
        let mut trusted = Vec::new();
        if server.server.starts_with("https://") {
            let path = app::ca_file(&server.data);
            let pem = std::fs::read(&path)
                .with_context(|| format!("failed to read {}", path.display()))?;
            trusted.push(Certificate::from_pem(&pem)?);
        }
        let client = Client::builder().no_proxy().tls_certs_only(trusted).build()?;
        let base = server.server.trim_end_matches('/').to_owned();
        Ok(Self { client, base, token: token.trim().to_owned() })
    }

    async fn call(&self, method: Method, path: &str, body: Option<Value>) -> Result<Value> {
        self.ask(method, path, &[], body).await
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        query: &[(&str, String)],
        body: Option<Value>,
    ) -> Result<Value> {
        let mut url = reqwest::Url::parse(&format!("{}/api/v1/{path}", self.base))
            .with_context(|| format!("{} is not the address of a brain", self.base))?;
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let mut request = self.client.request(method, url).bearer_auth(&self.token);
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send().await.with_context(|| {
            format!("failed to reach the brain at {}; is it running?", self.base)
        })?;
        read(response).await
    }
}

async fn read(response: Response) -> Result<Value> {
    let status = response.status();
    let text = response.text().await?;
    if status == StatusCode::NO_CONTENT {
        return Ok(Value::Null);
    }
    let value: Value = serde_json::from_str(&text).unwrap_or(Value::Null);
    if status.is_success() {
        return Ok(value);
    }
    match value["error"]["message"].as_str() {
        Some(message) => bail!("{message}"),
        None => bail!("the brain answered {status}"),
    }
}

/// `token …`
pub(super) async fn token(command: TokenCommand, server: &Server) -> Result<()> {
    let brain = Brain::open(server)?;
    match command {
        TokenCommand::Create { role, uses, ttl, json } => {
            let body = json!({"role": role, "uses": uses, "ttl_seconds": ttl});
            let token = brain.call(Method::POST, "tokens", Some(body)).await?;
            if json {
                print_lines([&token])
            } else {
                print(&format!("{}\n", text(&token["token"])))
            }
        }
        TokenCommand::List { json } => {
            let answer = brain.call(Method::GET, "tokens", None).await?;
            let tokens = list(&answer, "tokens")?;
            if json {
                return print_lines(tokens);
            }
            let row = |t: &Value| {
                ["id", "role", "uses_left", "expires"].map(|key| text(&t[key])).to_vec()
            };
            let rows: Vec<_> = tokens.iter().map(row).collect();
            print(&table::render(&["ID", "ROLE", "USES LEFT", "EXPIRES"], &rows))
        }
        TokenCommand::Revoke { id } => {
            brain.call(Method::DELETE, &format!("tokens/{}", segment(&id)?), None).await.map(|_| ())
        }
    }
}

/// `findings`
pub(super) async fn findings(flags: &Findings) -> Result<()> {
    let brain = Brain::open(&flags.server)?;
    let mut query = vec![("limit", PAGE.to_string())];
    let filters = [("host", &flags.host), ("type", &flags.kind), ("state", &flags.state)];
    query.extend(filters.into_iter().filter_map(|(key, value)| Some((key, value.clone()?))));
    query.extend(flags.min_severity.map(|min| ("min_severity", min.to_string())));
    let mut findings = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let mut query = query.clone();
        query.extend(after.take().map(|cursor| ("after", cursor)));
        let answer = brain.ask(Method::GET, "findings", &query, None).await?;
        findings.extend(list(&answer, "findings")?.iter().cloned());
        match answer["next"].as_str() {
            Some(next) => after = Some(next.to_owned()),
            None => break,
        }
    }
    if flags.json {
        return print_lines(&findings);
    }
    let row = |f: &Value| {
        let severity =
            format!("{:.1} {}", f["severity"].as_f64().unwrap_or(0.0), text(&f["severity_label"]));
        let name = text(&f["host"]["name"]);
        vec![
            severity,
            name,
            text(&f["type"]),
            text(&f["count"]),
            text(&f["last_seen"]),
            text(&f["title"]),
        ]
    };
    let rows: Vec<_> = findings.iter().map(row).collect();
    print(&table::render(&["SEVERITY", "HOST", "TYPE", "COUNT", "LAST SEEN", "TITLE"], &rows))
}

/// `hosts`
pub(super) async fn hosts(json: bool, server: &Server) -> Result<()> {
    let brain = Brain::open(server)?;
    let answer = brain.call(Method::GET, "hosts", None).await?;
    let hosts = list(&answer, "hosts")?;
    if json {
        return print_lines(hosts);
    }
    let row = |h: &Value| {
        let degraded = h["degraded"].as_bool().unwrap_or(false);
        let wrong = h["clock_wrong"].as_bool().unwrap_or(false);
        let state = format!(
            "{}{}{}",
            text(&h["state"]),
            if degraded { ", degraded" } else { "" },
            if wrong { ", clock wrong" } else { "" }
        );
        let keys = ["last_seen", "findings_open", "sensor_version", "kernel", "id"];
        let mut row = vec![text(&h["name"]), text(&h["role"]), state];
        row.extend(keys.map(|key| text(&h[key])));
        row
    };
    let rows: Vec<_> = hosts.iter().map(row).collect();
    let head = ["NAME", "ROLE", "STATE", "LAST SEEN", "FINDINGS", "SENSOR", "KERNEL", "ID"];
    print(&table::render(&head, &rows))
}

/// `host …`
pub(super) async fn host(command: HostCommand, server: &Server) -> Result<()> {
    let brain = Brain::open(server)?;
    let HostCommand::Revoke { host, json } = command;
    let answer = brain.call(Method::GET, "hosts", None).await?;
    let named: Vec<&Value> = (list(&answer, "hosts")?.iter())
        .filter(|h| h["id"] == host.as_str() || h["name"] == host.as_str())
        .collect();
    let id = match named.as_slice() {
        [] => bail!("there is no host {host}"),
        [one] => text(&one["id"]),
        more => bail!("{} hosts are called {host}; name one by its id", more.len()),
    };
    let revoked = brain
        .call(Method::POST, &format!("hosts/{}/revoke", segment(&id)?), Some(json!({})))
        .await?;
    if json {
        return print_lines([&revoked]);
    }
    print(&format!("{} ({id}) is revoked\n", text(&revoked["name"])))
}

fn list<'a>(answer: &'a Value, key: &str) -> Result<&'a Vec<Value>> {
    answer[key]
        .as_array()
        .ok_or_else(|| anyhow!("the brain's answer has no {key}; are both of one version?"))
}

/// Refuses ids that would lead to another path.
fn segment(id: &str) -> Result<&str> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    if !id.is_empty() && id.chars().all(plain) { Ok(id) } else { bail!("{id:?} is not an id") }
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "-".to_owned(),
        other => other.to_string(),
    }
}

fn print_lines<'a>(values: impl IntoIterator<Item = &'a Value>) -> Result<()> {
    let lines: String = values.into_iter().map(|value| format!("{value}\n")).collect();
    print(&lines)
}

/// Writes to standard output; a reader that has seen enough is no failure.
pub(super) fn print(text: &str) -> Result<()> {
    match io::stdout().write_all(text.as_bytes()).and_then(|()| io::stdout().flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}
