//! EAP pass-through (RFC 3579 §2): the client talks with a RADIUS server, the gateway carries the packets.
//!
//! Enters: the client's EAP packets. Leaves: the server's, and at the end who the user is, the MSK, and what the server
//! grants. The gateway asks for the identity itself; a user who is known here may be left to the local methods. Methods and
//! Naks are the server's business.

use std::net::IpAddr;
use std::sync::Arc;

use causeway_ike::api::Secret;
use causeway_radius::accounting::{Nas, Subject};
use causeway_radius::attribute::{FRAMED_MTU, STATE};
use causeway_radius::eap::{eap_packet, push_eap};
use causeway_radius::grant::{Grant, grant, reply_message};
use causeway_radius::packet::{AttributeList, Code, MAX_VALUE_OCTETS, TooLong};
use causeway_radius::request::Question;

use super::{Answer, Asker, NotAnswered};
use crate::aaa::conversations::{
    Conversation, ConversationFailure, EapAnswer, EapLogin, Turn, Turned, failure,
};
use crate::aaa::directory::Directory;

/// Name of the method, as operators see it.
const METHOD: &str = "eap-radius";
/// What EAP packets of the server may have; its TLS fragments follow from it (RFC 3579 §2.4). IKE fragments what is longer.
const EAP_MTU: u32 = 1200;
/// EAP codes and types (RFC 3748 §4, §5).
const REQUEST: u8 = 1;
const RESPONSE: u8 = 2;
const SUCCESS: u8 = 3;
const IDENTITY: u8 = 1;

/// What all relayed conversations have in common.
pub struct RadiusEap {
    asker: Asker,
    nas: Arc<Nas>,
    directory: Arc<Directory>,
}

/// Who logs in, as far as IKE knows.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Caller {
    /// The session's number.
    pub session: u64,
    /// Acct-Session-Id that the session will have.
    pub accounting_id: String,
    /// Where the client is.
    pub client: Option<IpAddr>,
    /// Where it came to.
    pub gateway: Option<IpAddr>,
}

/// What a RADIUS server said of a user that it let in.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RemoteLogin {
    /// Acct-Session-Id under which it was asked.
    pub accounting_id: String,
    /// What it grants.
    pub grant: Grant,
}

/// One of them.
struct Relayed {
    asker: Asker,
    nas: Arc<Nas>,
    directory: Arc<Directory>,
    caller: Caller,
    identifier: u8,
    /// For users who are known here.
    local: Option<Box<dyn Conversation>>,
    /// EAP identity; empty until it is known.
    user: String,
    /// The server that has begun the conversation, with its State.
    begun: Option<(usize, Option<Vec<u8>>)>,
}

impl RadiusEap {
    /// `directory`: whose users are left to local conversations.
    pub fn new(asker: Asker, nas: Nas, directory: Arc<Directory>) -> RadiusEap {
        RadiusEap { asker, nas: Arc::new(nas), directory }
    }

    /// A conversation that has not begun; `local` takes over for users of the directory. `identifier`: random.
    pub fn open(
        &self,
        caller: Caller,
        identifier: u8,
        local: Option<Box<dyn Conversation>>,
    ) -> Box<dyn Conversation> {
        Box::new(Relayed {
            asker: self.asker.clone(),
            nas: Arc::clone(&self.nas),
            directory: Arc::clone(&self.directory),
            caller,
            identifier,
            local,
            user: String::new(),
            begun: None,
        })
    }

    /// How the servers stand.
    pub fn asker(&self) -> &Asker {
        &self.asker
    }
}

impl Conversation for Relayed {
    fn start(&mut self) -> EapAnswer {
        match &mut self.local {
            // It begins with the identity, too, and knows which packet answers its own.
            Some(local) => local.start(),
            None => EapAnswer::Request(vec![REQUEST, self.identifier, 0, 5, IDENTITY]),
        }
    }

    fn respond(mut self: Box<Self>, packet: Vec<u8>) -> Turn {
        let identifier = packet.get(1).copied().unwrap_or(0);
        if self.begun.is_none() {
            let Some(user) = identity(&packet) else {
                return over(identifier, ConversationFailure::NoIdentity);
            };
            if self.directory.user(&user).is_some()
                && let Some(local) = self.local.take()
            {
                return local.respond(packet);
            }
            self.user = user;
        }
        let Ok(question) = self.question(&packet) else {
            return over(identifier, ConversationFailure::TooLong);
        };
        let (asker, pinned) = (self.asker.clone(), self.begun.as_ref().map(|(server, _)| *server));
        Turn::Wait(Box::pin(async move {
            match asker.ask(question, pinned).await {
                Ok(answer) => self.answered(identifier, answer),
                Err(why) => {
                    tracing::warn!(%why, "a login is refused");
                    let failed = match why {
                        NotAnswered::Silence => ConversationFailure::NoServer,
                        NotAnswered::Busy | NotAnswered::Refused(_) => ConversationFailure::Unavailable,
                    };
                    Turned { conversation: None, answer: failure(identifier, failed) }
                }
            }
        }))
    }
}

impl Relayed {
    fn question(&self, packet: &[u8]) -> Result<Question, TooLong> {
        let mut attributes = AttributeList::new();
        let subject = Subject {
            user: self.user.clone(),
            session_id: self.caller.accounting_id.clone(),
            port: u32::try_from(self.caller.session & u64::from(u32::MAX)).unwrap_or(0),
            client: self.caller.client,
            gateway: self.caller.gateway,
            address: None,
            address6: None,
            class: Vec::new(),
        };
        subject.push(&mut attributes)?;
        self.nas.push(&mut attributes)?;
        attributes.push_number(FRAMED_MTU, EAP_MTU)?;
        if let Some(state) = self.begun.as_ref().and_then(|(_, state)| state.as_ref()) {
            attributes.push(STATE, state)?;
        }
        push_eap(&mut attributes, packet)?;
        Ok(Question::Access { attributes, password: None })
    }

    fn answered(mut self: Box<Self>, identifier: u8, answer: Answer) -> Turned {
        let Answer { server, reply, msk } = answer;
        let attributes = || reply.attributes();
        let packet = eap_packet(attributes());
        let code = packet.as_ref().and_then(|packet| packet.first().copied());
        match (reply.code(), code, packet) {
            (Code::AccessChallenge, Some(REQUEST), Some(packet)) => {
                self.begun = Some((server, attributes().first(STATE).map(<[u8]>::to_vec)));
                Turned { conversation: Some(self), answer: EapAnswer::Request(packet) }
            }
            // RFC 3579 §2.6.3: what RADIUS and EAP say must be the same.
            (Code::AccessAccept, Some(SUCCESS), Some(packet)) => {
                let grant = grant(attributes());
                for unused in &grant.unused {
                    tracing::debug!(%unused, "an attribute of an Access-Accept changes nothing");
                }
                let user = grant.user.clone().unwrap_or(self.user);
                let msk = msk.map(|msk| Secret::new(msk.to_vec()));
                let remote = RemoteLogin { accounting_id: self.caller.accounting_id, grant };
                let remote = Some(Box::new(remote));
                let login = EapLogin { user, method: METHOD, msk, remote };
                Turned { conversation: None, answer: EapAnswer::Success { packet, login } }
            }
            (Code::AccessReject, _, packet) => {
                let message = reply_message(attributes());
                tracing::info!(message, "a RADIUS server refused a login");
                let reason = ConversationFailure::Rejected;
                let answer = match packet.filter(|_| code == Some(FAILURE)) {
                    Some(packet) => EapAnswer::Failure { packet, reason },
                    None => failure(identifier, reason),
                };
                Turned { conversation: None, answer }
            }
            (code, ..) => {
                tracing::warn!(?code, "a RADIUS server's answer holds no EAP packet that goes with it");
                Turned { conversation: None, answer: failure(identifier, ConversationFailure::NoEap) }
            }
        }
    }
}

/// EAP-Failure.
const FAILURE: u8 = 4;

fn over(identifier: u8, reason: ConversationFailure) -> Turn {
    Turn::Done(Turned { conversation: None, answer: failure(identifier, reason) })
}

/// The identity of an EAP-Response/Identity (RFC 3748 §5.1) that a User-Name can hold.
fn identity(packet: &[u8]) -> Option<String> {
    let [RESPONSE, _, high, low, IDENTITY, name @ ..] = packet else { return None };
    let length = usize::from(u16::from_be_bytes([*high, *low]));
    let name = std::str::from_utf8(name).ok().filter(|_| packet.len() == length)?;
    (!name.is_empty() && name.len() <= MAX_VALUE_OCTETS).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_text_that_a_user_name_can_hold() {
        let packet = |name: &[u8]| {
            let mut packet = vec![2, 7];
            packet.extend(u16::try_from(name.len() + 5).unwrap().to_be_bytes());
            packet.push(1);
            packet.extend(name);
            packet
        };
        assert_eq!(identity(&packet(b"ann@example.test")).as_deref(), Some("ann@example.test"));
        for bad in [
            &packet(b"")[..],
            &packet(&[b'x'; 254]),
            &packet(b"\xFF"),
            &[2, 1, 0, 9, 1, 97],
            &[1, 1, 0, 6, 1, 97],
            &[],
        ] {
            assert_eq!(identity(bad), None);
        }
    }
}
