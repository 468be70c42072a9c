//! What our rekey of the IKE SA has agreed on so far (RFC 7296 §1.3.2, RFC 9370 §2.2.4).
//!
//! Enters: the peer's answers to CREATE_CHILD_SA and IKE_FOLLOWUP_KE. Leaves: what was chosen, the peer's KE data, and the work that
//! makes the next secret; nothing when an answer is none.

use std::sync::Arc;

use crate::crypto::{KePrivate, KemPrivate};
use crate::exchange::follow_up::{Secrets, link_of};
use crate::job::PublicKeyJob;
use crate::suite::{IkeChoice, IkeProposal, Kem, accept_ike_answer};
use crate::wire::{IkeSpi, Message, Nonce};

/// What CREATE_CHILD_SA led to.
pub(crate) struct Agreed {
    pub(crate) choice: IkeChoice,
    pub(crate) peer_spi: IkeSpi,
    pub(crate) nr: Nonce,
    /// `None` until the first secret is there.
    pub(crate) secrets: Option<Secrets>,
    /// What the next additional key exchange must say.
    pub(crate) link: Vec<u8>,
}

/// What the second half needs.
pub(crate) enum Half {
    Group { private: Arc<KePrivate>, peer_public: Vec<u8> },
    Kem { private: Arc<KemPrivate>, ciphertext: Vec<u8> },
}

impl Half {
    pub(crate) fn work(&self) -> PublicKeyJob {
        match self {
            Half::Group { private, peer_public } => {
                PublicKeyJob::Derive { private: Arc::clone(private), peer_public: peer_public.clone() }
            }
            Half::Kem { private, ciphertext } => {
                PublicKeyJob::Decapsulate { private: Arc::clone(private), ciphertext: ciphertext.clone() }
            }
        }
    }
}

impl Agreed {
    /// The mechanism that comes after the secret that is being made.
    pub(crate) fn kem_after_this(&self) -> Option<Kem> {
        let done = self.secrets.as_ref().map_or(0, |secrets| secrets.parts().1.len() + 1);
        self.choice.suite.kems.get(done)
    }
}

/// Reads the answer to our CREATE_CHILD_SA request: what was agreed on, and the peer's KE data.
pub(crate) fn read_answer(offer: &[IkeProposal], message: &Message) -> Option<(Agreed, Vec<u8>)> {
    let choice = accept_ike_answer(offer, message.sa()?, true)?;
    let ke = message.ke().filter(|ke| ke.group == choice.suite.group.number())?;
    let link = match link_of(message) {
        Some(link) => link.to_vec(),
        None if choice.suite.kems.is_empty() => Vec::new(),
        None => return None,
    };
    let (peer_spi, nr) = (choice.peer_spi?, message.nonce()?.clone());
    Some((Agreed { choice, peer_spi, nr, secrets: None, link }, ke.data.clone()))
}

/// Reads the answer to an additional key exchange: the next link, which the last answer has not, and the peer's KE data.
pub(crate) fn read_follow_up(agreed: &Agreed, message: &Message) -> Option<(Vec<u8>, Vec<u8>)> {
    let kem = agreed.secrets.as_ref()?.next_kem(&agreed.choice)?;
    let ke = message.ke().filter(|ke| ke.group == kem.number())?;
    match link_of(message) {
        Some(link) => Some((link.to_vec(), ke.data.clone())),
        None if agreed.kem_after_this().is_none() => Some((Vec::new(), ke.data.clone())),
        None => None,
    }
}
