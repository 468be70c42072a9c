//! Requests of servers: Disconnect-Request and CoA-Request (RFC 5176).
//!
//! Enters: a datagram, the secret of the server that it comes from, the wall clock. Leaves: a [`Request`] that this server made
//! and made now, or why it is dropped in silence (RFC 5176 §3), and the octets of its answer. Repetitions get the answer of
//! the first ([`Answers`], RFC 5080 §2.2.2).

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use crate::SharedSecret;
use crate::attribute::{
    ACCT_INTERIM_INTERVAL, ACCT_SESSION_ID, CALLING_STATION_ID, CLASS, ERROR_CAUSE, EVENT_TIMESTAMP,
    ErrorCause, FRAMED_IP_ADDRESS, FRAMED_IPV6_ADDRESS, FRAMED_IPV6_PREFIX, IDLE_TIMEOUT,
    MESSAGE_AUTHENTICATOR, NAS_IDENTIFIER, NAS_IP_ADDRESS, NAS_IPV6_ADDRESS, NAS_PORT, NAS_PORT_ID,
    NAS_PORT_TYPE, PROXY_STATE, REPLY_MESSAGE, SESSION_TIMEOUT, USER_NAME, VENDOR_SPECIFIC,
};
use crate::authenticator::{MacVerdict, assemble, is_sealed, judge_mac, seal};
use crate::ipv6;
use crate::packet::{AttributeList, Attributes, Code, Packet, ParseError};

/// How long an answer is kept for repetitions of its request.
pub const ANSWERS_KEPT: Duration = Duration::from_secs(30);
/// Answers that are kept.
pub const MAX_ANSWERS: usize = 256;

/// What is asked of a request before it is believed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Policy {
    /// Whether it must have a Message-Authenticator; a wrong one is never taken.
    pub require_signature: bool,
    /// Whether it must have an Event-Timestamp; one outside the window is never taken.
    pub require_timestamp: bool,
    /// How far its Event-Timestamp may be from our clock, seconds either way (RFC 5176 §6.3).
    pub window_secs: u64,
}

/// Why a request is dropped without an answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Disbelief {
    /// It is no packet.
    #[error(transparent)]
    Malformed(#[from] ParseError),
    /// It asks for nothing that a server may ask for.
    #[error("it is neither a Disconnect-Request nor a CoA-Request")]
    Code,
    /// Its Request Authenticator is wrong.
    #[error("the Request Authenticator is wrong: the secrets differ, or it is forged")]
    Authenticator,
    /// It has no Message-Authenticator.
    #[error("it has no Message-Authenticator")]
    Unsigned,
    /// Its Message-Authenticator is wrong.
    #[error("the Message-Authenticator is wrong: the secrets differ, or it is forged")]
    Signature,
    /// It has no Event-Timestamp.
    #[error("it has no Event-Timestamp")]
    Undated,
    /// Its Event-Timestamp is not of now.
    #[error("its Event-Timestamp is {0} s from our clock")]
    Stale(u64),
}

/// What a request wants.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// End the session.
    Disconnect,
    /// Change what it may have.
    Change(Change),
}

/// New values; `None` leaves the old one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Change {
    /// Session-Timeout: seconds from now on.
    pub session_timeout_secs: Option<u32>,
    /// Idle-Timeout.
    pub idle_timeout_secs: Option<u32>,
    /// Acct-Interim-Interval.
    pub interim_secs: Option<u32>,
}

/// Which sessions are meant: those that every value fits.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Selector {
    /// Acct-Session-Id.
    pub session_id: Option<String>,
    /// User-Name.
    pub user: Option<String>,
    /// Framed-IP-Address.
    pub address: Option<Ipv4Addr>,
    /// Framed-IPv6-Address: one of the client's.
    pub address6: Option<Ipv6Addr>,
    /// Framed-IPv6-Prefix: the client's whole prefix.
    pub prefix6: Option<(Ipv6Addr, u8)>,
    /// Calling-Station-Id: the client's outer address.
    pub client: Option<String>,
    /// NAS-Port.
    pub port: Option<u32>,
    /// Class: each must be among the session's.
    pub class: Vec<Vec<u8>>,
}

/// A request that its server made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Request {
    kind: Kind,
    selector: Selector,
    nas_address: Option<Ipv4Addr>,
    nas_address6: Option<Ipv6Addr>,
    nas_identifier: Option<String>,
    code: Code,
    identifier: u8,
    authenticator: [u8; 16],
    proxy_states: Vec<Vec<u8>>,
    fault: Option<ErrorCause>,
}

/// Checks a request of a server.
///
/// # Errors
/// When it is to be dropped.
pub fn verify(
    datagram: &[u8],
    secret: &SharedSecret,
    policy: &Policy,
    now_unix_secs: u64,
) -> Result<Request, Disbelief> {
    let packet = Packet::parse(datagram)?;
    let attributes = packet.attributes();
    if !matches!(packet.code(), Code::DisconnectRequest | Code::CoaRequest) {
        return Err(Disbelief::Code);
    }
    if !is_sealed(&packet, &[0; 16], secret) {
        return Err(Disbelief::Authenticator);
    }
    // RFC 5176 §2.3: over a Request Authenticator of zeros.
    match judge_mac(&packet, &[0; 16], secret) {
        MacVerdict::Right => {}
        MacVerdict::Missing if !policy.require_signature => {}
        MacVerdict::Missing => return Err(Disbelief::Unsigned),
        MacVerdict::Wrong => return Err(Disbelief::Signature),
    }
    match attributes.clone().number(EVENT_TIMESTAMP) {
        Some(at) => {
            let apart = now_unix_secs.abs_diff(u64::from(at));
            if apart > policy.window_secs {
                return Err(Disbelief::Stale(apart));
            }
        }
        None if policy.require_timestamp => return Err(Disbelief::Undated),
        None => {}
    }
    let text = |attribute| attributes.clone().text(attribute).map(str::to_owned);
    let number = |attribute| attributes.clone().number(attribute);
    let is_coa = packet.code() == Code::CoaRequest;
    let kind = match is_coa {
        false => Kind::Disconnect,
        true => Kind::Change(Change {
            session_timeout_secs: number(SESSION_TIMEOUT),
            idle_timeout_secs: number(IDLE_TIMEOUT),
            interim_secs: number(ACCT_INTERIM_INTERVAL),
        }),
    };
    Ok(Request {
        kind,
        selector: Selector {
            session_id: text(ACCT_SESSION_ID),
            user: text(USER_NAME),
            address: attributes.clone().address(FRAMED_IP_ADDRESS),
            address6: attributes.clone().address6(FRAMED_IPV6_ADDRESS),
            prefix6: attributes.clone().first(FRAMED_IPV6_PREFIX).and_then(ipv6::read),
            client: text(CALLING_STATION_ID),
            port: number(NAS_PORT),
            class: attributes.clone().each(CLASS).map(<[u8]>::to_vec).collect(),
        },
        nas_address: attributes.clone().address(NAS_IP_ADDRESS),
        nas_address6: attributes.clone().address6(NAS_IPV6_ADDRESS),
        nas_identifier: text(NAS_IDENTIFIER),
        code: packet.code(),
        identifier: packet.identifier(),
        authenticator: *packet.authenticator(),
        proxy_states: attributes.clone().each(PROXY_STATE).map(<[u8]>::to_vec).collect(),
        fault: fault(attributes, is_coa),
    })
}

/// What is wrong with the attributes of a request that is genuine.
fn fault(attributes: Attributes<'_>, is_coa: bool) -> Option<ErrorCause> {
    let names = [
        ACCT_SESSION_ID,
        USER_NAME,
        FRAMED_IP_ADDRESS,
        FRAMED_IPV6_ADDRESS,
        FRAMED_IPV6_PREFIX,
        CALLING_STATION_ID,
        NAS_PORT,
        CLASS,
        NAS_IP_ADDRESS,
        NAS_IPV6_ADDRESS,
        NAS_IDENTIFIER,
        NAS_PORT_ID,
        NAS_PORT_TYPE,
        EVENT_TIMESTAMP,
        MESSAGE_AUTHENTICATOR,
        PROXY_STATE,
        REPLY_MESSAGE,
    ];
    let changes = [SESSION_TIMEOUT, IDLE_TIMEOUT, ACCT_INTERIM_INTERVAL];
    let is_of = |list: &[crate::attribute::Attribute], kind: u8| list.iter().any(|one| one.0 == kind);
    let mut to_change = false;
    for (kind, value) in attributes {
        let numeric = is_of(&[FRAMED_IP_ADDRESS, NAS_PORT, NAS_IP_ADDRESS, EVENT_TIMESTAMP], kind);
        let wide = is_of(&[FRAMED_IPV6_ADDRESS, NAS_IPV6_ADDRESS], kind);
        let no_prefix = kind == FRAMED_IPV6_PREFIX.0 && ipv6::read(value).is_none();
        let textual = is_of(&[ACCT_SESSION_ID, USER_NAME, CALLING_STATION_ID, NAS_IDENTIFIER], kind);
        if is_of(&changes, kind) && is_coa {
            to_change = true;
            if value.len() != 4 {
                return Some(ErrorCause::InvalidAttributeValue);
            }
        } else if !is_of(&names, kind) && (is_coa || kind != VENDOR_SPECIFIC.0) {
            return Some(ErrorCause::UnsupportedAttribute);
        } else if (numeric && value.len() != 4)
            || (wide && value.len() != 16)
            || no_prefix
            || (textual && std::str::from_utf8(value).is_err())
        {
            return Some(ErrorCause::InvalidAttributeValue);
        }
    }
    (is_coa && !to_change).then_some(ErrorCause::MissingAttribute)
}

impl Request {
    /// What is wanted, of which sessions.
    ///
    /// # Errors
    /// What to refuse the request with: it is for another gateway than `nas_addresses` and `nas_identifier` say, names no
    /// session, or wants what cannot be had.
    pub fn wish(
        &self,
        nas_addresses: &[IpAddr],
        nas_identifier: &str,
    ) -> Result<(Kind, &Selector), ErrorCause> {
        let named = [self.nas_address.map(IpAddr::V4), self.nas_address6.map(IpAddr::V6)];
        let address = named.into_iter().flatten().all(|address| nas_addresses.contains(&address));
        let identifier = self.nas_identifier.as_ref().is_none_or(|identifier| identifier == nas_identifier);
        if !address || !identifier {
            return Err(ErrorCause::NasIdentificationMismatch);
        }
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        if self.selector == Selector::default() {
            return Err(ErrorCause::MissingAttribute);
        }
        Ok((self.kind, &self.selector))
    }

    /// The answer: done, or the reason that it is not. Signed, and with what proxies need to find back.
    pub fn answer(
        &self,
        outcome: Result<(), ErrorCause>,
        secret: &SharedSecret,
        now_unix_secs: u64,
    ) -> Vec<u8> {
        let code = match (self.code, outcome) {
            (Code::DisconnectRequest, Ok(())) => Code::DisconnectAck,
            (Code::DisconnectRequest, Err(_)) => Code::DisconnectNak,
            (_, Ok(())) => Code::CoaAck,
            (_, Err(_)) => Code::CoaNak,
        };
        let mut list = AttributeList::new();
        if let Err(cause) = outcome {
            let _ = list.push_number(ERROR_CAUSE, cause as u32);
        }
        let _ = list.push_number(EVENT_TIMESTAMP, u32::try_from(now_unix_secs).unwrap_or(u32::MAX));
        for state in &self.proxy_states {
            // What came in one packet goes into one, but for our own few octets.
            let _ = list.push(PROXY_STATE, state);
        }
        let mut octets = assemble(code, self.identifier, &self.authenticator, list.octets(), Some(secret));
        seal(&mut octets, secret);
        octets
    }
}

/// Source address and port, identifier, Request Authenticator (RFC 5080 §2.2.2).
type RequestName = (IpAddr, u16, u8, [u8; 16]);

/// Answers that were given, for requests that come twice.
#[derive(Default)]
pub struct Answers {
    given: VecDeque<(Duration, RequestName, Vec<u8>)>,
}

impl Answers {
    /// The answer that this very request got before.
    pub fn of(&mut self, now: Duration, source: (IpAddr, u16), request: &Request) -> Option<&[u8]> {
        while self.given.front().is_some_and(|(at, ..)| now.saturating_sub(*at) > ANSWERS_KEPT) {
            self.given.pop_front();
        }
        let name = (source.0, source.1, request.identifier, request.authenticator);
        self.given.iter().find(|(_, of, _)| *of == name).map(|(.., answer)| answer.as_slice())
    }

    /// Keeps an answer.
    pub fn keep(&mut self, now: Duration, source: (IpAddr, u16), request: &Request, answer: Vec<u8>) {
        if self.given.len() >= MAX_ANSWERS {
            self.given.pop_front();
        }
        self.given.push_back((now, (source.0, source.1, request.identifier, request.authenticator), answer));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::attribute::{Attribute, FILTER_ID};

    const POLICY: Policy = Policy { require_signature: true, require_timestamp: true, window_secs: 300 };
    const NOW: u64 = 1_700_000_000;

    fn secret() -> SharedSecret {
        SharedSecret::new(b"dae".to_vec()).unwrap()
    }

    fn request(code: Code, list: &AttributeList, sign: bool) -> Vec<u8> {
        let secret = secret();
        let mut octets = assemble(code, 3, &[0; 16], list.octets(), sign.then_some(&secret));
        seal(&mut octets, &secret);
        octets
    }

    fn dated(at: u64) -> AttributeList {
        let mut list = AttributeList::new();
        list.push_number(EVENT_TIMESTAMP, u32::try_from(at).unwrap()).unwrap();
        list
    }

    fn disconnect(user: &str) -> AttributeList {
        let mut list = dated(NOW);
        list.push_text(USER_NAME, user).unwrap();
        list
    }

    fn read(octets: &[u8]) -> Result<Request, Disbelief> {
        verify(octets, &secret(), &POLICY, NOW)
    }

    #[test]
    fn a_server_is_believed_only_as_it_wrote_and_only_now() {
        let good = request(Code::DisconnectRequest, &disconnect("ann"), true);
        let wish = read(&good).unwrap();
        let (kind, selector) = wish.wish(&[], "gw").unwrap();
        assert_eq!((kind, selector.user.as_deref()), (Kind::Disconnect, Some("ann")));
        for place in 0..good.len() {
            let mut changed = good.clone();
            changed[place] ^= 1;
            assert!(read(&changed).is_err(), "octet {place}");
        }
        let unsigned = request(Code::DisconnectRequest, &disconnect("ann"), false);
        assert_eq!(read(&unsigned), Err(Disbelief::Unsigned));
        let lax = Policy { require_signature: false, require_timestamp: false, ..POLICY };
        assert!(verify(&unsigned, &secret(), &lax, NOW).is_ok());
        let stale = request(Code::DisconnectRequest, &dated(NOW - 301), true);
        for (octets, why) in [
            (stale, Disbelief::Stale(301)),
            (request(Code::DisconnectRequest, &dated(NOW + 400), true), Disbelief::Stale(400)),
            (request(Code::CoaRequest, &AttributeList::new(), true), Disbelief::Undated),
            (request(Code::AccessAccept, &dated(NOW), true), Disbelief::Code),
        ] {
            assert_eq!(read(&octets), Err(why));
        }
        assert!(read(&request(Code::CoaRequest, &dated(NOW - 300), true)).is_ok());
    }

    #[test]
    fn what_is_wrong_with_a_genuine_request_is_said() {
        let nas: [IpAddr; 2] = [IpAddr::from([192, 0, 2, 1]), IpAddr::from([9; 16])];
        let with = |code, pairs: &[(Attribute, &[u8])]| {
            let mut list = dated(NOW);
            pairs.iter().for_each(|(attribute, value)| list.push(*attribute, value).unwrap());
            let request = read(&request(code, &list, true)).unwrap();
            request.wish(&nas, "gw").map(|(kind, _)| kind)
        };
        let hour = Change { session_timeout_secs: Some(3600), ..Change::default() };
        let user = (USER_NAME, &b"ann"[..]);
        let time = (SESSION_TIMEOUT, &[0, 0, 14, 16][..]);
        for (code, pairs, expected) in [
            (Code::CoaRequest, &[user, time][..], Ok(Kind::Change(hour))),
            (Code::CoaRequest, &[user], Err(ErrorCause::MissingAttribute)),
            (Code::CoaRequest, &[time], Err(ErrorCause::MissingAttribute)),
            (Code::DisconnectRequest, &[], Err(ErrorCause::MissingAttribute)),
            (Code::CoaRequest, &[user, time, (FILTER_ID, b"acl")], Err(ErrorCause::UnsupportedAttribute)),
            (
                Code::CoaRequest,
                &[user, time, (VENDOR_SPECIFIC, b"\0\0\0\x09\x01\x03x")],
                Err(ErrorCause::UnsupportedAttribute),
            ),
            (Code::DisconnectRequest, &[user, time], Err(ErrorCause::UnsupportedAttribute)),
            (
                Code::DisconnectRequest,
                &[user, (VENDOR_SPECIFIC, b"\0\0\0\x09\x01\x03x")],
                Ok(Kind::Disconnect),
            ),
            (Code::CoaRequest, &[user, (SESSION_TIMEOUT, b"abc")], Err(ErrorCause::InvalidAttributeValue)),
            (Code::DisconnectRequest, &[(FRAMED_IP_ADDRESS, b"abc")], Err(ErrorCause::InvalidAttributeValue)),
            (Code::DisconnectRequest, &[(USER_NAME, b"\xFF")], Err(ErrorCause::InvalidAttributeValue)),
            (Code::DisconnectRequest, &[user, (NAS_IP_ADDRESS, &[192, 0, 2, 1])], Ok(Kind::Disconnect)),
            (
                Code::DisconnectRequest,
                &[user, (NAS_IP_ADDRESS, &[192, 0, 2, 9])],
                Err(ErrorCause::NasIdentificationMismatch),
            ),
            (Code::DisconnectRequest, &[user, (NAS_IPV6_ADDRESS, &[9; 16])], Ok(Kind::Disconnect)),
            (
                Code::DisconnectRequest,
                &[user, (NAS_IPV6_ADDRESS, &[8; 16])],
                Err(ErrorCause::NasIdentificationMismatch),
            ),
            (
                Code::DisconnectRequest,
                &[(FRAMED_IPV6_ADDRESS, b"abc")],
                Err(ErrorCause::InvalidAttributeValue),
            ),
            (
                Code::DisconnectRequest,
                &[(FRAMED_IPV6_PREFIX, b"\0\x40\x20")],
                Err(ErrorCause::InvalidAttributeValue),
            ),
            (Code::DisconnectRequest, &[(FRAMED_IPV6_PREFIX, b"\0\x10\x20\x01")], Ok(Kind::Disconnect)),
            (
                Code::DisconnectRequest,
                &[user, (NAS_IDENTIFIER, b"other")],
                Err(ErrorCause::NasIdentificationMismatch),
            ),
        ] {
            assert_eq!(with(code, pairs), expected, "{pairs:?}");
        }
    }

    #[test]
    fn the_answer_is_sealed_signed_and_finds_its_way_back() {
        let mut list = disconnect("ann");
        list.push(PROXY_STATE, b"one").unwrap();
        list.push(PROXY_STATE, b"two").unwrap();
        for (code, outcome, expected) in [
            (Code::DisconnectRequest, Ok(()), Code::DisconnectAck),
            (Code::DisconnectRequest, Err(ErrorCause::SessionContextNotFound), Code::DisconnectNak),
            (Code::CoaRequest, Ok(()), Code::CoaAck),
            (Code::CoaRequest, Err(ErrorCause::UnsupportedAttribute), Code::CoaNak),
        ] {
            let octets = request(code, &list, true);
            let answer = read(&octets).unwrap().answer(outcome, &secret(), NOW);
            let (asked, packet) = (Packet::parse(&octets).unwrap(), Packet::parse(&answer).unwrap());
            assert_eq!((packet.code(), packet.identifier()), (expected, 3));
            assert!(is_sealed(&packet, asked.authenticator(), &secret()));
            assert_eq!(judge_mac(&packet, asked.authenticator(), &secret()), MacVerdict::Right);
            assert_eq!(packet.attributes().each(PROXY_STATE).collect::<Vec<_>>(), [b"one", b"two"]);
            assert_eq!(packet.attributes().number(ERROR_CAUSE), outcome.err().map(|cause| cause as u32));
        }
    }

    #[test]
    fn a_repetition_gets_the_same_answer_for_a_while() {
        let (mut answers, source) = (Answers::default(), (IpAddr::from([192, 0, 2, 7]), 4000));
        let one = read(&request(Code::DisconnectRequest, &disconnect("ann"), true)).unwrap();
        let other = read(&request(Code::DisconnectRequest, &disconnect("bob"), true)).unwrap();
        assert!(answers.of(Duration::ZERO, source, &one).is_none());
        answers.keep(Duration::ZERO, source, &one, vec![1]);
        assert_eq!(answers.of(Duration::from_secs(30), source, &one), Some(&[1][..]));
        assert!(answers.of(Duration::ZERO, source, &other).is_none());
        assert!(answers.of(Duration::ZERO, (source.0, 4001), &one).is_none());
        assert!(answers.of(Duration::from_secs(31), source, &one).is_none());
        for _ in 0..2 * MAX_ANSWERS {
            answers.keep(Duration::ZERO, source, &one, vec![1]);
        }
        assert_eq!(answers.given.len(), MAX_ANSWERS);
    }

    proptest! {
        #[test]
        fn whatever_comes_is_dropped(octets in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(read(&octets).is_err());
        }
    }
}
