//! The arguments of `causeway token`. Part of the command line in `args.rs`.

use clap::{Args, Subcommand, ValueEnum};

use super::Api;

#[derive(Debug, Args)]
pub(crate) struct Token {
    #[command(flatten)]
    pub api: Api,
    #[command(subcommand)]
    pub command: TokenCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// Make a token and print it; it is never shown again.
    Create {
        /// Whose it is or what it is for.
        #[arg(long)]
        name: String,
        /// What it may do.
        #[arg(long, value_enum)]
        role: TokenRole,
        /// Days until it is void; by default it is void when it is revoked.
        #[arg(long, value_parser = clap::value_parser!(u32).range(1..=3650))]
        days: Option<u32>,
        /// Print the API's answer as it is.
        #[arg(long)]
        json: bool,
    },
    /// List the tokens that are valid, without what proves them.
    List {
        /// Print the API's answer as it is.
        #[arg(long)]
        json: bool,
    },
    /// Make a token void.
    Revoke {
        /// Its id, as `token list` shows it.
        id: String,
    },
}

/// What a token may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum TokenRole {
    /// Read.
    Viewer,
    /// Also end and renew sessions, send clients elsewhere, debug.
    Operator,
    /// Everything.
    Admin,
}
