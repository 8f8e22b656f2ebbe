//! Messages to a webhook: each finding once, in time, whatever the receiver does.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use serde_json::Value;

use crate::brain::{Brain, Program, eventually};
use crate::sensor::{Session, enrol, fileless};

/// A receiver that writes down what comes, and answers as it is told.
#[derive(Clone, Default)]
struct Sink {
    taken: Arc<Mutex<Vec<Value>>>,
    answers: Arc<Mutex<VecDeque<Answer>>>,
}

#[derive(Clone, Copy)]
enum Answer {
    Status(u16),
    RetryAfter(u64),
    Redirect(&'static str),
}

impl Sink {
    async fn start(&self) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().route("/hook", post(take)).with_state(self.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        format!("http://{address}/hook")
    }

    fn will_answer(&self, answers: &[Answer]) {
        self.answers.lock().unwrap().extend(answers);
    }

    /// Returns titles of the messages that were taken.
    fn titles(&self) -> Vec<String> {
        self.taken.lock().unwrap().iter().map(|m| m["text"].as_str().unwrap().to_owned()).collect()
    }
}

async fn take(State(sink): State<Sink>, Json(message): Json<Value>) -> Response {
    let answer = sink.answers.lock().unwrap().pop_front();
    match answer {
        None => {
            sink.taken.lock().unwrap().push(message);
            "ok".into_response()
        }
        Some(Answer::Status(status)) => StatusCode::from_u16(status).unwrap().into_response(),
        Some(Answer::RetryAfter(seconds)) => {
            (StatusCode::TOO_MANY_REQUESTS, [("retry-after", seconds.to_string())]).into_response()
        }
        Some(Answer::Redirect(to)) => (StatusCode::FOUND, [("location", to)]).into_response(),
    }
}

async fn brain_with(sink: &Sink, per_minute: u32) -> Brain {
    let url = sink.start().await;
    Brain::start_with(|config| {
        config.notify.slack_webhook = Some(url);
        config.notify.allow_private = true;
        config.notify.max_per_minute = per_minute;
    })
    .await
}

async fn session(brain: &crate::brain::Access) -> Session {
    let token = brain.join_token(1, 600).await;
    let identity = enrol(brain.quic, &token, "web-1").await.unwrap();
    Session::begin(brain.quic, &identity, 1).await
}

#[tokio::test]
async fn a_finding_is_told_once_also_when_the_receiver_fails_first() {
    let sink = Sink::default();
    sink.will_answer(&[
        Answer::Status(500),
        Answer::RetryAfter(1),
        Answer::Redirect("http://127.0.0.1:1/"),
    ]);
    let brain = brain_with(&sink, 60).await;
    let mut session = session(&brain.access).await;
    for seq in 1..=5 {
        session.deliver(&fileless(1, seq, "x")).await;
    }
    eventually("the message", async || (!sink.titles().is_empty()).then_some(())).await;
    let sent = "sakuramori_notifications_total{outcome=\"sent\"}";
    eventually("its note", async || (brain.access.metric(sent).await == 1).then_some(())).await;
    assert_eq!(brain.access.metric("sakuramori_notifications_total{outcome=\"retried\"}").await, 3);
    session.deliver(&fileless(1, 6, "x")).await;
    session.deliver(&fileless(1, 7, "other")).await;
    eventually("the next message", async || (sink.titles().len() == 2).then_some(())).await;
    let titles = sink.titles();
    assert_ne!(titles[0], titles[1]);
}

#[tokio::test]
async fn many_findings_become_one_message_that_says_how_many() {
    let sink = Sink::default();
    // The receiver is slow to come back, and meanwhile a lot is found.
    sink.will_answer(&[Answer::RetryAfter(2)]);
    let brain = brain_with(&sink, 4).await;
    let mut session = session(&brain.access).await;
    for seq in 1..=40 {
        session.deliver(&fileless(1, seq, &format!("p{seq}"))).await;
    }
    let digest = async || sink.titles().into_iter().find(|title| title.ends_with("more findings"));
    let digest = eventually("the digest", digest).await;
    let told = sink.titles().len() - 1;
    assert!(told <= 3, "{:?}", sink.titles());
    let more: usize = digest.split(' ').next().unwrap().parse().unwrap();
    assert_eq!(told + more, 40, "{:?}", sink.titles());
}

#[tokio::test]
async fn a_restart_tells_nothing_twice_and_forgets_nothing() {
    let sink = Sink::default();
    let url = sink.start().await;
    let data = tempfile::tempdir().unwrap();
    let flags = ["--webhook", &url, "--webhook-allow-private"];
    let brain = Program::start(data.path(), &flags);
    let token = brain.access.join_token(1, 600).await;
    let identity = enrol(brain.access.quic, &token, "web-1").await.unwrap();
    let mut session = Session::begin(brain.access.quic, &identity, 1).await;
    session.deliver(&fileless(1, 1, "first")).await;
    let sent = "sakuramori_notifications_total{outcome=\"sent\"}";
    eventually("the first", async || (brain.access.metric(sent).await == 1).then_some(())).await;
    // From here on the receiver is down, and the second finding stays untold until after the crash.
    sink.will_answer(&[Answer::Status(503); 3]);
    session.deliver(&fileless(1, 2, "second")).await;
    let tried = async || {
        (brain.access.metric("sakuramori_notifications_total{outcome=\"retried\"}").await > 0)
            .then_some(())
    };
    eventually("a failed try", tried).await;
    brain.kill();
    sink.answers.lock().unwrap().clear();
    let brain = Program::start(data.path(), &flags);
    eventually("the second", async || (brain.access.metric(sent).await == 1).then_some(())).await;
    let titles = sink.titles();
    assert_eq!(titles.len(), 2, "{titles:?}");
    assert!(titles[0].contains("first") && titles[1].contains("second"), "{titles:?}");
}

#[tokio::test]
async fn a_webhook_inside_is_never_reached_unless_allowed() {
    let sink = Sink::default();
    let url = sink.start().await.replace("http://", "https://");
    let brain = Brain::start_with(|config| config.notify.slack_webhook = Some(url)).await;
    let mut session = session(&brain.access).await;
    session.deliver(&fileless(1, 1, "x")).await;
    let tried = "sakuramori_notifications_total{outcome=\"retried\"}";
    eventually("a try", async || (brain.access.metric(tried).await > 0).then_some(())).await;
    assert!(sink.titles().is_empty());
    // Detection does not wait for it.
    session.deliver(&fileless(1, 2, "y")).await;
    eventually("both findings", async || (brain.access.findings().await.len() == 2).then_some(()))
        .await;
}
