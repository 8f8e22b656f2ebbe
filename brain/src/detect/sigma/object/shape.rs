//! Which log an event is from, when it does not say so in Sigma's words: Sysmon for Linux and for
//! Windows, records of the audit system, and the Elastic Common Schema.

use super::super::logsource::LogSource;
use crate::policy::node::Node;

/// Sysmon's events by number, and the categories that Sigma gives them.
const SYSMON: &[(&str, &str)] = &[
    ("1", "process_creation"),
    ("2", "file_change"),
    ("3", "network_connection"),
    ("5", "process_termination"),
    ("6", "driver_load"),
    ("7", "image_load"),
    ("8", "create_remote_thread"),
    ("9", "raw_access_thread"),
    ("10", "process_access"),
    ("11", "file_event"),
    ("15", "create_stream_hash"),
    ("22", "dns_query"),
    ("23", "file_delete"),
    ("26", "file_delete"),
];

/// Returns the log source that an event is from, as far as it says.
pub fn recognise(root: &Node) -> LogSource {
    said(root)
        .or_else(|| sysmon(root))
        .or_else(|| audit(root))
        .or_else(|| elastic(root))
        .unwrap_or_default()
}

/// Returns the text at a path, which may also be one name with dots.
fn at(root: &Node, path: &str) -> Option<String> {
    let found =
        root.get(path).or_else(|| path.split('.').try_fold(root, |node, name| node.get(name)));
    match found? {
        Node::Text(text) => Some(text.clone()),
        Node::Int(number) => Some(number.to_string()),
        Node::List(items) => items.iter().find_map(Node::as_text).map(str::to_owned),
        _ => None,
    }
}

fn any_at(root: &Node, paths: &[&str]) -> Option<String> {
    paths.iter().find_map(|path| at(root, path))
}

/// `logsource: {product: …, category: …, service: …}`.
fn said(root: &Node) -> Option<LogSource> {
    root.get("logsource").and_then(|node| LogSource::read(node).ok()).or_else(|| {
        let part = |name| at(root, &format!("logsource.{name}")).unwrap_or_default();
        let source = LogSource::new(&part("product"), &part("category"), &part("service"));
        (!source.is_open()).then_some(source)
    })
}

fn sysmon(root: &Node) -> Option<LogSource> {
    const PROVIDERS: &[&str] = &[
        "Event.System.Provider.#attributes.Name",
        "Event.System.Provider.Name",
        "System.Provider.Name",
        "winlog.provider_name",
        "Provider_Name",
        "ProviderName",
        "SourceName",
        "Channel",
    ];
    const NUMBERS: &[&str] = &[
        "Event.System.EventID.#text",
        "Event.System.EventID",
        "System.EventID",
        "winlog.event_id",
        "EventID",
        "EventId",
        "event.code",
    ];
    let provider = any_at(root, PROVIDERS)?;
    if !provider.contains("Sysmon") {
        return None;
    }
    let number = any_at(root, NUMBERS)?;
    let (_, category) = SYSMON.iter().find(|(known, _)| *known == number)?;
    let product = if provider.contains("Linux") { "linux" } else { "windows" };
    Some(LogSource::new(product, category, ""))
}

/// A record of the audit system: it has its type in capitals and what only such records have.
fn audit(root: &Node) -> Option<LogSource> {
    let source = || LogSource::new("linux", "", "auditd");
    if any_at(root, &["event.module"]).as_deref() == Some("auditd")
        || root.get("auditd").is_some()
        || any_at(root, &["auditd.message_type"]).is_some()
    {
        return Some(source());
    }
    let kind = at(root, "type")?;
    let capitals = kind.bytes().all(|b| b.is_ascii_uppercase() || b == b'_' || b.is_ascii_digit());
    let own = ["msg", "a0", "argc", "syscall", "SYSCALL", "nametype", "auid", "saddr", "acct"];
    (capitals && kind.len() > 2 && own.iter().any(|name| root.get(name).is_some())).then(source)
}

fn elastic(root: &Node) -> Option<LogSource> {
    let system = any_at(root, &["host.os.type", "host.os.family", "host.os.platform"]);
    let product = match system.as_deref() {
        Some("windows") => "windows",
        Some("macos" | "darwin") => "macos",
        Some("linux" | "debian" | "ubuntu" | "redhat" | "centos" | "fedora" | "suse") => "linux",
        _ => "",
    };
    let event = at(root, "event.category")?;
    let kind = at(root, "event.type").unwrap_or_default();
    let category = match (event.as_str(), kind.as_str()) {
        ("process", "start") => "process_creation",
        ("process", "end") => "process_termination",
        ("file", "creation") => "file_event",
        ("file", "deletion") => "file_delete",
        ("file", "change") => "file_change",
        ("file", "access") => "file_access",
        ("network", _) if any_at(root, &["dns.question.name"]).is_some() => "dns_query",
        ("network", "start" | "connection") => "network_connection",
        ("driver", "start") => "driver_load",
        ("library", "start") => "image_load",
        _ => return None,
    };
    Some(LogSource::new(product, category, ""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::node;

    #[test]
    fn what_an_event_is_from_is_recognised_by_its_shape() {
        for (event, expected) in [
            ("{logsource: {product: linux, service: sshd}}", "product=linux,service=sshd"),
            ("{logsource.category: dns}", "category=dns"),
            (
                "{Provider_Name: Linux-Sysmon, EventID: 1, Image: /bin/x}",
                "product=linux,category=process_creation",
            ),
            (
                "{winlog: {provider_name: Microsoft-Windows-Sysmon, event_id: '3'}}",
                "product=windows,category=network_connection",
            ),
            ("{type: EXECVE, argc: 1, a0: id}", "product=linux,service=auditd"),
            ("{auditd: {data: {a0: '1'}}}", "product=linux,service=auditd"),
            (
                "{event: {category: [process], type: [start]}, host: {os: {type: linux}}}",
                "product=linux,category=process_creation",
            ),
            ("{event.category: network, dns.question.name: a.b}", "category=dns_query"),
            ("{type: login, user: x}", "any"),
            ("{EventID: 1}", "any"),
        ] {
            let root = node::parse(event).unwrap();
            assert_eq!(recognise(&root).to_string(), expected, "{event}");
        }
    }
}
