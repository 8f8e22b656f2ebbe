//! The fleet's network: one namespace per host, joined by a bridge in a namespace of its own.
//!
//! No interface ever exists in the machine's own namespace, so a fleet cannot disturb it.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use super::{ADDRESSES, Address};

/// Namespace of the bridge.
const SWITCH: &str = "switch";
/// Where `ip netns` keeps its namespaces.
const FOLDER: &str = "/run/netns";

/// The namespaces of one fleet, deleted with this value.
#[derive(Debug)]
pub struct Network {
    label: String,
}

impl Network {
    /// Makes all namespaces, links and addresses.
    pub fn new(label: &str) -> Result<Self> {
        // Made first, so that a failure half way is cleaned up as well.
        let network = Self { label: label.to_owned() };
        let switch = namespace(label, SWITCH);
        batch(None, &format!("netns add {switch}\n"))?;
        batch(
            Some(&switch),
            "link add br0 type bridge forward_delay 0 mcast_snooping 0\nlink set br0 up\n",
        )?;
        for address in ADDRESSES {
            network.join(&switch, address)?;
        }
        Ok(network)
    }

    /// Makes one host's namespace and plugs it into the bridge.
    fn join(&self, switch: &str, address: Address) -> Result<()> {
        let Address { host, ipv4, ipv6 } = address;
        let own = namespace(&self.label, host);
        batch(None, &format!("netns add {own}\n"))?;
        batch(
            Some(switch),
            &format!(
                "link add {host} type veth peer name eth0 netns {own}\n\
                 link set {host} master br0\nlink set {host} up\n"
            ),
        )?;
        // The other network is on the same wire: a route without a gateway reaches it.
        let beyond = if ipv4.starts_with("10.77.") { "203.0.113.0/24" } else { "10.77.0.0/24" };
        batch(
            Some(&own),
            &format!(
                "link set lo up\naddress add {ipv4}/24 dev eth0\n\
                 address add {ipv6}/64 dev eth0 nodad\nlink set eth0 up\n\
                 route add {beyond} dev eth0\n"
            ),
        )
    }

    /// Path of a host's namespace.
    pub fn path(&self, host: &str) -> PathBuf {
        Path::new(FOLDER).join(namespace(&self.label, host))
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        let names = existing(&self.label).unwrap_or_default();
        for name in names {
            if let Err(error) = delete(&name) {
                eprintln!("failed to delete the namespace {name}: {error:#}");
            }
        }
    }
}

/// Lists a fleet's namespaces that exist, the bridge's last.
pub fn existing(label: &str) -> Result<Vec<String>> {
    let hosts = ADDRESSES.iter().map(|address| address.host).chain([SWITCH]);
    let names = hosts.map(|host| namespace(label, host));
    Ok(names.filter(|name| Path::new(FOLDER).join(name).exists()).collect())
}

/// Deletes a namespace; its links go with it.
pub fn delete(name: &str) -> Result<()> {
    batch(None, &format!("netns delete {name}\n"))
}

/// The demo's hosts have short names, because they are shown; other fleets carry their label.
fn namespace(label: &str, host: &str) -> String {
    if label == "demo" { format!("smk-{host}") } else { format!("smk-{label}-{host}") }
}

/// Runs several `ip` commands in one process.
fn batch(netns: Option<&str>, commands: &str) -> Result<()> {
    let mut ip = Command::new("ip");
    if let Some(netns) = netns {
        ip.args(["-netns", netns]);
    }
    let mut child = ip
        .args(["-batch", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("failed to start `ip` (is iproute2 installed?)")?;
    let mut input = child.stdin.take().context("ip has no standard input")?;
    input.write_all(commands.as_bytes()).context("failed to write to ip")?;
    drop(input);
    let output = child.wait_with_output().context("failed to wait for ip")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("ip refused {:?}: {}", commands.trim(), said.trim());
    }
    Ok(())
}
