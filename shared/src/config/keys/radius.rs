//! The keys of RADIUS and of the rules against guessing. Part of the declarations in `keys.rs`.

use std::net::IpAddr;
use std::path::PathBuf;

use crate::api::Effect;
use crate::config::model::{GroupAttribute, OnSuspend, Secret};
use crate::config::schema::{SEALED, section};

/// Most RADIUS servers.
pub const MAX_RADIUS_SERVERS: usize = 8;

section! {
    /// RADIUS: who may log in with method `eap-radius`, and where every session is accounted for. It is on when there is an
    /// [[aaa.radius.server]]; docs/aaa.md tells what is sent and understood.
    RawRadius = "aaa.radius".table().effect(Effect::NewSessions) {
        /// What the gateway calls itself (NAS-Identifier).
        nas_identifier: Option<String> = optional("`gateway.identity`").sketch(r#""vpn.example.com""#);
        /// Address of the gateway, for the servers' lists of clients (NAS-IP-Address or NAS-IPv6-Address).
        nas_address: Option<IpAddr> = optional("it is not sent").sketch(r#""10.0.0.1""#);
        /// Wait for a server's answer before the request is sent again; doubled each time.
        timeout_ms: u64 = default("1000").unit("milliseconds").range(100, 30_000);
        /// Datagrams to one server, the first included, before the next server is asked.
        tries: u32 = default("3").range(1, 10);
        /// How long a server that fell silent is asked only after the others. It is probed meanwhile.
        dead_secs: u64 = default("60").unit("seconds").range(1, 86_400);
        /// Which attribute of an Access-Accept may name the user's [[group]]; `ipsec:group` always may.
        group_attribute: GroupAttribute = default(r#""none""#);
        /// Whether sessions are accounted for, whatever method they logged in with.
        accounting: bool = default("true").effect(Effect::ControlPlaneRestart);
        /// Time between two interim records of a session, unless the server said another one (Acct-Interim-Interval).
        /// 0 for none; otherwise at least 60.
        interim_secs: u64 = default("600").unit("seconds").range(0, 86_400).effect(Effect::ControlPlaneRestart);
        /// What is told when a session waits for its client (`reconnect`): an interim record, or a stop and a new start.
        on_suspend: OnSuspend = default(r#""interim""#).effect(Effect::ControlPlaneRestart);
        /// Records that wait while no server answers. When there are more, the oldest interim records are dropped, then
        /// starts, then stops.
        queue: u32 = default("100000").unit("records").range(100, 1_000_000).effect(Effect::ControlPlaneRestart);
        /// File in which starts and stops wait, so that none is lost with the process.
        queue_file: Option<PathBuf> = optional("`accounting.db` beside `store.path`; memory if the store is in memory")
            .sketch(r#""/var/lib/causeway/accounting.db""#).effect(Effect::ControlPlaneRestart);
    }
}

section! {
    /// A RADIUS server. The first one that is alive is asked. Write its secret here or name a file that holds it.
    RawRadiusServer = "aaa.radius.server".repeated(MAX_RADIUS_SERVERS).commented().effect(Effect::NewSessions).identity("address") {
        /// Its address.
        address: IpAddr = required().examples(&[r#""10.0.0.10""#]);
        /// UDP port for logins; 0 if it takes none.
        port: u16 = default("1812").range(0, 65_535);
        /// UDP port for accounting; 0 if it takes none.
        accounting_port: u16 = default("1813").range(0, 65_535).effect(Effect::ControlPlaneRestart);
        /// The shared secret.
        secret: Option<Secret> = optional("`secret_file` is used").secret(SEALED);
        /// File that holds the shared secret; a line end after it does not count. Relative paths start at this file's
        /// directory.
        secret_file: Option<PathBuf> = optional("`secret` is used").examples(&[r#""/etc/causeway/radius.secret""#]);
    }
}

section! {
    /// Requests of the RADIUS servers to end a session (Disconnect) or to change it (CoA), RFC 5176. A server proves itself
    /// by its address and its secret.
    RawDynamic = "aaa.radius.dynamic".table().effect(Effect::ControlPlaneRestart) {
        /// Address to listen on.
        listen: Option<IpAddr> = optional("no such requests are taken").sketch(r#""10.0.0.1""#);
        /// UDP port.
        port: u16 = default("3799").range(1, 65_535);
        /// Whether a request must have a Message-Authenticator.
        require_message_authenticator: bool = default("true");
        /// Whether a request must have an Event-Timestamp, so that nobody can send it again later.
        require_event_timestamp: bool = default("true");
        /// How far an Event-Timestamp may be from the gateway's clock.
        window_secs: u64 = default("300").unit("seconds").range(1, 3600);
    }
}

section! {
    /// Against guessing: whoever fails too often is refused unseen for a while, by name and by source address.
    RawLockout = "aaa.lockout".table().effect(Effect::Live) {
        /// Failed logins of one user name that lock it. 0 for no lock: others can keep a user out by failing in its name.
        user_failures: u32 = default("10").range(0, 100_000);
        /// Failed logins from one source address that lock it. Many users may share an address. 0 for no lock.
        source_failures: u32 = default("100").range(0, 100_000);
        /// Failures further apart than this do not add up.
        window_secs: u64 = default("60").unit("seconds").range(1, 86_400);
        /// How long a lock lasts.
        lock_secs: u64 = default("60").unit("seconds").range(1, 86_400);
    }
}
