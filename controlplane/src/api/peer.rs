//! Who asks: the process behind an API connection, as the kernel knows it (SO_PEERCRED). Enters: a connection. Leaves: what
//! the audit lines of the log name.

use std::convert::Infallible;
use std::fmt;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use tokio::net::UnixStream;

/// A client of the API.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Peer {
    ids: Option<(u32, i32)>,
}

impl Peer {
    /// Of a connection.
    pub fn of(stream: &UnixStream) -> Peer {
        let credentials = stream.peer_cred().ok();
        Peer { ids: credentials.map(|peer| (peer.uid(), peer.pid().unwrap_or(0))) }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.ids {
            Some((uid, pid)) => write!(f, "uid {uid} pid {pid}"),
            None => f.write_str("unknown"),
        }
    }
}

impl<S: Sync> FromRequestParts<S> for Peer {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Peer, Infallible> {
        Ok(parts.extensions.get().copied().unwrap_or(Peer { ids: None }))
    }
}
