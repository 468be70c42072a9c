//! The keys of the management API. Part of the declarations in `keys.rs`.

use std::net::IpAddr;
use std::path::PathBuf;

use crate::api::{Effect, Role};
use crate::config::schema::section;

/// Most certificates that are named with a role.
pub const MAX_MANAGEMENT_CLIENTS: usize = 64;

section! {
    /// The management API.
    RawManagement = "management".table().effect(Effect::ControlPlaneRestart) {
        /// Unix socket of the API. Whoever may connect to it (owner and group) may do everything.
        socket: Option<PathBuf> = optional("`api.sock` in `gateway.run_directory`").sketch(r#""/run/causeway/api.sock""#);
        /// Address of the machine on which the API is served over TLS, too. Callers need a token (`causeway token create`), or a
        /// certificate that a [[management.client]] names.
        listen: Option<IpAddr> = optional("it is served on the Unix socket only").sketch(r#""10.0.0.1""#);
        /// TCP port for it.
        port: u16 = default("8443").range(1, 65_535);
        /// Certificate for it and its chain (PEM). Replaced files are read anew by themselves.
        certificate_file: Option<PathBuf> = optional("needed with `listen`").sketch(r#""/etc/causeway/api.pem""#).effect(Effect::Live);
        /// Its private key (PEM).
        private_key_file: Option<PathBuf> = optional("needed with `listen`").sketch(r#""/etc/causeway/api.key""#).effect(Effect::Live);
        /// Authorities of callers' certificates (PEM).
        client_ca_file: Option<PathBuf> = optional("callers have tokens only").sketch(r#""/etc/causeway/operators-ca.pem""#).effect(Effect::Live);
        /// Directory of the API's tokens (hashes of them) and of its audit log.
        state_directory: Option<PathBuf> = optional("the directory of `store.path`").sketch(r#""/var/lib/causeway""#);
        /// Whether the API gives out the keys of sessions, for Wireshark (`causeway debug export-keys`). Whoever may do that
        /// can then read every client's traffic; each export is logged with who asked for it.
        allow_key_export: bool = default("false").effect(Effect::Live);
    }
}

section! {
    /// A caller of the API over TLS, known by certificate.
    RawManagementClient = "management.client".repeated(MAX_MANAGEMENT_CLIENTS).commented().effect(Effect::Live).identity("name") {
        /// Common name of the subject in its certificate.
        name: String = required().examples(&[r#""monitoring.example.com""#]);
        /// What it may do: `viewer` reads, `operator` also ends and renews sessions and debugs, `admin` everything.
        role: Role = required().examples(&[r#""viewer""#]);
    }
}
