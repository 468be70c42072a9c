//! `causeway client …`: declared.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// Where a client's configuration is unless named.
const DEFAULT_CLIENT_CONFIG: &str = "/etc/causeway/client.toml";

#[derive(Debug, Args)]
pub(crate) struct Client {
    /// Configuration file of the client.
    #[arg(long, value_name = "FILE", global = true, default_value = DEFAULT_CLIENT_CONFIG)]
    pub config: PathBuf,
    #[command(subcommand)]
    pub what: ClientCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ClientCommand {
    /// Log in, or resume the session that was kept, and carry packets until told to end.
    Connect {
        /// The user, instead of the configuration's.
        #[arg(long)]
        user: Option<String>,
        /// No TUN device: only the control connection.
        #[arg(long)]
        no_tun: bool,
    },
    /// Fall silent, as a laptop that is closed: the session is kept.
    Suspend,
    /// Wake up: the same session from a new port, without a password. Ends when it is up.
    Resume,
    /// How the running client stands.
    Status {
        /// Print one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Give the tunnel new keys now.
    Rekey {
        /// The IKE SA instead of the tunnel.
        #[arg(long)]
        ike: bool,
    },
    /// End the session and the client.
    Disconnect,
}
