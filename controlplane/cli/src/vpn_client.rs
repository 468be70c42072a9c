//! `causeway client …`: the VPN client in the foreground, and commands to a running one.
//!
//! Enters: a client's configuration file, answers from the terminal (or lines of standard input). Leaves: what the client
//! tells its user, a status as lines or JSON.

use std::io::{BufRead as _, IsTerminal as _, Read as _, Write};
use std::path::Path;
use std::sync::Arc;

use causeway_client::agent::{self, AgentError, Ask, Options};
use causeway_client::config::Config;
use causeway_client::control::{self, Reply, Request, Status};
use zeroize::Zeroizing;

use crate::args::vpn_client::{Client, ClientCommand};
use crate::exit::{Exit, Failure};
use crate::user::prompt;

/// Most octets of one line of standard input.
const MAX_LINE: u64 = 4096;

pub(crate) fn client(client: &Client, out: &mut dyn Write) -> Result<Exit, Failure> {
    let config = Config::load(&client.config).map_err(|error| Failure::Refused(error.to_string()))?;
    let socket = config.control_socket();
    let request = match &client.what {
        ClientCommand::Connect { user, no_tun } => {
            return connect(config, Options { user: user.clone(), no_tun: *no_tun });
        }
        ClientCommand::Status { json } => {
            let status = ask(&socket, Request::Status)?;
            if *json {
                serde_json::to_writer(&mut *out, &status).map_err(std::io::Error::from)?;
                writeln!(out)?;
            } else {
                write_status(&status, out)?;
            }
            return Ok(Exit::Ok);
        }
        ClientCommand::Suspend => Request::Suspend,
        ClientCommand::Resume => Request::Resume,
        ClientCommand::Rekey { ike: false } => Request::Rekey,
        ClientCommand::Rekey { ike: true } => Request::RekeyIke,
        ClientCommand::Disconnect => Request::Disconnect,
    };
    let status = ask(&socket, request)?;
    writeln!(out, "{}", state(&status))?;
    Ok(Exit::Ok)
}

fn connect(config: Config, options: Options) -> Result<Exit, Failure> {
    agent::run(config, options, Arc::new(Terminal)).map(|()| Exit::Ok).map_err(|error| match error {
        AgentError::NoUser => Failure::Input(error.to_string()),
        AgentError::System { .. } | AgentError::Device(_) => {
            Failure::Output(std::io::Error::other(error.to_string()))
        }
        _ => Failure::Refused(error.to_string()),
    })
}

fn ask(socket: &Path, request: Request) -> Result<Status, Failure> {
    match control::ask(socket, request) {
        Ok(Reply::Done(status)) => Ok(*status),
        Ok(Reply::Refused(reason)) => Err(Failure::Refused(reason)),
        Err(error) => Err(Failure::Unreachable {
            what: format!("no client answers at {}: {error}", socket.display()),
            next: "start one with `causeway client connect`".into(),
        }),
    }
}

fn write_status(status: &Status, out: &mut dyn Write) -> std::io::Result<()> {
    let or_none = |value: Option<String>| value.unwrap_or_else(|| "none".into());
    let list = |items: Vec<String>, none: &str| {
        if items.is_empty() { none.to_owned() } else { items.join(", ") }
    };
    let lines = [
        ("State", state(status)),
        ("Gateway", status.gateway.clone()),
        ("User", status.user.clone()),
        ("Inner address", or_none(status.address.map(|address| address.to_string()))),
        ("Inner IPv6", or_none(status.address6.map(|address| address.to_string()))),
        ("DNS", list(status.dns.iter().map(ToString::to_string).collect(), "none")),
        ("Reached", list(status.subnets.clone(), "everything")),
        ("Device", or_none(status.device.clone())),
        ("From", or_none(status.local.map(|address| address.to_string()))),
        ("To", or_none(status.peer.map(|address| address.to_string()))),
        ("Session id", or_none(status.session_id.clone())),
        ("IKE SPIs", or_none(status.ike_spis.as_ref().map(|(i, r)| format!("{i} {r}")))),
        ("Logins", status.logins.to_string()),
        ("Resumes", format!("{} ({} refused)", status.resumes, status.resumes_refused)),
        ("Rekeys", format!("{}, and {} of the IKE SA", status.rekeys, status.ike_rekeys)),
        ("Liveness", format!("{} answers", status.dpd_answered)),
        (
            "Packets",
            format!(
                "{} sent, {} received, {} dropped",
                status.esp.sealed, status.esp.opened, status.esp.dropped
            ),
        ),
    ];
    lines.iter().try_for_each(|(name, value)| writeln!(out, "{name:<14} {value}"))
}

fn state(status: &Status) -> String {
    let name = serde_json::to_value(status.state).ok();
    let name = name.as_ref().and_then(|value| value.as_str()).unwrap_or("unknown").to_owned();
    if status.resumed { format!("{name} (resumed)") } else { name }
}

/// The user at a terminal, or lines of standard input when there is none.
struct Terminal;

impl Ask for Terminal {
    fn show(&self, text: &str) {
        // Standard output belongs to whoever reads the command's result; what is told on the way goes beside it.
        eprintln!("{text}");
    }

    fn ask(&self, label: &str, hidden: bool) -> Option<Zeroizing<String>> {
        if hidden && std::io::stdin().is_terminal() {
            return prompt(&format!("{label} ")).ok();
        }
        if std::io::stdin().is_terminal() {
            eprint!("{label} ");
            std::io::stderr().flush().ok()?;
        }
        let mut line = Zeroizing::new(String::new());
        let octets = std::io::stdin().lock().take(MAX_LINE).read_line(&mut line).ok()?;
        (octets > 0).then(|| Zeroizing::new(line.trim_end_matches(['\r', '\n']).to_owned()))
    }
}
