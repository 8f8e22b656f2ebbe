//! Whoever may not talk to the brain is refused with a counted reason, and the brain goes on.

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tests::fleet::Hosts;
use tests::fleet::brain::{Brain, Settings};
use tests::hostile::{Shown, knock};
use tests::{interrupt, web};
use wire::codec::encode_control;
use wire::control::{Control, EnrolRequest};
use wire::{ALPN_ENROL, ALPN_SESSION};

/// Counter of refusals, labelled with their reason.
const REFUSED: &str = "sakuramori_ingest_refused_total";
/// Where a frame's version is.
const VERSION_AT: std::ops::Range<usize> = 4..6;
/// Where a frame announces the length of its body.
const BODY_LEN_AT: std::ops::Range<usize> = 8..12;
const LIMIT: Duration = Duration::from_secs(10);

/// What is done to the brain.
type Knock = fn(SocketAddr) -> Result<()>;

/// Each kind of wrong peer, and the reasons under which it may be counted.
const CASES: [(&str, &[&str], Knock); 8] = [
    ("garbage on the port", &["not_quic", "unknown_quic_version"], garbage),
    ("no certificate", &["no_client_certificate"], |brain| {
        refused(knock(brain, ALPN_SESSION, Shown::Nothing, &hello()?))
    }),
    ("wrong certificate", &["bad_certificate", "unknown_ca"], |brain| {
        refused(knock(brain, ALPN_SESSION, Shown::SelfSigned, &hello()?))
    }),
    ("wrong token", &["wrong_token"], |brain| {
        let answer = knock(brain, ALPN_ENROL, Shown::Nothing, &hello()?)?;
        ensure!(answer.starts_with(b"SKRM"), "a wrong token should be answered with a reason");
        Ok(())
    }),
    ("no frame at all", &["not_a_frame"], |brain| {
        knock(brain, ALPN_ENROL, Shown::Nothing, &[b'x'; 4096]).map(drop).or(Ok(()))
    }),
    ("a length prefix of 4 GiB", &["too_large"], |brain| {
        let mut frame = hello()?;
        frame[BODY_LEN_AT].copy_from_slice(&u32::MAX.to_le_bytes());
        knock(brain, ALPN_ENROL, Shown::Nothing, &frame).map(drop).or(Ok(()))
    }),
    ("an unknown version", &["unknown_version"], |brain| {
        let mut frame = hello()?;
        frame[VERSION_AT].copy_from_slice(&u16::MAX.to_le_bytes());
        knock(brain, ALPN_ENROL, Shown::Nothing, &frame).map(drop).or(Ok(()))
    }),
    ("an unknown protocol", &["no_common_protocol"], |brain| {
        refused(knock(brain, b"h3", Shown::Nothing, b""))
    }),
];

/// All cases against one brain, which must then still enrol a new sensor's token and serve pages.
pub fn every_wrong_peer() -> Result<()> {
    let hosts = Hosts::new("test-refusal")?;
    let mut brain = Brain::start(Settings {
        folder: hosts.subfolder("brain")?,
        place: hosts.control(),
        webhook: None,
        http: SocketAddr::from(([127, 0, 0, 1], 0)),
    })?;
    for (what, reasons, knock) in CASES {
        let before = refusals(&brain, reasons)?;
        knock(brain.quic()).with_context(|| format!("{what} went wrong"))?;
        interrupt::eventually(&format!("counting {what} as one of {reasons:?}"), LIMIT, || {
            Ok((refusals(&brain, reasons)? > before).then_some(()))
        })
        .with_context(|| format!("the page says:\n{}", refusal_lines(&brain)))?;
        brain.alive()?;
    }
    let (status, _) = web::get(brain.http(), "/healthz")?;
    ensure!(status == 200, "the brain answered {status} afterwards");
    ensure!(brain.token("web")?.starts_with("skm1."), "the brain makes no tokens afterwards");
    Ok(())
}

/// A session or enrolment attempt with a token that nobody made.
fn hello() -> Result<Vec<u8>> {
    let request = EnrolRequest {
        // 24 bytes in base64url: the right length, and nobody's.
        token: "A".repeat(32),
        hostname: "stranger".to_owned(),
        csr_der: vec![0; 64],
    };
    Ok(encode_control(&Control::EnrolRequest(request))?)
}

fn garbage(brain: SocketAddr) -> Result<()> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    for length in [1_usize, 20, 300, 1300] {
        let bytes: Vec<u8> = (0..length).map(|at| (at * 37 % 251) as u8).collect();
        socket.send_to(&bytes, brain)?;
    }
    Ok(())
}

fn refused(answer: Result<Vec<u8>>) -> Result<()> {
    match answer {
        Ok(bytes) => anyhow::bail!("the brain answered with {} bytes", bytes.len()),
        Err(_) => Ok(()),
    }
}

fn refusals(brain: &Brain, reasons: &[&str]) -> Result<f64> {
    let page = brain.metrics()?;
    let count = |reason| web::metric(&page, REFUSED, &format!("reason=\"{reason}\""));
    Ok(reasons.iter().map(count).sum())
}

fn refusal_lines(brain: &Brain) -> String {
    let page = brain.metrics().unwrap_or_default();
    page.lines().filter(|line| line.starts_with(REFUSED)).collect::<Vec<_>>().join("\n")
}
