//! What policies want of sensors reaches them, again when it changes, and comes back as applied or
//! not.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use wire::control::{Control, SettingsReply};

use crate::brain::{Brain, eventually};
use crate::sensor::{self, Session, enrol};

fn write(folder: &Path, text: &str) {
    fs::create_dir_all(folder.join("sensors")).unwrap();
    fs::write(folder.join("sensors/web.toml"), text).unwrap();
}

/// Reads the next settings and answers them; returns their text.
async fn settle(session: &mut Session, problem: &str) -> String {
    let Some(Control::Settings(settings)) = sensor::read(&mut session.answers).await else {
        panic!("no settings")
    };
    let reply = SettingsReply { revision: settings.revision, problem: problem.to_owned() };
    sensor::write(&mut session.control, &Control::SettingsReply(reply)).await;
    settings.text
}

async fn shown(brain: &Brain, id: &str, fits: impl Fn(&Value) -> bool) -> Value {
    let path = format!("/api/v1/hosts/{id}");
    eventually("settings in the host's view", async || {
        let settings = brain.access.get(&path).await["settings"].clone();
        fits(&settings).then_some(settings)
    })
    .await
}

#[tokio::test]
async fn a_role_gets_its_settings_at_once_and_when_they_change() {
    let policies = tempfile::tempdir().unwrap();
    write(policies.path(), "[collect]\ntick_ms = 500\n");
    let folder = policies.path().to_owned();
    let brain = Brain::start_with(|config| config.policies.dir = Some(folder)).await;
    let token = brain.access.join_token(1, 60).await;
    let identity = enrol(brain.access.quic, &token, "web-1").await.unwrap();
    let mut session = Session::begin(brain.access.quic, &identity, 1).await;

    assert_eq!(settle(&mut session, "").await, "[collect]\ntick_ms = 500\n");
    let first = shown(&brain, &identity.id, Value::is_object).await;
    assert_eq!(first["problem"], Value::Null);

    write(policies.path(), "[collect]\ntick_ms = 1\n");
    brain.app.reload_policies().await.unwrap();
    let why = "`collect.tick_ms` is 1\x1b[2J; write 100 to 60000";
    assert_eq!(settle(&mut session, why).await, "[collect]\ntick_ms = 1\n");
    let second = shown(&brain, &identity.id, |settings| !settings["problem"].is_null()).await;
    assert_ne!(second["revision"], first["revision"]);
    let shown = "`collect.tick_ms` is 1\\x1b[2J; write 100 to 60000";
    assert_eq!(second["problem"], json!(shown));

    // An answer to nothing is a broken rule.
    let reply = SettingsReply { revision: "x".to_owned(), problem: String::new() };
    sensor::write(&mut session.control, &Control::SettingsReply(reply)).await;
    let Some(Control::Refusal(refusal)) = sensor::read(&mut session.answers).await else {
        panic!("no refusal")
    };
    assert_eq!(refusal.reason, "unexpected_message");
}
