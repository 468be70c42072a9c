//! One IKE SA: sealing, opening, message IDs of a window of one, the last answer, fragments (RFC 7296 §2.2, §2.3, RFC 7383,
//! and Cisco's payload 132).
//!
//! Enters: datagrams of the gateway, payloads of ours. Leaves: authenticated messages, datagrams.

use std::net::{IpAddr, Ipv4Addr};

use causeway_ike::api::Datagram;
use causeway_ike::cisco::{CiscoFragments, Pushed, cut, is_cisco_fragment};
use causeway_ike::crypto::{IkeKeys, Random, Role, SkOpener, SkSealer};
use causeway_ike::time::Instant;
use causeway_ike::wire::{ExchangeType, Header, IkeSpi, Incoming, Message, Payload, Reassembly, rules};

use super::Fault;

/// How messages that are too long are cut; the number is the most octets of IKE in one datagram.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Cutting {
    /// Not at all: IP does it.
    None,
    /// As RFC 7383 says.
    Ietf(usize),
    /// In Cisco's way, whole messages in clear pieces.
    Cisco(usize),
}

pub(super) struct IkeSa {
    initiator_spi: IkeSpi,
    responder_spi: IkeSpi,
    role: Role,
    pub(super) keys: IkeKeys,
    sealer: SkSealer,
    opener: SkOpener,
    next_request: u32,
    expected_request: u32,
    last_answer: Option<(u32, Vec<Vec<u8>>)>,
    requests: Option<Reassembly>,
    answers: Option<Reassembly>,
    cutting: Cutting,
    pieces: CiscoFragments,
    /// Of the last message that was cut in Cisco's way.
    fragment_id: u16,
}

/// What an authenticated datagram is.
pub(super) enum Opened {
    Request(Message),
    Answer(Message),
    /// A request that was answered before: the same answer again.
    Again(Vec<Vec<u8>>),
    /// Forged, malformed, old, or part of a message that is not whole yet.
    Nothing,
}

impl IkeSa {
    pub(super) fn new(
        (initiator_spi, responder_spi): (IkeSpi, IkeSpi),
        role: Role,
        keys: IkeKeys,
        next_request: u32,
        cutting: Cutting,
    ) -> Result<IkeSa, Fault> {
        let (sealer, opener) = keys.ends(role).map_err(|_| Fault::Crypto)?;
        Ok(IkeSa {
            initiator_spi,
            responder_spi,
            role,
            keys,
            sealer,
            opener,
            next_request,
            expected_request: 0,
            last_answer: None,
            requests: None,
            answers: None,
            cutting,
            pieces: CiscoFragments::default(),
            fragment_id: 0,
        })
    }

    pub(super) fn local_spi(&self) -> IkeSpi {
        match self.role {
            Role::Initiator => self.initiator_spi,
            Role::Responder => self.responder_spi,
        }
    }

    pub(super) fn spis(&self) -> (u64, u64) {
        (self.initiator_spi.0, self.responder_spi.0)
    }

    pub(super) fn cutting(&self) -> Cutting {
        self.cutting
    }

    /// Seals the next request; also says its message ID.
    pub(super) fn request(
        &mut self,
        exchange: ExchangeType,
        payloads: Vec<Payload>,
        random: &mut dyn Random,
    ) -> Result<(u32, Vec<Vec<u8>>), Fault> {
        let id = self.next_request;
        let datagrams = self.seal(exchange, false, id, payloads, random)?;
        self.next_request = id.checked_add(1).ok_or(Fault::Exhausted)?;
        Ok((id, datagrams))
    }

    pub(super) fn answer(
        &mut self,
        request: &Header,
        payloads: Vec<Payload>,
        random: &mut dyn Random,
    ) -> Result<Vec<Vec<u8>>, Fault> {
        let datagrams = self.seal(request.exchange, true, request.message_id, payloads, random)?;
        self.last_answer = Some((request.message_id, datagrams.clone()));
        Ok(datagrams)
    }

    pub(super) fn open(&mut self, now: Instant, datagram: &[u8]) -> Opened {
        let Some(message) = self.whole_message(now, datagram) else { return Opened::Nothing };
        let header = message.header;
        let from_peer = header.from_initiator != (self.role == Role::Initiator);
        if !from_peer || rules::check(&message, true).is_err() {
            return Opened::Nothing;
        }
        if header.is_response {
            return Opened::Answer(message);
        }
        if let Some((id, datagrams)) = &self.last_answer
            && *id == header.message_id
        {
            return Opened::Again(datagrams.clone());
        }
        if header.message_id != self.expected_request {
            return Opened::Nothing;
        }
        self.expected_request = self.expected_request.saturating_add(1);
        Opened::Request(message)
    }

    fn whole_message(&mut self, now: Instant, datagram: &[u8]) -> Option<Message> {
        if is_cisco_fragment(datagram) {
            return self.whole_of_pieces(now, datagram);
        }
        match Incoming::parse(datagram).ok()? {
            Incoming::Clear(_) => None,
            Incoming::Encrypted(message) => message.open(&self.opener).ok(),
            Incoming::Fragment(fragment) => {
                let header = fragment.header;
                let opened = fragment.open(&self.opener).ok()?;
                let held = if header.is_response { &mut self.answers } else { &mut self.requests };
                // Only the gateway can make fragments that open, so it may replace what is held.
                if held.as_ref().is_none_or(|held| held.message_id() != header.message_id) {
                    *held = Some(Reassembly::new(header.message_id));
                }
                let whole = held.as_mut()?.push(header, opened).ok()?;
                if whole.is_some() {
                    *held = None;
                }
                whole
            }
        }
    }

    /// Pieces are not authentic, the whole is; the driver has checked where they come from.
    fn whole_of_pieces(&mut self, now: Instant, datagram: &[u8]) -> Option<Message> {
        if !matches!(self.cutting, Cutting::Cisco(_)) {
            return None;
        }
        let nobody = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        let bytes = datagram.to_vec();
        let piece = Datagram { local: nobody, local_port: 0, peer: nobody, peer_port: 0, bytes };
        let Pushed::Whole(whole) = self.pieces.push(now, self.local_spi().0, &piece) else { return None };
        match Incoming::parse(&whole).ok()? {
            Incoming::Encrypted(message) => message.open(&self.opener).ok(),
            Incoming::Clear(_) | Incoming::Fragment(_) => None,
        }
    }

    fn seal(
        &mut self,
        exchange: ExchangeType,
        is_response: bool,
        id: u32,
        payloads: Vec<Payload>,
        random: &mut dyn Random,
    ) -> Result<Vec<Vec<u8>>, Fault> {
        let from_initiator = self.role == Role::Initiator;
        let header =
            Header::new(self.initiator_spi, self.responder_spi, exchange, from_initiator, is_response, id);
        let message = Message::new(header, payloads);
        if let Cutting::Ietf(octets) = self.cutting {
            let pieces = message.seal_fragments(&mut self.sealer, random, octets);
            return pieces.map_err(|_| Fault::Crypto);
        }
        let whole = message.seal(&mut self.sealer, random).map_err(|_| Fault::Crypto)?;
        match self.cutting {
            Cutting::Cisco(octets) if whole.len() > octets => {
                self.fragment_id = self.fragment_id.wrapping_add(1);
                // What takes too many pieces goes whole.
                Ok(cut(&whole, self.fragment_id, octets).unwrap_or_else(|| vec![whole]))
            }
            _ => Ok(vec![whole]),
        }
    }
}
