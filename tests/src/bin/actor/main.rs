//! Plays every role of the fleet: servers, clients, the attacker's tools and the storms of `bench`.
//!
//! A real program per role keeps the telemetry real: each run is an exec with arguments, each
//! connection a connection. Nothing here harms: it only talks to addresses it is given.

mod dns;
mod http;
mod intrude;
mod ping;
mod storm;

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use anyhow::Result;
use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(about = "Plays one role of the fleet")]
struct Arguments {
    #[command(subcommand)]
    role: Role,
}

#[derive(Debug, Subcommand)]
enum Role {
    /// Answer every HTTP request with a small page.
    HttpServe { address: SocketAddr },
    /// Get a page a number of times.
    HttpGet {
        server: SocketAddr,
        #[arg(long, default_value_t = 1)]
        count: u32,
    },
    /// Answer every DNS question for an address.
    DnsServe { address: SocketAddr },
    /// Ask for the address of a name.
    DnsQuery { server: SocketAddr, name: String },
    /// Send IPv6 echo requests.
    Ping {
        target: Ipv6Addr,
        #[arg(long, default_value_t = 1)]
        count: u16,
    },
    /// Connect to a range of ports of each target.
    Scan {
        #[arg(long, default_value_t = 1)]
        first_port: u16,
        #[arg(long, default_value_t = 150)]
        ports: u16,
        #[arg(required = true)]
        targets: Vec<IpAddr>,
    },
    /// Wait for a shell and type a few commands into it.
    ListenShell { address: SocketAddr },
    /// Copy a program into memory and execute it from there.
    MemfdExec { program: PathBuf, arguments: Vec<String> },
    /// Connect, whether or not someone answers.
    Connect { address: SocketAddr },
    /// Sleep; copied under another name it becomes any harmless long-running program.
    #[command(trailing_var_arg = true)]
    Idle {
        seconds: u64,
        #[arg(allow_hyphen_values = true)]
        _rest: Vec<String>,
    },
    /// Accept connections and close them at once.
    AcceptServe { address: SocketAddr },
    /// Take datagrams in and never read them.
    DatagramSink { address: SocketAddr },
    /// Repeat one operation and print what it took as JSON.
    #[command(subcommand)]
    Storm(storm::Storm),
}

fn main() -> Result<()> {
    // A miner takes no subcommand: under that name the program only sleeps, whatever its arguments.
    if intrude::plays_miner() {
        return intrude::idle(intrude::MINER_SECONDS);
    }
    match Arguments::parse().role {
        Role::HttpServe { address } => http::serve(address),
        Role::HttpGet { server, count } => http::get(server, count),
        Role::DnsServe { address } => dns::serve(address),
        Role::DnsQuery { server, name } => dns::query(server, &name),
        Role::Ping { target, count } => ping::ping(target, count),
        Role::Scan { first_port, ports, targets } => intrude::scan(&targets, first_port, ports),
        Role::ListenShell { address } => intrude::listen_shell(address),
        Role::MemfdExec { program, arguments } => intrude::memfd_exec(&program, &arguments),
        Role::Connect { address } => intrude::connect(address),
        Role::Idle { seconds, .. } => intrude::idle(seconds),
        Role::AcceptServe { address } => storm::accept_serve(address),
        Role::DatagramSink { address } => storm::datagram_sink(address),
        Role::Storm(storm) => storm.run(),
    }
}
