//! What AUTH payloads say of the IKE_INTERMEDIATE exchanges before them (RFC 9242 §3.3.1, §3.3.2).
//!
//! Enters: the content of each message, under the keys of its exchange. Leaves: IntAuth, which follows the octets that RFC 7296
//! §2.15 has signed.

use super::keys::{IkeKeys, Role};
use super::prf::prf;
use crate::wire::Content;

/// The IKE_INTERMEDIATE exchanges of an IKE SA so far.
#[derive(Default)]
pub struct IntAuth {
    of_initiator: Vec<u8>,
    of_responder: Vec<u8>,
    exchanges: u32,
}

impl IntAuth {
    /// Adds a message: `sender` is who wrote it, `keys` are those that protect it. A request comes before its response.
    pub fn add(&mut self, sender: Role, keys: &IkeKeys, content: &Content) {
        let [associated, inner] = content.chunks();
        let so_far = match sender {
            Role::Initiator => &mut self.of_initiator,
            Role::Responder => &mut self.of_responder,
        };
        let all = prf(keys.suite.prf, keys.sk_p(sender).as_bytes(), &[so_far, associated, inner]);
        *so_far = all.as_bytes().to_vec();
        self.exchanges = self.exchanges.saturating_add(u32::from(sender == Role::Responder));
    }

    /// IntAuth_i | IntAuth_r | IKE_AUTH_MID; nothing when there was no such exchange.
    pub fn octets(&self) -> Vec<u8> {
        if self.exchanges == 0 {
            return Vec::new();
        }
        // IKE_SA_INIT has message ID 0, the exchanges count on, and the first IKE_AUTH follows them.
        let first_auth_id = self.exchanges.saturating_add(1).to_be_bytes();
        [self.of_initiator.as_slice(), self.of_responder.as_slice(), &first_auth_id].concat()
    }
}
