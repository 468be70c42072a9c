//! Tickets of RFC 5723: what a client is given, and what it presents when it comes back.
//!
//! Enters: the state of an IKE SA, the durable session that it belongs to, the store's secret. Leaves: a ticket and the token that
//! the store keeps of it; later, from both, the state again. A ticket is sealed (AES-256-GCM, RFC 5116) under a key that changes
//! every [`KEY_SECS`] and is derived from the store's secret, so that it outlives the process and says nothing to anybody who
//! sees it on its way (§9.1, §9.10). With [`Form::Value`] it holds the state itself, with [`Form::Reference`] the state stays in
//! the store; either way the store's token decides whether it may be used, so that each is used once, and none outlives its session.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac;
use causeway_ike::api::{Ticket, TicketState};
use zeroize::Zeroizing;

use crate::store::{DurableId, Token, WallSecs};

/// Seconds for which tickets are sealed under one key: several times the life of any ticket or IKE SA (RFC 5723 §6.2).
pub const KEY_SECS: u64 = 7 * 24 * 3600;
/// Longest life of a ticket that the configuration allows, seconds.
pub const MAX_LIFETIME_SECS: u64 = 24 * 3600;

/// Version of the format; the first octet of every ticket.
const VERSION: u8 = 1;
/// Octets before the sealed part: version, number of the key (RFC 5723 §6.1), nonce.
const HEAD_OCTETS: usize = 1 + 8 + NONCE_LEN;
/// Octets by which a ticket and its token know each other.
const SECRET_OCTETS: usize = 32;
const LABEL: &[u8] = b"causeway ticket 1 key ";

/// Where the state is that a ticket stands for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Form {
    /// In the ticket.
    Value,
    /// In the store.
    Reference,
}

impl Form {
    /// The first octet of a token and of what a ticket seals; no other token begins so.
    fn mark(self) -> u8 {
        match self {
            Form::Value => 1,
            Form::Reference => 2,
        }
    }

    fn of_mark(mark: u8) -> Option<Form> {
        [Form::Value, Form::Reference].into_iter().find(|form| form.mark() == mark)
    }
}

/// Makes tickets and reads them.
pub struct Tickets {
    /// Derives the keys. The library wipes its context.
    derive: hmac::Key,
    form: Form,
    lifetime_secs: u64,
}

/// A ticket that is made; it counts once the store has the token.
pub struct Draft {
    /// For the client.
    pub ticket: Ticket,
    /// For the store.
    pub token: Token,
}

/// A ticket that is ours, and has not expired.
pub struct Presented {
    /// The session that it is for.
    pub id: DurableId,
    form: Form,
    secret: [u8; SECRET_OCTETS],
    /// With [`Form::Value`].
    state: Zeroizing<Vec<u8>>,
}

impl Tickets {
    /// `secret` is the store's.
    pub fn new(secret: &[u8; 32], form: Form, lifetime_secs: u64) -> Tickets {
        Tickets { derive: hmac::Key::new(hmac::HMAC_SHA256, secret), form, lifetime_secs }
    }

    /// A ticket for this session, which ends at `ends_at`; `None` when its state is too long for one.
    pub fn make(
        &self,
        id: &DurableId,
        state: &TicketState,
        (now, ends_at): (WallSecs, Option<WallSecs>),
        fill: &mut dyn FnMut(&mut [u8]),
    ) -> Option<Draft> {
        let state = state.encode()?;
        let left = ends_at.map_or(u64::MAX, |ends_at| ends_at.0.saturating_sub(now.0));
        let lifetime = self.lifetime_secs.min(left).min(MAX_LIFETIME_SECS);
        let mut secret = Zeroizing::new([0; SECRET_OCTETS]);
        fill(&mut secret[..]);
        let (inside, stored) = match self.form {
            Form::Value => (state.expose(), &[][..]),
            Form::Reference => (&[][..], state.expose()),
        };
        let token = Token::new([&[self.form.mark()], &secret[..], stored].concat()).ok()?;
        let mut nonce = [0; NONCE_LEN];
        fill(&mut nonce);
        let number = key_number(now);
        let mut octets = Vec::with_capacity(HEAD_OCTETS + 64 + inside.len() + AES_256_GCM.tag_len());
        octets.push(VERSION);
        octets.extend_from_slice(&number.to_be_bytes());
        octets.extend_from_slice(&nonce);
        octets.push(self.form.mark());
        octets.extend_from_slice(id.as_bytes());
        octets.extend_from_slice(&now.after(lifetime).0.to_be_bytes());
        octets.extend_from_slice(&secret[..]);
        octets.extend_from_slice(inside);
        let (head, place) = octets.split_at_mut_checked(HEAD_OCTETS)?;
        let nonce = Nonce::assume_unique_for_key(nonce);
        let tag = self.key(number)?.seal_in_place_separate_tag(nonce, Aad::from(&*head), place).ok()?;
        octets.extend_from_slice(tag.as_ref());
        let lifetime_secs = u32::try_from(lifetime).unwrap_or(u32::MAX);
        Some(Draft { ticket: Ticket { octets, lifetime_secs }, token })
    }

    /// Reads a ticket that anybody may have sent; `None` if it is not ours, or has expired.
    pub fn read(&self, ticket: &[u8], now: WallSecs) -> Option<Presented> {
        let (head, sealed) = ticket.split_at_checked(HEAD_OCTETS)?;
        let (version, rest) = head.split_first()?;
        let (number, nonce) = rest.split_first_chunk::<8>()?;
        let (number, newest) = (u64::from_be_bytes(*number), key_number(now));
        // No ticket outlives the key after its own.
        if *version != VERSION || number > newest || newest.saturating_sub(number) > 1 {
            return None;
        }
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut place = Zeroizing::new(sealed.to_vec());
        let opened = self.key(number)?.open_in_place(nonce, Aad::from(head), place.as_mut_slice()).ok()?;
        let (form, rest) = opened.split_first()?;
        let (id, rest) = rest.split_first_chunk::<{ DurableId::LEN }>()?;
        let (expires_at, rest) = rest.split_first_chunk::<8>()?;
        let (secret, state) = rest.split_first_chunk::<SECRET_OCTETS>()?;
        let valid = now < WallSecs(u64::from_be_bytes(*expires_at));
        let (form, id) = (Form::of_mark(*form)?, DurableId::parse(id)?);
        valid.then(|| Presented { id, form, secret: *secret, state: Zeroizing::new(state.to_vec()) })
    }

    fn key(&self, number: u64) -> Option<LessSafeKey> {
        let mut context = hmac::Context::with_key(&self.derive);
        context.update(LABEL);
        context.update(&number.to_be_bytes());
        let octets = Zeroizing::new(context.sign().as_ref().to_vec());
        UnboundKey::new(&AES_256_GCM, &octets).ok().map(LessSafeKey::new)
    }
}

impl Presented {
    /// What the ticket stands for, if `token` is the one that was stored with it.
    pub fn state(&self, token: &Token) -> Option<TicketState> {
        let (mark, rest) = token.as_bytes().split_first()?;
        let (secret, stored) = rest.split_first_chunk::<SECRET_OCTETS>()?;
        let same = verify_slices_are_equal(secret, &self.secret).is_ok();
        if !same || *mark != self.form.mark() {
            return None;
        }
        TicketState::decode(match self.form {
            Form::Value => &self.state,
            Form::Reference => stored,
        })
    }
}

impl Drop for Presented {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.secret);
    }
}

/// Whether a token of the store belongs to a ticket: it begins with a mark, or is empty because its ticket was revoked. Tokens
/// of Auto Reconnect are letters.
pub fn is_of_ticket(token: &Token) -> bool {
    token.as_bytes().first().is_none_or(|mark| Form::of_mark(*mark).is_some())
}

/// The token of a session whose ticket was revoked: no ticket belongs to it.
pub fn revoked() -> Token {
    Token::none()
}

fn key_number(now: WallSecs) -> u64 {
    now.0.checked_div(KEY_SECS).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: WallSecs = WallSecs(KEY_SECS * 3000 + KEY_SECS - 10);

    fn fill(octets: &mut [u8]) {
        aws_lc_rs::rand::fill(octets).unwrap();
    }

    fn id() -> DurableId {
        DurableId::parse(b"rIUHKccDRiUtFTATwq").unwrap()
    }

    fn state() -> TicketState {
        TicketState::for_test("alice", &[7; 32])
    }

    fn tickets(secret: u8, form: Form) -> Tickets {
        Tickets::new(&[secret; 32], form, 3600)
    }

    fn draft(tickets: &Tickets, ends_at: Option<WallSecs>) -> Draft {
        tickets.make(&id(), &state(), (NOW, ends_at), &mut fill).unwrap()
    }

    #[test]
    fn a_ticket_brings_its_state_back_with_its_own_token_only() {
        for form in [Form::Value, Form::Reference] {
            let tickets = tickets(1, form);
            let (one, other) = (draft(&tickets, None), draft(&tickets, None));
            assert!(
                is_of_ticket(&one.token)
                    && one.ticket.octets.len() <= causeway_ike::ticket::MAX_TICKET_OCTETS
            );
            // Another process, and another form by now.
            for reader in [self::tickets(1, Form::Value), self::tickets(1, Form::Reference)] {
                let presented = reader.read(&one.ticket.octets, NOW).unwrap();
                assert_eq!(presented.id, id());
                assert_eq!(presented.state(&one.token), Some(state()), "{form:?}");
                for wrong in [&other.token, &revoked(), &Token::new(b"letters".to_vec()).unwrap()] {
                    assert_eq!(presented.state(wrong), None, "{form:?}");
                }
            }
        }
    }

    #[test]
    fn with_reference_the_state_stays_here_and_with_value_it_is_not_kept() {
        let longest = |token: &Token| token.as_bytes().len();
        let (value, reference) =
            (draft(&tickets(1, Form::Value), None), draft(&tickets(1, Form::Reference), None));
        assert_eq!(longest(&value.token), 1 + SECRET_OCTETS);
        assert!(longest(&reference.token) > longest(&value.token) + 32);
        assert!(reference.ticket.octets.len() + 32 < value.ticket.octets.len());
        let shows = |octets: &[u8], what: &[u8]| octets.windows(what.len()).any(|window| window == what);
        for draft in [&value, &reference] {
            for what in [&b"alice"[..], &[7; 8], id().as_bytes()] {
                assert!(!shows(&draft.ticket.octets, what), "the ticket shows what is in it");
            }
        }
    }

    #[test]
    fn tickets_expire_and_keys_change() {
        let tickets = tickets(1, Form::Value);
        let draft = draft(&tickets, None);
        assert_eq!(draft.ticket.lifetime_secs, 3600);
        let read = |at: u64| tickets.read(&draft.ticket.octets, WallSecs(at)).is_some();
        assert!(read(NOW.0) && read(NOW.0 + 3599), "across a change of keys");
        assert!(!read(NOW.0 + 3600));
        let next = tickets.make(&id(), &state(), (NOW.after(60), None), &mut fill).unwrap();
        assert_ne!(draft.ticket.octets[1..9], next.ticket.octets[1..9], "another key");
        assert!(tickets.read(&next.ticket.octets, NOW).is_none(), "a key of the future");
        let short = tickets.make(&id(), &state(), (NOW, Some(NOW.after(60))), &mut fill).unwrap();
        assert_eq!(short.ticket.lifetime_secs, 60, "no longer than its session");
        let over = tickets.make(&id(), &state(), (NOW, Some(NOW)), &mut fill).unwrap();
        assert!(tickets.read(&over.ticket.octets, NOW).is_none());
    }

    #[test]
    fn nothing_else_is_a_ticket() {
        let tickets = tickets(1, Form::Value);
        let octets = draft(&tickets, None).ticket.octets;
        assert!(self::tickets(2, Form::Value).read(&octets, NOW).is_none(), "another store's");
        for place in 0..octets.len() {
            let mut altered = octets.clone();
            altered[place] ^= 1;
            assert!(tickets.read(&altered, NOW).is_none(), "octet {place}");
            assert!(tickets.read(&octets[..place], NOW).is_none(), "cut at {place}");
        }
        assert!(!is_of_ticket(&Token::new(b"ABCDEFGH".to_vec()).unwrap()));
    }
}
