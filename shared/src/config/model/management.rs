//! The management API as it is configured. Part of `model.rs`.

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::api::Role;

/// The API.
#[derive(Clone, Debug)]
pub struct Management {
    /// Unix socket of the API.
    pub socket: PathBuf,
    /// The API over TLS.
    pub tls: Option<ManagementTls>,
    /// Directory of tokens and audit log.
    pub state_directory: PathBuf,
    /// Whether the API gives out the keys of sessions.
    pub allow_key_export: bool,
}

/// The API over TLS.
#[derive(Clone, Debug)]
pub struct ManagementTls {
    /// Where to listen.
    pub listen: SocketAddr,
    /// Certificate and chain.
    pub certificate_file: PathBuf,
    /// Private key.
    pub private_key_file: PathBuf,
    /// Authorities of callers' certificates.
    pub client_ca_file: Option<PathBuf>,
    /// Callers that are known by certificate.
    pub clients: Vec<ManagementClient>,
}

/// A caller that is known by certificate.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ManagementClient {
    /// Common name of its subject.
    pub name: String,
    /// What it may do.
    pub role: Role,
}
