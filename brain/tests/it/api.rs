//! Who may ask what over HTTP.

use brain::app::Config;
use reqwest::{Client, Method, Response, StatusCode, header};
use serde_json::{Value, json};

use crate::brain::{Brain, eventually};
use crate::sensor::{Session, enrol, fileless};

const PASSWORD: &str = "correct horse battery";

async fn send(
    brain: &Brain,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: Value,
) -> Response {
    let mut request = Client::builder()
        .no_proxy()
        .build()
        .unwrap()
        .request(method, format!("{}{path}", brain.access.http));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    if !body.is_null() {
        request = request.json(&body);
    }
    request.send().await.unwrap()
}

fn account(token: &str, password: &str) -> Value {
    json!({"token": token, "user": "admin", "password": password})
}

/// Makes the first account; returns its cookie and the session's CSRF value.
async fn set_up(brain: &Brain) -> (String, String) {
    let link = brain.app.setup_link().unwrap();
    let token = link.split_once("?token=").unwrap().1;
    let response = send(brain, Method::POST, "/api/v1/setup", &[], account(token, PASSWORD)).await;
    assert_eq!(response.status(), StatusCode::OK);
    let cookie = response.headers()[header::SET_COOKIE].to_str().unwrap().to_owned();
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"), "{cookie}");
    let session: Value = response.json().await.unwrap();
    let cookie = cookie.split(';').next().unwrap().to_owned();
    (cookie, session["csrf"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn every_route_asks_who_it_is() {
    let brain = Brain::start().await;
    let (cookie, csrf) = set_up(&brain).await;
    let token = format!("Bearer {}", brain.access.token);
    let reads = [
        "/api/v1/overview",
        "/api/v1/findings",
        "/api/v1/findings/f-none",
        "/api/v1/hosts",
        "/api/v1/hosts/none",
        "/api/v1/tokens",
    ];
    let writes = [
        (Method::POST, "/api/v1/findings/f-none/state", json!({"state": "archived"})),
        (Method::POST, "/api/v1/hosts/none/revoke", json!({})),
        (Method::POST, "/api/v1/tokens", json!({"role": "web", "uses": 1, "ttl_seconds": 60})),
        (Method::DELETE, "/api/v1/tokens/none", Value::Null),
        (Method::POST, "/api/v1/logout", json!({})),
    ];
    let strangers: [&[(&str, &str)]; 6] = [
        &[],
        &[("cookie", "sakuramori=made-up")],
        &[("cookie", "sakuramori=")],
        &[("authorization", "Bearer made-up")],
        &[("authorization", "Basic YTpi")],
        // A wrong token is not made good by a cookie.
        &[("authorization", "Bearer x"), ("cookie", &cookie)],
    ];
    for headers in strangers {
        for path in reads {
            let status = send(&brain, Method::GET, path, headers, Value::Null).await.status();
            assert_eq!(status, StatusCode::UNAUTHORIZED, "{path} {headers:?}");
        }
        let live = send(&brain, Method::GET, "/api/v1/live", headers, Value::Null).await.status();
        assert_eq!(live, StatusCode::UNAUTHORIZED);
        for (method, path, body) in &writes {
            let status = send(&brain, method.clone(), path, headers, body.clone()).await.status();
            assert_eq!(status, StatusCode::UNAUTHORIZED, "{path} {headers:?}");
        }
    }
    for path in reads {
        for headers in [[("cookie", cookie.as_str())], [("authorization", token.as_str())]] {
            let status = send(&brain, Method::GET, path, &headers, Value::Null).await.status();
            let expected =
                if path.contains("none") { StatusCode::NOT_FOUND } else { StatusCode::OK };
            assert_eq!(status, expected, "{path}");
        }
    }
    for (method, path, body) in &writes {
        for wrong in ["", "made-up"] {
            let headers = [("cookie", cookie.as_str()), ("x-sakuramori-csrf", wrong)];
            let response = send(&brain, method.clone(), path, &headers, body.clone()).await;
            assert_eq!(response.status(), StatusCode::FORBIDDEN, "{path}");
        }
        let headers = [("cookie", cookie.as_str()), ("x-sakuramori-csrf", csrf.as_str())];
        let status = send(&brain, method.clone(), path, &headers, body.clone()).await.status();
        let expected = if path.contains("none") { StatusCode::NOT_FOUND } else { StatusCode::OK };
        assert_eq!(status, expected, "{path}");
    }
    // The last of them was the log-out.
    let headers = [("cookie", cookie.as_str())];
    let after = send(&brain, Method::GET, "/api/v1/overview", &headers, Value::Null).await;
    assert_eq!(after.status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn the_first_account_needs_the_link_and_is_made_once() {
    let brain = Brain::start().await;
    let session: Value =
        send(&brain, Method::GET, "/api/v1/session", &[], Value::Null).await.json().await.unwrap();
    assert_eq!(
        session,
        json!({"setup_required": true, "user": null, "csrf": null, "version": "0.1.0"})
    );
    let wrong =
        send(&brain, Method::POST, "/api/v1/setup", &[], account("made-up", PASSWORD)).await;
    assert_eq!(wrong.status(), StatusCode::FORBIDDEN);
    let link = brain.app.setup_link().unwrap().to_owned();
    let token = link.split_once("?token=").unwrap().1;
    let short = send(&brain, Method::POST, "/api/v1/setup", &[], account(token, "short")).await;
    assert_eq!(short.status(), StatusCode::BAD_REQUEST);
    set_up(&brain).await;
    let again = send(&brain, Method::POST, "/api/v1/setup", &[], account(token, PASSWORD)).await;
    assert_eq!(again.status(), StatusCode::CONFLICT);
    let error: Value = again.json().await.unwrap();
    assert_eq!(error["error"]["code"], "already_set_up");
}

#[tokio::test]
async fn guessing_passwords_is_slowed_down() {
    let brain =
        Brain::start_with(|config: &mut Config| config.limits.failed_logins_per_minute = 3).await;
    set_up(&brain).await;
    let login = async |password: &str| {
        let body = json!({"user": "admin", "password": password});
        send(&brain, Method::POST, "/api/v1/login", &[], body).await
    };
    assert_eq!(login(PASSWORD).await.status(), StatusCode::OK);
    for _ in 0..3 {
        assert_eq!(login("wrong password").await.status(), StatusCode::UNAUTHORIZED);
    }
    let blocked = login(PASSWORD).await;
    assert_eq!(blocked.status(), StatusCode::TOO_MANY_REQUESTS);
    let wait: u64 = blocked.headers()[header::RETRY_AFTER].to_str().unwrap().parse().unwrap();
    assert!((1..=60).contains(&wait));
}

#[tokio::test]
async fn answers_carry_their_headers_and_odd_requests_get_an_error() {
    let brain = Brain::start().await;
    for path in ["/", "/findings", "/api/v1/session", "/api/v1/nothing", "/metrics"] {
        let response = send(&brain, Method::GET, path, &[], Value::Null).await;
        let headers = response.headers();
        let policy = headers["content-security-policy"].to_str().unwrap();
        assert!(policy.contains("frame-ancestors 'none'") && !policy.contains("unsafe"), "{path}");
        assert_eq!(headers["x-content-type-options"], "nosniff");
        assert_eq!(headers["referrer-policy"], "no-referrer");
    }
    let token = format!("Bearer {}", brain.access.token);
    let auth = [("authorization", token.as_str())];
    let odd = [
        (Method::GET, "/api/v1/nothing", Value::Null, 404),
        (Method::PUT, "/api/v1/hosts", Value::Null, 405),
        (Method::GET, "/api/v1/findings?after=x", Value::Null, 400),
        (Method::GET, "/api/v1/findings?limit=x", Value::Null, 400),
        (Method::GET, "/api/v1/findings?state=gone", Value::Null, 400),
        (Method::GET, "/api/v1/findings?colour=red", Value::Null, 400),
        (
            Method::POST,
            "/api/v1/tokens",
            json!({"role": "Web!", "uses": 1, "ttl_seconds": 60}),
            400,
        ),
        (Method::POST, "/api/v1/tokens", json!([[[[[]]]]]), 400),
        (Method::POST, "/api/v1/tokens", json!({"role": "x".repeat(100_000)}), 413),
    ];
    for (method, path, body, status) in odd {
        let response = send(&brain, method, path, &auth, body).await;
        assert_eq!(response.status().as_u16(), status, "{path}");
        let error: Value = response.json().await.unwrap();
        assert!(error["error"]["message"].is_string(), "{path}: {error}");
    }
}

#[tokio::test]
async fn a_decision_is_kept_in_the_findings_history() {
    let brain = Brain::start().await;
    let token = brain.access.join_token(1, 60).await;
    let identity = enrol(brain.access.quic, &token, "web\u{202e}-1").await.unwrap();
    let mut session = Session::begin(brain.access.quic, &identity, 1).await;
    session.deliver(&fileless(1, 1, "evil\x1b[2J")).await;
    let findings = async || Some(brain.access.findings().await).filter(|f| !f.is_empty());
    let found = eventually("the finding", findings).await;
    let finding = &found[0];
    assert_eq!(
        (finding["type"].as_str(), finding["state"].as_str()),
        (Some("DefenseEvasion:Host/FilelessExecution"), Some("open"))
    );
    assert_eq!(finding["host"]["name"], "web\\u{202e}-1");
    let text = finding.to_string();
    assert!(text.contains("evil\\\\x1b[2J") && !text.contains("\\u001b"), "{text}");
    let path = format!("/api/v1/findings/{}/state", finding["id"].as_str().unwrap());
    let body = json!({"state": "acknowledged", "note": "looking"});
    let (status, after) = brain.access.ask(Method::POST, &path, Some(body)).await;
    assert_eq!((status, after["state"].as_str()), (StatusCode::OK, Some("acknowledged")));
    assert_eq!(
        (&after["history"][0]["user"], &after["history"][0]["note"]),
        (&json!("cli"), &json!("looking"))
    );
    let listed = brain.access.get("/api/v1/findings?state=open").await;
    assert_eq!((&listed["total"], &listed["next"]), (&json!(0), &Value::Null));
    let overview = brain.access.get("/api/v1/overview").await;
    assert_eq!(
        (&overview["findings"]["open"], &overview["hosts"]["online"]),
        (&json!(0), &json!(1))
    );
}

#[tokio::test]
async fn the_live_stream_tells_of_findings_and_hosts() {
    let brain = Brain::start().await;
    let token = brain.access.join_token(1, 60).await;
    let identity = enrol(brain.access.quic, &token, "web-1").await.unwrap();
    let request = brain.access.client.get(format!("{}/api/v1/live", brain.access.http));
    let mut stream = request.bearer_auth(&brain.access.token).send().await.unwrap();
    let mut session = Session::begin(brain.access.quic, &identity, 1).await;
    session.deliver(&fileless(1, 1, "x")).await;
    let mut text = String::new();
    let wanted = [
        "event: finding\ndata: {\"id\":\"f-",
        "event: host\ndata: {\"id\":",
        "event: overview\ndata: {",
    ];
    while !wanted.iter().all(|part| text.contains(part)) {
        let chunk = tokio::time::timeout(std::time::Duration::from_secs(20), stream.chunk()).await;
        text.push_str(&String::from_utf8_lossy(&chunk.expect(&text).unwrap().unwrap()));
    }
}

#[tokio::test]
async fn a_list_is_walked_page_by_page_without_gaps() {
    let brain = Brain::start().await;
    let token = brain.access.join_token(5, 60).await;
    for n in 0..5 {
        let identity = enrol(brain.access.quic, &token, &format!("h{n}")).await.unwrap();
        let mut session = Session::begin(brain.access.quic, &identity, 1).await;
        session.deliver(&fileless(1, 1, "x")).await;
    }
    let five = async || (brain.access.findings().await.len() == 5).then_some(());
    eventually("five findings", five).await;
    let mut seen = Vec::new();
    let mut path = "/api/v1/findings?limit=2".to_owned();
    loop {
        let page = brain.access.get(&path).await;
        assert_eq!(page["total"], 5);
        seen.extend(
            page["findings"].as_array().unwrap().iter().map(|f| f["host"]["name"].to_string()),
        );
        let Some(next) = page["next"].as_str() else { break };
        path = format!("/api/v1/findings?limit=2&after={next}");
    }
    seen.sort();
    assert_eq!(seen, (0..5).map(|n| format!("\"h{n}\"")).collect::<Vec<_>>());
}

#[tokio::test]
async fn beyond_loopback_http_has_tls_of_the_fleets_own_ca() {
    let data = tempfile::tempdir().unwrap();
    let mut config = Config { data: Some(data.path().to_owned()), ..Config::default() };
    config.ingest.listen.set_port(0);
    config.http.listen = "0.0.0.0:0".parse().unwrap();
    let app = brain::app::App::start(config).await.unwrap();
    assert!(app.console_url().starts_with("https://"));
    let pem = std::fs::read(brain::app::ca_file(data.path())).unwrap();
    let client = Client::builder()
        .no_proxy()
        .tls_certs_only([reqwest::Certificate::from_pem(&pem).unwrap()])
        .build()
        .unwrap();
    let port = app.http_address().port();
    let response = client.get(format!("https://localhost:{port}/healthz")).send().await.unwrap();
    assert!(response.headers().contains_key("strict-transport-security"));
    assert_eq!(response.text().await.unwrap(), "ok\n");
    app.shutdown().await.unwrap();
}
