//! A brain to test against, in this process or as a program of its own.

use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use brain::app::{App, Config};
use brain::identity::TokenSecret;
use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Everything here is local, so what takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(20);

/// Asks until the answer is yes.
pub async fn eventually<T>(what: &str, ask: impl AsyncFnMut() -> Option<T>) -> T {
    within(PATIENCE, what, ask).await
}

/// Likewise, for what takes longer by design.
pub async fn within<T>(
    patience: Duration,
    what: &str,
    mut ask: impl AsyncFnMut() -> Option<T>,
) -> T {
    let deadline = Instant::now() + patience;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(Instant::now() < deadline, "{what} did not happen in {patience:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Where a brain is and how to talk to it.
pub struct Access {
    pub quic: SocketAddr,
    pub http: String,
    pub token: String,
    pub client: Client,
}

impl Access {
    fn new(quic: SocketAddr, http: String, data: &Path) -> Self {
        // A brain in this process would have done so; a test of programs alone has none.
        let _ = std::sync::Arc::unwrap_or_clone(brain::ca::provider()).install_default();
        let token = std::fs::read_to_string(data.join("cli.token")).unwrap().trim().to_owned();
        let client = Client::builder().no_proxy().build().unwrap();
        Self { quic, http, token, client }
    }

    pub async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> (StatusCode, Value) {
        let mut request =
            self.client.request(method, format!("{}{path}", self.http)).bearer_auth(&self.token);
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send().await.unwrap();
        let status = response.status();
        (status, serde_json::from_str(&response.text().await.unwrap()).unwrap_or(Value::Null))
    }

    pub async fn get(&self, path: &str) -> Value {
        let (status, value) = self.ask(Method::GET, path, None).await;
        assert_eq!(status, StatusCode::OK, "{path}: {value}");
        value
    }

    /// Makes a join token.
    pub async fn join_token(&self, uses: u32, ttl_seconds: u64) -> String {
        let body = json!({"role": "web", "uses": uses, "ttl_seconds": ttl_seconds});
        let (status, value) = self.ask(Method::POST, "/api/v1/tokens", Some(body)).await;
        assert_eq!(status, StatusCode::OK, "{value}");
        value["token"].as_str().unwrap().to_owned()
    }

    /// Returns a counter or gauge from `/metrics`, 0 when it is not there yet.
    pub async fn metric(&self, line: &str) -> u64 {
        let response = self.client.get(format!("{}/metrics", self.http)).send().await.unwrap();
        let text = response.text().await.unwrap();
        let value = text.lines().find_map(|l| l.strip_prefix(line)?.strip_prefix(' '));
        value.map_or(0, |value| value.parse::<f64>().unwrap() as u64)
    }

    pub async fn refused(&self, reason: &str) -> u64 {
        self.metric(&format!("sakuramori_ingest_refused_total{{reason=\"{reason}\"}}")).await
    }

    pub async fn findings(&self) -> Vec<Value> {
        let answer = self.get("/api/v1/findings?limit=500").await;
        answer["findings"].as_array().unwrap().clone()
    }
}

/// A brain in this process.
pub struct Brain {
    pub access: Access,
    pub app: App,
    pub data: TempDir,
}

impl Brain {
    pub async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub async fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        // Shown by `cargo test -- --nocapture`, or when a test fails.
        let _ = tracing_subscriber::fmt().with_test_writer().try_init();
        let data = tempfile::tempdir().unwrap();
        let mut config = Config { data: Some(data.path().to_owned()), ..Config::default() };
        config.ingest.listen.set_port(0);
        config.http.listen.set_port(0);
        change(&mut config);
        let app = App::start(config).await.unwrap();
        let http = app.console_url().trim_end_matches('/').to_owned();
        let access = Access::new(app.quic_address(), http, data.path());
        Self { access, app, data }
    }

    /// Returns the brain's own CA, to issue what the brain itself would not.
    pub fn ca(&self) -> brain::ca::Ca {
        brain::ca::Ca::open(&self.data.path().join("ca"), brain::clock::now_ns()).unwrap()
    }
}

/// Returns a token that no brain has made, for the CA of this one.
pub fn made_up_token(ca: &brain::ca::Ca) -> String {
    TokenSecret::random().join_token(&ca.sha256())
}

fn serve(data: &Path) -> [OsString; 7] {
    let flags = ["serve", "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0", "--data"];
    let [a, b, c, d, e, f] = flags.map(OsString::from);
    [a, b, c, d, e, f, data.into()]
}

/// A brain as a program, which can be killed.
pub struct Program {
    child: Child,
    pub access: Access,
}

impl Program {
    pub fn start(data: &Path, more: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sakuramori-brain"));
        command.args(serve(data)).args(more);
        Self::spawn(command, data)
    }

    /// Starts it where another one listened.
    pub fn start_at(data: &Path, quic: SocketAddr) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sakuramori-brain"));
        command.args(["serve", "--http", "127.0.0.1:0", "--listen", &quic.to_string(), "--data"]);
        command.arg(data);
        Self::spawn(command, data)
    }

    /// Starts it so that no file of it can grow beyond a size, as on a full disk.
    pub fn start_limited(data: &Path, file_kib: u32) -> Self {
        let mut command = Command::new("bash");
        let script = format!("trap '' XFSZ; ulimit -f {file_kib}; exec \"$0\" \"$@\"");
        command.args(["-c", &script, env!("CARGO_BIN_EXE_sakuramori-brain")]).args(serve(data));
        Self::spawn(command, data)
    }

    /// Starts it under another program, which gets `options` before the brain's own command line.
    pub fn start_under(program: &str, options: impl Iterator<Item = String>, data: &Path) -> Self {
        let mut command = Command::new(program);
        command.args(options).arg(env!("CARGO_BIN_EXE_sakuramori-brain")).args(serve(data));
        Self::spawn(command, data)
    }

    fn spawn(mut command: Command, data: &Path) -> Self {
        // Clients of this process need it, whether or not a brain has been in it.
        brain::app::install_provider();
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut after = |prefix: &str| {
            let line = lines.next().unwrap().unwrap();
            line.strip_prefix(prefix).unwrap_or_else(|| panic!("{line}")).to_owned()
        };
        let quic = after("quic listening on ").parse().unwrap();
        let http = after("console at ").trim_end_matches('/').to_owned();
        Self { access: Access::new(quic, http, data), child }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Returns its resident memory in bytes: now, and the most since the last call.
    pub fn memory(&self) -> (u64, u64) {
        let of = |file: &str| format!("/proc/{}/{file}", self.pid());
        let status = std::fs::read_to_string(of("status")).unwrap();
        let kib = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
        };
        // The kernel begins a new count of the most (proc(5), clear_refs).
        std::fs::write(of("clear_refs"), "5").unwrap();
        (kib("VmRSS:"), kib("VmHWM:"))
    }

    /// Asks it to end; returns its exit code.
    pub fn stop(mut self) -> Option<i32> {
        let pid = nix::unistd::Pid::from_raw(self.child.id() as i32);
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
        self.child.wait().unwrap().code()
    }

    /// Kills it as a crash would.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
