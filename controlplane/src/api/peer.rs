//! Who asks: the process behind a connection to the Unix socket as the kernel knows it (SO_PEERCRED), a certificate, or a token.
//!
//! Enters: connections, and what [`super::auth`] finds in a request. Leaves: what rights go by and what the audit log names.

use std::convert::Infallible;
use std::fmt;
use std::net::IpAddr;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use causeway_shared::api::Role;
use tokio::net::UnixStream;

use crate::access::rate::Caller;
use crate::access::tokens::Bearer;

/// Where a request comes from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Connection {
    /// The Unix socket: user and process.
    Local(Option<(u32, i32)>),
    /// TLS.
    Tls {
        /// The other end.
        address: IpAddr,
        /// The name in its certificate that has a role, if it has shown one.
        certificate: Option<(String, Role)>,
    },
}

impl Connection {
    /// Of the Unix socket.
    pub fn local(stream: &UnixStream) -> Connection {
        let credentials = stream.peer_cred().ok();
        Connection::Local(credentials.map(|peer| (peer.uid(), peer.pid().unwrap_or(0))))
    }

    /// Where wrong tokens and too many requests are counted; nowhere for this machine's own users.
    pub fn source(&self) -> Option<Caller> {
        match self {
            Connection::Local(_) => None,
            Connection::Tls { address, .. } => Some(Caller::at(*address)),
        }
    }
}

/// A client of the API.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Peer {
    /// What it may do; `None` if it has not proved who it is.
    pub role: Option<Role>,
    /// Who.
    pub who: String,
    /// From where.
    pub from: String,
}

impl Peer {
    /// By connection, or by the token that came with the request.
    pub fn new(connection: &Connection, bearer: Option<Bearer>) -> Peer {
        let from = match connection {
            Connection::Local(_) => "local".to_owned(),
            Connection::Tls { address, .. } => address.to_string(),
        };
        let (role, who) = match (bearer, connection) {
            (Some(Bearer { id, name, role }), _) => (Some(role), format!("token {id} {name}")),
            (None, Connection::Local(ids)) => {
                let who = ids.map_or("unknown".to_owned(), |(uid, pid)| format!("uid {uid} pid {pid}"));
                (Some(Role::Admin), who)
            }
            (None, Connection::Tls { certificate: Some((name, role)), .. }) => {
                (Some(*role), format!("certificate {name}"))
            }
            (None, Connection::Tls { certificate: None, .. }) => (None, "nobody".to_owned()),
        };
        Peer { role, who, from }
    }
}

impl Peer {
    /// Who, without the process: the same for every request of one user of this machine, of one token, of one certificate.
    pub fn account(&self) -> &str {
        self.who.split_once(" pid ").filter(|_| self.from == "local").map_or(&self.who, |(user, _)| user)
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.from.as_str() {
            "local" => f.write_str(&self.who),
            from => write!(f, "{} at {from}", self.who),
        }
    }
}

impl<S: Sync> FromRequestParts<S> for Peer {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Peer, Infallible> {
        let nobody = || Peer { role: None, who: "unknown".to_owned(), from: String::new() };
        Ok(parts.extensions.get().cloned().unwrap_or_else(nobody))
    }
}
