//! The command line, declared once: help texts, parser and shell completions come from here.

pub(crate) mod crypto;
pub(crate) mod token;
pub(crate) mod vpn_client;

use std::path::PathBuf;

use causeway_shared::config::DEFAULT_PATH;
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::exit;

/// Causeway's command: runs the VPN concentrator and looks into it.
#[derive(Debug, Parser)]
#[command(name = "causeway", after_help = exit::HELP, subcommand_required = true, arg_required_else_help = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start both daemons and keep them running until SIGTERM or SIGINT.
    Run(Run),
    /// Check a configuration file, or print an example or the manual.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Show sessions, counters or health.
    Show(Show),
    /// End a session: its client gets an IKE delete and its address is free again.
    Clear(Clear),
    /// Log single sessions in more detail while running, or export their keys.
    Debug(crypto::Debug),
    /// Give a session new keys now.
    Rekey(Rekey),
    /// Send clients to another gateway (RFC 5685).
    Redirect(Redirect),
    /// Profiles for clients of other makers.
    #[command(subcommand)]
    Profile(ProfileCommand),
    /// Tokens of the management API.
    Token(token::Token),
    /// Help with local users.
    #[command(subcommand)]
    User(UserCommand),
    /// The VPN client: log in to a gateway, suspend and resume the session.
    Client(vpn_client::Client),
    /// Print version and commit.
    Version,
    /// Print a completion script for a shell.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Become a daemon that dies with its supervisor.
    #[command(hide = true)]
    Launch(Launch),
}

#[derive(Debug, Args)]
pub(crate) struct Run {
    /// Configuration file.
    #[arg(long, value_name = "FILE", default_value = DEFAULT_PATH)]
    pub config: PathBuf,
    /// Directory of the daemons' programs; by default beside this program, then in PATH.
    #[arg(long, value_name = "DIR")]
    pub programs: Option<PathBuf>,
    /// Seconds that the control plane gets to say goodbye to its clients, and the data plane to stop its ports.
    #[arg(long, value_name = "SECS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=600))]
    pub stop_timeout: u64,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Name every mistake with line, key and remedy; exit code 0 if there is none.
    Check {
        /// Configuration file.
        #[arg(default_value = DEFAULT_PATH)]
        file: PathBuf,
        /// Print one JSON object: file, ok, mistakes, warnings.
        #[arg(long)]
        json: bool,
    },
    /// Make a configuration of an IOS-XE one, and explain line by line what became of it.
    ImportIos {
        /// The IOS-XE configuration, as `show running-config` prints it.
        file: PathBuf,
        /// The IKEv2 profile to import; by default the first for AnyConnect, else the first.
        #[arg(long, value_name = "NAME")]
        profile: Option<String>,
        /// Print one JSON object: ok, toml, lines, blanks, problems.
        #[arg(long)]
        json: bool,
        /// Write the configuration to this file, which must not be there yet.
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Print a commented configuration file.
    Example,
    /// Print the reference of all keys (Markdown).
    Manual,
}

/// Where the management API is.
#[derive(Debug, Clone, Args)]
pub(crate) struct Api {
    /// Unix socket of the management API.
    #[arg(long, value_name = "PATH", global = true)]
    pub socket: Option<PathBuf>,
    /// Configuration file that names the socket.
    #[arg(long, value_name = "FILE", global = true, conflicts_with = "socket")]
    pub config: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Show {
    #[command(flatten)]
    pub api: Api,
    /// Print the API's answer as it is.
    #[arg(long, global = true)]
    pub json: bool,
    #[command(subcommand)]
    pub what: What,
}

#[derive(Debug, Subcommand)]
pub(crate) enum What {
    /// Who is connected.
    Sessions {
        /// Only sessions of this user.
        #[arg(long)]
        user: Option<String>,
        /// Those that wait for their client instead of those that are up.
        #[arg(long)]
        inactive: bool,
        /// Sessions in one answer of the API; with --json one answer is printed.
        #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
        limit: Option<u32>,
        /// With --json: the page to print, as `next_page_token` of the last one says.
        #[arg(long, requires = "json")]
        page_token: Option<String>,
    },
    /// Everything about one session.
    Session {
        /// Its id, as `show sessions` lists it.
        id: String,
    },
    /// Packets, drops and IKE events since the start.
    Counters {
        /// Those that are zero, too.
        #[arg(long)]
        all: bool,
    },
    /// The data plane's ports: driver, link, queues, who spreads packets over workers, ESP engine and why.
    Ports,
    /// Whether all is well; exit code 1 if not.
    Health,
    /// Sessions and SAs as operators of IOS know them.
    #[command(subcommand)]
    Crypto(crypto::ShowCrypto),
}

#[derive(Debug, Args)]
pub(crate) struct Clear {
    #[command(flatten)]
    pub api: Api,
    #[command(subcommand)]
    pub what: ClearWhat,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ClearWhat {
    /// End one session.
    Session {
        /// Its id, as `show sessions` lists it.
        id: String,
    },
    /// End sessions as operators of IOS know it.
    #[command(subcommand)]
    Crypto(crypto::ClearCrypto),
}

#[derive(Debug, Args)]
pub(crate) struct Rekey {
    #[command(flatten)]
    pub api: Api,
    #[command(subcommand)]
    pub what: RekeyWhat,
}

#[derive(Debug, Subcommand)]
pub(crate) enum RekeyWhat {
    /// Rekey one session.
    Session {
        /// Its id, as `show sessions` lists it.
        id: String,
        /// Which SA gets new keys.
        #[arg(value_enum, default_value_t = Sa::Child)]
        sa: Sa,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Redirect {
    #[command(flatten)]
    pub api: Api,
    #[command(subcommand)]
    pub whom: RedirectWhom,
}

#[derive(Debug, Subcommand)]
pub(crate) enum RedirectWhom {
    /// Tell the client of one session where to go; its session ends when it has gone, or after `ike.redirect_grace_secs`.
    Session {
        /// Its id, as `show sessions` lists it.
        id: String,
        /// The other gateway: an IP address or a DNS name.
        #[arg(long, value_name = "GATEWAY")]
        to: String,
    },
    /// Send new clients on, instead of letting them log in, until `redirect stop` or a restart.
    New {
        /// The other gateway: an IP address or a DNS name.
        #[arg(long, value_name = "GATEWAY")]
        to: String,
    },
    /// Serve new clients again.
    Stop,
}

/// Which SA of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Sa {
    /// The IKE SA.
    Ike,
    /// The Child SAs.
    Child,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ProfileCommand {
    /// Print the AnyConnect profile (XML) of this gateway, or check one.
    Anyconnect {
        /// Configuration file; the default one if a profile is made. With --check the two are compared.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// Name of the gateway that users see; by default its DNS name.
        #[arg(long, value_name = "NAME", conflicts_with = "check")]
        name: Option<String>,
        /// Write the profile to this file, which must not be there yet.
        #[arg(short, long, value_name = "FILE", conflicts_with = "check")]
        output: Option<PathBuf>,
        /// Say what in this profile keeps clients from coming back to their sessions; exit code 0 if nothing does.
        #[arg(long, value_name = "PROFILE")]
        check: Option<PathBuf>,
        /// Print one JSON object: file, ok, findings, also.
        #[arg(long, requires = "check")]
        json: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum UserCommand {
    /// Read a password and print its line for a [[user]] of the configuration.
    Hash {
        /// Print `password_hash`, which serves AnyConnect logins only and is safer at rest, instead of `password_nt_hash`.
        #[arg(long)]
        argon2: bool,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Launch {
    /// Process id of the supervisor.
    #[arg(long)]
    pub parent: i32,
    /// Program and its arguments.
    #[arg(last = true, required = true)]
    pub command: Vec<std::ffi::OsString>,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_declaration_is_consistent() {
        super::Arguments::command().debug_assert();
    }
}
