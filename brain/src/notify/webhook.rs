//! One webhook: its address is looked up and checked anew for each message, and the connection goes
//! to exactly what was checked.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use reqwest::header::{HeaderMap, RETRY_AFTER};
use reqwest::redirect::Policy;
use reqwest::{Client, StatusCode, Url};
use serde_json::Value;
use thiserror::Error;

use super::address;

/// A message is small; a receiver that takes longer is down.
const SEND_TIME: Duration = Duration::from_secs(10);

/// Longest wait that a receiver may ask for.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(3600);

/// Why a webhook cannot be used.
#[derive(Debug, Error)]
pub enum WebhookError {
    /// It is not an address.
    #[error("notify.slack_webhook is not a URL: {0}")]
    NotAUrl(String),
    /// It is not HTTPS.
    #[error(
        "notify.slack_webhook must begin with https://; notify.allow_private = true allows http://"
    )]
    NotHttps,
    /// It has no host, or carries a user name or password.
    #[error("notify.slack_webhook must name a host, and no user")]
    Host,
}

/// What became of a message.
#[derive(Debug)]
pub(super) enum Delivery {
    /// It arrived.
    Done,
    /// It may arrive later.
    Later {
        /// How long the receiver asks to wait.
        after: Option<Duration>,
        /// What went wrong; holds no secret.
        why: String,
    },
    /// It will never be taken.
    Refused(String),
}

/// Where messages go. The URL is a secret: whoever has it can post.
#[derive(Clone)]
pub struct Webhook {
    url: Url,
    allow_private: bool,
    console: String,
}

impl std::fmt::Debug for Webhook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Webhook").field("host", &self.url.host_str()).finish_non_exhaustive()
    }
}

impl Webhook {
    /// Checks the URL; `console` is where links lead.
    pub fn new(url: &str, allow_private: bool, console: String) -> Result<Self, WebhookError> {
        let url = Url::parse(url).map_err(|error| WebhookError::NotAUrl(error.to_string()))?;
        if url.scheme() != "https" && !(allow_private && url.scheme() == "http") {
            return Err(WebhookError::NotHttps);
        }
        if url.host_str().is_none() || !url.username().is_empty() || url.password().is_some() {
            return Err(WebhookError::Host);
        }
        Ok(Self { url, allow_private, console })
    }

    pub(super) fn console(&self) -> &str {
        &self.console
    }

    pub(super) async fn post(&self, message: &Value) -> Delivery {
        let client = match self.client().await {
            Ok(client) => client,
            Err(why) => return Delivery::Later { after: None, why },
        };
        match client.post(self.url.clone()).json(message).send().await {
            Ok(response) => judge(response.status(), response.headers()),
            Err(error) => Delivery::Later { after: None, why: error.without_url().to_string() },
        }
    }

    /// Returns a client that can reach nothing but what was checked.
    async fn client(&self) -> Result<Client, String> {
        let addresses = self.resolve().await?;
        let mut builder = Client::builder()
            .redirect(Policy::none())
            .no_proxy()
            .timeout(SEND_TIME)
            .https_only(!self.allow_private)
            .user_agent(concat!("sakuramori/", env!("CARGO_PKG_VERSION")));
        if let Some(host) = self.url.host_str() {
            builder = builder.resolve_to_addrs(host, &addresses);
        }
        builder.build().map_err(|error| error.to_string())
    }

    async fn resolve(&self) -> Result<Vec<SocketAddr>, String> {
        let host = self.url.host_str().unwrap_or_default().trim_matches(['[', ']']);
        let port = self.url.port_or_known_default().unwrap_or(443);
        let found = tokio::time::timeout(SEND_TIME, tokio::net::lookup_host((host, port))).await;
        let found = found.map_err(|_| "its name could not be looked up in time".to_owned())?;
        let found: Vec<SocketAddr> = found.map_err(|error| error.to_string())?.collect();
        // One address inside is enough to refuse: a name that points both ways is an attempt.
        if !self.allow_private
            && let Some(inside) = found.iter().find(|found| !address::is_public(found.ip()))
        {
            return Err(format!(
                "it leads to {}, which is not public; notify.allow_private = true allows it",
                inside.ip()
            ));
        }
        if found.is_empty() { Err("its name has no address".to_owned()) } else { Ok(found) }
    }
}

fn judge(status: StatusCode, headers: &HeaderMap) -> Delivery {
    if status.is_success() {
        return Delivery::Done;
    }
    let why = format!("it answered {status}");
    let later = status.is_server_error()
        || matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT)
        // A webhook that was taken away may be put back; a redirect is never followed.
        || matches!(status, StatusCode::NOT_FOUND | StatusCode::GONE | StatusCode::FORBIDDEN)
        || status.is_redirection();
    if later {
        Delivery::Later { after: retry_after(headers), why }
    } else {
        Delivery::Refused(why)
    }
}

/// Reads `Retry-After`, in seconds or as a date (RFC 9110, section 10.2.3).
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = match text.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let at = jiff::fmt::rfc2822::parse(text).ok()?.timestamp();
            let at =
                SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(at.as_second()).ok()?);
            let now = SystemTime::UNIX_EPOCH + Duration::from_nanos(crate::clock::now_ns());
            at.duration_since(now).ok()?
        }
    };
    Some(wait.min(RETRY_AFTER_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn webhook(url: &str, allow_private: bool) -> Result<Webhook, WebhookError> {
        Webhook::new(url, allow_private, String::new())
    }

    #[test]
    fn only_plain_https_is_taken_unless_allowed() {
        assert!(webhook("https://hooks.slack.com/services/T/B/x", false).is_ok());
        assert!(matches!(webhook("http://hooks.slack.com/x", false), Err(WebhookError::NotHttps)));
        assert!(matches!(webhook("gopher://127.0.0.1/x", true), Err(WebhookError::NotHttps)));
        assert!(matches!(webhook("https://a:b@hooks.slack.com/x", false), Err(WebhookError::Host)));
        assert!(webhook("http://127.0.0.1:9/x", true).is_ok());
        assert!(!format!("{:?}", webhook("https://a.example/secret", false)).contains("secret"));
    }

    #[tokio::test]
    async fn addresses_inside_are_refused_however_they_are_written() {
        for host in [
            "127.0.0.1",
            "127.1",
            "2130706433",
            "0x7f000001",
            "0177.0.0.1",
            "[::1]",
            "[::ffff:169.254.169.254]",
            "169.254.169.254",
            "100.100.100.200",
            "localhost",
            "[64:ff9b::a9fe:a9fe]",
        ] {
            let webhook = webhook(&format!("https://{host}/x"), false).unwrap();
            let error = webhook.resolve().await.unwrap_err();
            assert!(error.contains("not public"), "{host}: {error}");
        }
    }

    #[test]
    fn answers_are_judged() {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, "7".parse().unwrap());
        let later = judge(StatusCode::TOO_MANY_REQUESTS, &headers);
        assert!(
            matches!(later, Delivery::Later { after: Some(after), .. } if after.as_secs() == 7)
        );
        headers.insert(RETRY_AFTER, "Wed, 21 Oct 2195 07:28:00 GMT".parse().unwrap());
        assert_eq!(retry_after(&headers), Some(RETRY_AFTER_MAX));
        assert!(matches!(judge(StatusCode::OK, &headers), Delivery::Done));
        assert!(matches!(judge(StatusCode::FOUND, &headers), Delivery::Later { .. }));
        assert!(matches!(judge(StatusCode::BAD_REQUEST, &headers), Delivery::Refused(_)));
    }
}
