//! What a session is resumed from (RFC 5723 §5): the state that a ticket stands for.
//!
//! Enters: an IKE SA that is up. Leaves: its [`TicketState`], which the driver keeps for the client, sealed in the ticket itself
//! or beside the session in its store; later the same state again, from which the keys of the resumed IKE SA are made.

use std::fmt;

use zeroize::Zeroizing;

use crate::api::Secret;
use crate::crypto;
use crate::ident::Identity;
use crate::sa::{read_suite, write_suite};
use crate::snapshot::{PEER_KEYS, Read, Reader, RestoreError, Writer, read_identity, write_identity};
use crate::suite::IkeSuite;

/// Version of the layout.
const VERSION: u8 = 1;
/// Most octets of a state; one that is longer (a very long identity) gets no ticket.
pub const MAX_TICKET_STATE_OCTETS: usize = 768;
/// Most octets of a ticket that a client may present.
pub const MAX_TICKET_OCTETS: usize = 1024;

/// What RFC 5723 §5 takes "from the ticket".
#[derive(Clone, PartialEq, Eq)]
pub struct TicketState {
    pub(crate) suite: IkeSuite,
    /// SK_d of the IKE SA that the ticket was given for.
    pub(crate) sk_d: Secret,
    pub(crate) identity: Identity,
    pub(crate) local_identity: Identity,
    pub(crate) user: String,
    pub(crate) method: String,
    pub(crate) peer_key: Option<&'static str>,
    /// Whether SK_d comes from a post-quantum pre-shared key, too (RFC 8784).
    pub(crate) ppk: bool,
}

impl TicketState {
    /// A state with this user and SK_d, for tests of who keeps it.
    #[cfg(any(test, feature = "test-initiator"))]
    pub fn for_test(user: &str, sk_d: &[u8; 32]) -> TicketState {
        use crate::suite::{Cipher, Group, Kems, Prf};
        TicketState {
            suite: IkeSuite {
                cipher: Cipher::AesGcm16_256,
                integ: None,
                prf: Prf::HmacSha2_256,
                group: Group::Ecp256,
                kems: Kems::NONE,
            },
            sk_d: Secret::new(sk_d.to_vec()),
            identity: Identity::from_text("client.example"),
            local_identity: Identity::from_text("vpn.example"),
            user: user.to_owned(),
            method: "eap-mschapv2".to_owned(),
            peer_key: None,
            ppk: false,
        }
    }

    /// IDi.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The authenticated user.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// How the user proved itself when it logged in.
    pub fn method(&self) -> &str {
        &self.method
    }

    /// As octets, which hold a key; `None` when they are more than [`MAX_TICKET_STATE_OCTETS`].
    pub fn encode(&self) -> Option<Secret> {
        let mut out = Writer::with_room(MAX_TICKET_STATE_OCTETS);
        out.u8(VERSION);
        write_suite(&mut out, &self.suite);
        out.bytes(self.sk_d.expose());
        write_identity(&mut out, &self.identity);
        write_identity(&mut out, &self.local_identity);
        out.bytes(self.user.as_bytes());
        out.bytes(self.method.as_bytes());
        out.option(self.peer_key, |out, key| out.index(&PEER_KEYS, &key));
        out.bool(self.ppk);
        let octets = out.finish();
        (octets.expose().len() <= MAX_TICKET_STATE_OCTETS).then_some(octets)
    }

    /// Reads what [`TicketState::encode`] wrote; `None` for anything else.
    pub fn decode(octets: &[u8]) -> Option<TicketState> {
        let mut input = Reader::new(octets);
        let state = read(&mut input).ok()?;
        input.finish().ok()?;
        Some(state)
    }

    pub(crate) fn sk_d(&self) -> crypto::Secret {
        crypto::Secret::new(self.sk_d.expose().to_vec())
    }
}

fn read(input: &mut Reader<'_>) -> Read<TicketState> {
    if input.u8()? != VERSION {
        return Err(RestoreError::Version);
    }
    let suite = read_suite(input)?;
    let sk_d = Zeroizing::new(input.bytes()?.to_vec());
    if sk_d.len() != suite.prf.output_len() {
        return Err(RestoreError::Malformed("a key has the wrong length"));
    }
    Ok(TicketState {
        suite,
        sk_d: Secret::new(sk_d.to_vec()),
        identity: read_identity(input)?,
        local_identity: read_identity(input)?,
        user: input.text()?,
        method: input.text()?,
        peer_key: input.option(|input| input.index(&PEER_KEYS))?,
        ppk: input.bool()?,
    })
}

impl fmt::Debug for TicketState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TicketState").field("suite", &self.suite.to_string()).finish_non_exhaustive()
    }
}

/// A ticket for a client (RFC 5723 §7.1).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ticket {
    /// What the client presents; opaque to it.
    pub octets: Vec<u8>,
    /// Seconds for which it may be presented.
    pub lifetime_secs: u32,
}

impl Ticket {
    /// The data of TICKET_LT_OPAQUE.
    pub(crate) fn notify_data(&self) -> Vec<u8> {
        [&self.lifetime_secs.to_be_bytes()[..], &self.octets].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::suite::IkeProposal;

    fn state(identity: Identity) -> TicketState {
        let proposal: IkeProposal = "aes256gcm16-prfsha384-ecp384".parse().unwrap();
        TicketState {
            suite: IkeSuite {
                cipher: proposal.ciphers[0],
                integ: None,
                prf: proposal.prfs[0],
                group: proposal.groups[0],
                kems: crate::suite::Kems::NONE,
            },
            sk_d: Secret::new(vec![7; 48]),
            identity,
            local_identity: Identity::Fqdn("vpn.example".to_owned()),
            user: "alice".to_owned(),
            method: "eap-mschapv2".to_owned(),
            peer_key: None,
            ppk: true,
        }
    }

    #[test]
    fn a_state_is_read_as_it_was_written_and_nothing_else_is() {
        for identity in ["alice@example.com", "198.51.100.7", "client.example"] {
            let state = state(Identity::from_text(identity));
            let octets = state.encode().unwrap();
            assert_eq!(TicketState::decode(octets.expose()), Some(state));
            for cut in 0..octets.expose().len() {
                assert!(TicketState::decode(&octets.expose()[..cut]).is_none(), "cut at {cut}");
            }
            let longer = [octets.expose(), &[0]].concat();
            assert!(TicketState::decode(&longer).is_none());
        }
    }

    #[test]
    fn a_state_that_is_too_long_gets_no_ticket_and_shows_no_key() {
        let long = state(Identity::Fqdn("a".repeat(MAX_TICKET_STATE_OCTETS)));
        assert!(long.encode().is_none());
        let text = format!("{:?}", state(Identity::from_text("client.example")));
        assert!(text.contains("aes256gcm16") && !text.contains('7'), "{text}");
    }
}
