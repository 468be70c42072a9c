//! EAP-GTC: the password in clear, asked for by a message (RFC 3748 §5.6).
//!
//! Enters: Type-Data of the response, the credential store. Leaves: the request, then the verdict. It makes no key and no
//! secret of the password: it belongs inside of a channel whose far end has proven itself, as IKE_AUTH with EAP is.

use zeroize::Zeroizing;

use crate::outcome::{Authenticated, DiscardReason, FailureReason};
use crate::packet::EapType;
use crate::server::{Credentials, MethodStep, ServerMethod, names};

/// What the client may show.
const PROMPT: &[u8] = b"Password: ";
/// Octets of the longest password that is read.
const MAX_PASSWORD_OCTETS: usize = 1024;

/// The server's side.
pub(crate) struct GtcServer {
    /// The peer's identity: the method has no name of its own.
    user: Vec<u8>,
}

impl GtcServer {
    pub(crate) fn start(identity: &[u8]) -> (GtcServer, Vec<u8>) {
        (GtcServer { user: identity.to_vec() }, PROMPT.to_vec())
    }
}

impl ServerMethod for GtcServer {
    fn handle(&mut self, _: u8, data: &[u8], credentials: &dyn Credentials) -> MethodStep {
        if data.len() > MAX_PASSWORD_OCTETS {
            return MethodStep::Discard(DiscardReason::MalformedMethodData);
        }
        match judge_password(&self.user, data, credentials) {
            Some(user) => MethodStep::Success(Authenticated::new(user, EapType::GTC, None)),
            None => MethodStep::Failure(FailureReason::BadCredentials),
        }
    }

    fn works_hard(&self) -> bool {
        true
    }
}

/// The account that this name and password belong to. The last name that is tried has its work done even if no such account
/// exists.
pub(crate) fn judge_password(name: &[u8], password: &[u8], credentials: &dyn Credentials) -> Option<String> {
    let password = Zeroizing::new(String::from_utf8(password.to_vec()).ok()?);
    names(name).find(|name| credentials.accepts_password(name, &password)).map(str::to_owned)
}

/// The peer's answer.
pub(crate) fn respond(password: &str) -> Vec<u8> {
    password.as_bytes().to_vec()
}
