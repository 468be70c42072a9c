//! The standard EAP conversations under way, one per session (RFC 7296 §2.16).
//!
//! Enters: a session's number, its [`Conversation`], the client's EAP packets. Leaves: the next packet for it, the verdict, or
//! a turn that takes time and is done elsewhere: on a thread ([`Turn::Work`]) or by whoever waits for another machine
//! ([`Turn::Wait`]). A conversation is away while its turn is; nothing that comes back late reaches another one.

use std::collections::HashMap;
use std::pin::Pin;

use causeway_eap::{DiscardReason, FailureReason};
use causeway_ike::api::Secret;

use super::radius::RemoteLogin;

/// Conversations at once. Above it a new one is refused; half-open IKE SAs are bounded lower by default.
pub const MAX_CONVERSATIONS: usize = 65_536;

/// One EAP conversation with a client: answered here, or relayed to who knows the user.
pub trait Conversation: Send {
    /// Begins: the first request, or the reason that there is none.
    fn start(&mut self) -> EapAnswer;

    /// Takes the client's packet, unparsed. The conversation goes into the turn and comes back with its end.
    fn respond(self: Box<Self>, packet: Vec<u8>) -> Turn;
}

/// How the answer to a packet is had.
pub enum Turn {
    /// It is here.
    Done(Turned),
    /// It takes a processor longer than an event loop may stand still.
    Work(Box<dyn FnOnce() -> Turned + Send>),
    /// Somebody else is asked. The future bounds its own waiting.
    Wait(Pin<Box<dyn Future<Output = Turned> + Send>>),
}

/// The end of a turn.
pub struct Turned {
    /// The conversation, if it goes on.
    pub conversation: Option<Box<dyn Conversation>>,
    /// What to tell the client.
    pub answer: EapAnswer,
}

/// What to tell the client.
pub enum EapAnswer {
    /// Go on with this request.
    Request(Vec<u8>),
    /// The user is who he says.
    Success {
        /// EAP-Success.
        packet: Vec<u8>,
        /// Who, and the key.
        login: EapLogin,
    },
    /// It is over.
    Failure {
        /// EAP-Failure.
        packet: Vec<u8>,
        /// Why, for the log; never sent.
        reason: ConversationFailure,
    },
}

/// A user who has proved itself by EAP.
pub struct EapLogin {
    /// The account, as whoever verified it spells it.
    pub user: String,
    /// Name of the method, as operators see it.
    pub method: &'static str,
    /// The method's key; `None` for a method that makes none.
    pub msk: Option<Secret>,
    /// What a RADIUS server said of the user, if one was asked.
    pub remote: Option<Box<RemoteLogin>>,
}

/// Why a conversation ended badly.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ConversationFailure {
    /// The method said no.
    #[error(transparent)]
    Refused(#[from] FailureReason),
    /// The packet did not belong where it came.
    #[error("the client broke the EAP protocol: {0}")]
    Protocol(DiscardReason),
    /// Too many logins of this user, or from this address, have failed.
    #[error("locked after too many failed logins")]
    Locked,
    /// No conversation of this session is under way.
    #[error("no EAP conversation is under way")]
    Unknown,
    /// [`MAX_CONVERSATIONS`] are under way.
    #[error("too many EAP conversations at once")]
    TooMany,
    /// A RADIUS server said no.
    #[error("a RADIUS server refused the user")]
    Rejected,
    /// No RADIUS server said anything.
    #[error("no RADIUS server answered")]
    NoServer,
    /// A RADIUS server said what EAP does not.
    #[error("a RADIUS server's answer holds no EAP packet that goes with it")]
    NoEap,
    /// The client did not say who it is, or in no way that RADIUS could repeat.
    #[error("the client's EAP identity is no text of 1 to 253 octets")]
    NoIdentity,
    /// The client's packet does not fit into a RADIUS packet.
    #[error("an EAP packet is too long for RADIUS")]
    TooLong,
    /// Nobody has time for the turn, or whoever worked on it broke down.
    #[error("the answer to an EAP packet could not be worked out")]
    Unavailable,
}

impl ConversationFailure {
    /// Whether it is the user who failed to prove itself: then it counts against guessing.
    pub fn is_the_users(&self) -> bool {
        matches!(self, ConversationFailure::Refused(_) | ConversationFailure::Rejected)
    }
}

/// Names one turn of one conversation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TurnId(u64);

/// What [`Conversations::respond`] leads to.
pub enum Asked {
    /// The answer.
    Now(EapAnswer),
    /// The answer comes with the end of this work: [`Conversations::turned`].
    Work(TurnId, Box<dyn FnOnce() -> Turned + Send>),
    /// The answer comes with the end of this wait: [`Conversations::turned`].
    Wait(TurnId, Pin<Box<dyn Future<Output = Turned> + Send>>),
}

/// All conversations.
#[derive(Default)]
pub struct Conversations {
    running: HashMap<u64, Place>,
    turns: u64,
}

/// Where a conversation is.
enum Place {
    Here(Box<dyn Conversation>),
    /// In a turn that is under way, which takes this packet.
    Away {
        turn: TurnId,
        identifier: u8,
    },
}

impl Turned {
    /// The conversation is over, because of our own side.
    pub fn unavailable(identifier: u8) -> Turned {
        Turned { conversation: None, answer: failure(identifier, ConversationFailure::Unavailable) }
    }
}

impl Conversations {
    /// Begins a conversation with `session`; one that was under way is forgotten.
    pub fn start(&mut self, session: u64, mut conversation: Box<dyn Conversation>) -> EapAnswer {
        if self.running.len() >= MAX_CONVERSATIONS && !self.running.contains_key(&session) {
            return failure(0, ConversationFailure::TooMany);
        }
        let answer = conversation.start();
        match &answer {
            EapAnswer::Request(_) => drop(self.running.insert(session, Place::Here(conversation))),
            _ => drop(self.running.remove(&session)),
        }
        answer
    }

    /// Takes the client's packet. After a success or failure the conversation is forgotten.
    pub fn respond(&mut self, session: u64, packet: Vec<u8>) -> Asked {
        let identifier = packet.get(1).copied().unwrap_or(0);
        let conversation = match self.running.remove(&session) {
            Some(Place::Here(conversation)) => conversation,
            // IKE takes one request after the other, so a packet before the answer to the last one is a mistake of ours.
            Some(Place::Away { .. }) | None => {
                return Asked::Now(failure(identifier, ConversationFailure::Unknown));
            }
        };
        self.turns = self.turns.wrapping_add(1);
        let turn = TurnId(self.turns);
        match conversation.respond(packet) {
            Turn::Done(turned) => Asked::Now(self.put_back(session, turned)),
            Turn::Work(work) => {
                self.running.insert(session, Place::Away { turn, identifier });
                Asked::Work(turn, work)
            }
            Turn::Wait(wait) => {
                self.running.insert(session, Place::Away { turn, identifier });
                Asked::Wait(turn, wait)
            }
        }
    }

    /// Takes the end of a turn, `None` if it came to none. No answer if the conversation was abandoned meanwhile.
    pub fn turned(&mut self, session: u64, turn: TurnId, turned: Option<Turned>) -> Option<EapAnswer> {
        let Some(&Place::Away { turn: awaited, identifier }) = self.running.get(&session) else {
            return None;
        };
        if awaited != turn {
            return None;
        }
        self.running.remove(&session);
        Some(self.put_back(session, turned.unwrap_or_else(|| Turned::unavailable(identifier))))
    }

    /// Forgets the conversation of a session that ended on the way.
    pub fn abandon(&mut self, session: u64) {
        self.running.remove(&session);
    }

    /// Conversations under way.
    pub fn len(&self) -> usize {
        self.running.len()
    }

    /// Whether none is under way.
    pub fn is_empty(&self) -> bool {
        self.running.is_empty()
    }

    fn put_back(&mut self, session: u64, turned: Turned) -> EapAnswer {
        if let (Some(conversation), EapAnswer::Request(_)) = (turned.conversation, &turned.answer) {
            self.running.insert(session, Place::Here(conversation));
        }
        turned.answer
    }
}

/// EAP-Failure carries the identifier of the response that it answers (RFC 3748 §4.2).
pub(super) fn failure(identifier: u8, reason: ConversationFailure) -> EapAnswer {
    let packet = causeway_eap::packet::failure(identifier);
    EapAnswer::Failure { packet, reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Says after how many packets it ends, and where it works.
    struct Counting {
        left: u8,
        away: bool,
    }

    impl Conversation for Counting {
        fn start(&mut self) -> EapAnswer {
            EapAnswer::Request(vec![1, 0, 0, 5, 1])
        }

        fn respond(mut self: Box<Self>, packet: Vec<u8>) -> Turn {
            let away = self.away;
            let work = move || {
                self.left -= 1;
                if self.left > 0 {
                    let answer = EapAnswer::Request(packet);
                    return Turned { conversation: Some(self), answer };
                }
                let login = EapLogin { user: "ann".into(), method: "test", msk: None, remote: None };
                Turned { conversation: None, answer: EapAnswer::Success { packet, login } }
            };
            if away { Turn::Work(Box::new(work)) } else { Turn::Done(work()) }
        }
    }

    fn counting(left: u8, away: bool) -> Box<Counting> {
        Box::new(Counting { left, away })
    }

    fn away(conversations: &mut Conversations, session: u64) -> (TurnId, Turned) {
        let Asked::Work(turn, work) = conversations.respond(session, vec![2, 7, 0, 5, 1]) else { panic!() };
        (turn, work())
    }

    #[test]
    fn a_conversation_is_forgotten_when_it_ends() {
        let mut conversations = Conversations::default();
        conversations.start(1, counting(2, false));
        let next = conversations.respond(1, vec![2, 1, 0, 5, 1]);
        assert!(matches!(next, Asked::Now(EapAnswer::Request(_))) && conversations.len() == 1);
        let end = conversations.respond(1, vec![2, 2, 0, 5, 1]);
        assert!(matches!(end, Asked::Now(EapAnswer::Success { .. })) && conversations.is_empty());
        let late = conversations.respond(1, vec![2, 2, 0, 5, 1]);
        let Asked::Now(EapAnswer::Failure { packet, reason }) = late else { panic!() };
        assert_eq!((packet, reason), (vec![4, 2, 0, 4], ConversationFailure::Unknown));
    }

    #[test]
    fn what_comes_back_late_reaches_nobody() {
        let mut conversations = Conversations::default();
        conversations.start(1, counting(2, true));
        let (first, turned) = away(&mut conversations, 1);
        conversations.abandon(1);
        assert!(conversations.turned(1, first, Some(turned)).is_none() && conversations.is_empty());
        conversations.start(1, counting(2, true));
        let (second, turned) = away(&mut conversations, 1);
        let stale = Turned { conversation: Some(counting(9, true)), answer: EapAnswer::Request(vec![]) };
        assert!(conversations.turned(1, first, Some(stale)).is_none());
        let answer = conversations.turned(1, second, Some(turned));
        assert!(matches!(answer, Some(EapAnswer::Request(_))));
        let (third, turned) = away(&mut conversations, 1);
        let answer = conversations.turned(1, third, Some(turned));
        assert!(matches!(answer, Some(EapAnswer::Success { .. })) && conversations.is_empty());
    }

    #[test]
    fn a_turn_that_comes_to_nothing_ends_the_conversation() {
        let mut conversations = Conversations::default();
        conversations.start(1, counting(2, true));
        let (turn, _) = away(&mut conversations, 1);
        let answer = conversations.turned(1, turn, None);
        let Some(EapAnswer::Failure { packet, reason }) = answer else { panic!() };
        assert_eq!((packet, reason), (vec![4, 7, 0, 4], ConversationFailure::Unavailable));
        assert!(conversations.is_empty());
    }

    #[test]
    fn conversations_are_bounded() {
        let mut conversations = Conversations::default();
        for session in 0..MAX_CONVERSATIONS as u64 {
            assert!(matches!(conversations.start(session, counting(1, false)), EapAnswer::Request(_)));
        }
        let refused = conversations.start(u64::MAX, counting(1, false));
        assert!(matches!(refused, EapAnswer::Failure { reason: ConversationFailure::TooMany, .. }));
        let again = conversations.start(0, counting(1, false));
        assert!(matches!(again, EapAnswer::Request(_)), "a restart takes no room");
    }
}
