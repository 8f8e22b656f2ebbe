//! The HTTP server and the secrets that open it.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context as _, Result};
use axum_server::Handle;
use axum_server::tls_rustls::RustlsConfig;
use tokio::task::JoinHandle;

use crate::api;
use crate::ca::Ca;
use crate::identity;
use crate::store::{Store, file};

/// A client must have sent a request's head by then.
const HTTP_HEAD_TIME: Duration = Duration::from_secs(10);

/// Binds the address.
pub(super) fn listen(address: SocketAddr) -> Result<TcpListener> {
    let listener =
        TcpListener::bind(address).with_context(|| format!("failed to listen on {address}/tcp"))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Serves the API and the console, with TLS beyond loopback.
pub(super) fn serve(
    listener: TcpListener,
    context: Arc<api::Context>,
    ca: &Ca,
    now_ns: u64,
    handle: Handle<SocketAddr>,
) -> Result<JoinHandle<std::io::Result<()>>> {
    let address = listener.local_addr()?;
    let secure = context.secure;
    let service = api::router(context).into_make_service_with_connect_info::<SocketAddr>();
    if !secure {
        let server =
            axum_server::from_tcp(listener)?.handle(handle).first_request_timeout(HTTP_HEAD_TIME);
        return Ok(tokio::spawn(server.serve(service)));
    }
    let mut names = vec![wire::BRAIN_NAME.to_owned(), "localhost".to_owned()];
    names.extend(hostname());
    names.dedup();
    let addresses = if address.ip().is_unspecified() { Vec::new() } else { vec![address.ip()] };
    let config = ca.server(&names, &addresses, now_ns)?.http_config()?;
    let config = RustlsConfig::from_config(Arc::new(config));
    let server = axum_server::from_tcp_rustls(listener, config)?.handle(handle);
    Ok(tokio::spawn(server.first_request_timeout(HTTP_HEAD_TIME).serve(service)))
}

/// Returns the console's address as a browser on another machine may use it.
pub(super) fn console_url(address: SocketAddr, secure: bool) -> String {
    let scheme = if secure { "https" } else { "http" };
    match hostname().filter(|_| address.ip().is_unspecified()) {
        Some(name) => format!("{scheme}://{name}:{}/", address.port()),
        None => format!("{scheme}://{address}/"),
    }
}

fn hostname() -> Option<String> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
    Some(name.trim().to_owned()).filter(|name| !name.is_empty())
}

/// Makes the secrets of this start; returns the set-up link while there is no account.
pub(super) fn secrets(
    data: &Path,
    store: &Store,
    console: &str,
    with_link: bool,
) -> Result<(Option<String>, api::Secrets)> {
    let path = data.join("cli.token");
    let stored = file::read(&path)?.and_then(|bytes| String::from_utf8(bytes).ok());
    let cli = match stored.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty()) {
        Some(token) => token,
        None => {
            let token = format!("smk_{}", identity::random_secret());
            file::replace(&path, format!("{token}\n").as_bytes())?;
            token
        }
    };
    let setup = (with_link && store.users.is_empty()).then(identity::random_secret);
    let link = setup.as_ref().map(|secret| format!("{console}setup?token={secret}"));
    let hash = |secret: String| identity::secret_hash(secret.as_bytes());
    Ok((link, api::Secrets { setup: Mutex::new(setup.map(hash)), cli: hash(cli) }))
}
