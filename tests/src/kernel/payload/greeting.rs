//! A real client's first TLS message, and what its fingerprint must be, worked out in another way
//! than the sensor does.

use std::process::{Command, Stdio};
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use rustls::{ClientConfig, ClientConnection, RootCertStore, pki_types::ServerName};

/// Returns the bytes that a client sends first when it wants a server of this name.
pub fn hello(name: &str) -> Result<Vec<u8>> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let name = ServerName::try_from(name.to_owned())?;
    let mut client = ClientConnection::new(Arc::new(config), name)?;
    let mut bytes = Vec::new();
    client.write_tls(&mut bytes)?;
    Ok(bytes)
}

/// Works the fingerprint out from the text forms, with the system's `sha256sum`.
pub fn fingerprint(hello: &[u8]) -> Result<String> {
    let hex: String = hello.iter().map(|byte| format!("{byte:02x}")).collect();
    // Record, message, version and random take 43 bytes; two digits each.
    let (session, rest) = counted(&hex[86..], 2)?;
    ensure!(session.len() == 64, "the client offers no session");
    let (ciphers, rest) = counted(rest, 4)?;
    let (_, rest) = counted(rest, 2)?;
    let (mut extensions, rest) = counted(rest, 4)?;
    ensure!(rest.is_empty(), "something follows the extensions");
    let mut numbers = Vec::new();
    let mut algorithms = "";
    while !extensions.is_empty() {
        let number = &extensions[..4];
        let (data, rest) = counted(&extensions[4..], 4)?;
        if number == "000d" {
            algorithms = counted(data, 4)?.0;
        }
        numbers.push(number.to_owned());
        extensions = rest;
    }
    let mut ciphers = fours(ciphers);
    ciphers.sort();
    let count = numbers.len();
    numbers.retain(|number| number != "0000" && number != "0010");
    numbers.sort();
    let first = format!("t13d{:02}{count:02}h2", ciphers.len());
    let last = format!("{}_{}", numbers.join(","), fours(algorithms).join(","));
    Ok(format!("{first}_{}_{}", sum(&ciphers.join(","))?, sum(&last)?))
}

fn fours(text: &str) -> Vec<String> {
    text.as_bytes().chunks(4).map(|four| String::from_utf8_lossy(four).into_owned()).collect()
}

/// Splits what a length of so many digits counts from what follows it.
fn counted(text: &str, digits: usize) -> Result<(&str, &str)> {
    let length = usize::from_str_radix(text.get(..digits).context("a length is missing")?, 16)?;
    text[digits..].split_at_checked(2 * length).context("the message ends too early")
}

fn sum(text: &str) -> Result<String> {
    use std::io::Write as _;
    let mut child =
        Command::new("sha256sum").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    child.stdin.take().context("no input")?.write_all(text.as_bytes())?;
    let output = child.wait_with_output()?;
    Ok(String::from_utf8(output.stdout)?[..12].to_owned())
}
