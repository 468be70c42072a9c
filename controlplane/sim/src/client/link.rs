//! One IKE SA as a client keeps it: message IDs, retransmission, the cached answer, fragments (RFC 7296 §2.1–2.3).
//!
//! Enters: payloads to send, datagrams of this SA. Leaves: datagrams, and messages that are new and authentic. Written
//! apart from the gateway's code on purpose: the two share the codec, not the rules.

use causeway_ike::crypto::{IkeKeys, Role, SkOpener, SkSealer};
use causeway_ike::wire::{
    ExchangeType, HEADER_LEN, Header, IkeSpi, Incoming, Message, Payload, PayloadType, Reassembly,
};

use crate::rng::Rng;

/// Octets of a datagram above which messages are fragmented.
const FRAGMENT_OCTETS: usize = 1200;
/// First retransmission, doubled each time.
const RETRANSMIT_MS: u64 = 800;
/// Retransmissions before the gateway is given up.
const RETRANSMIT_TRIES: u32 = 7;

/// Generic header of the SK payload.
const SK_HEADER_OCTETS: usize = 4;
/// IKE 2.0.
const VERSION: u8 = 0x20;
/// Flag of the original initiator's messages.
const FLAG_INITIATOR: u8 = 0x08;

/// An IKE SA.
pub(super) struct Link {
    pub(super) initiator_spi: IkeSpi,
    pub(super) responder_spi: IkeSpi,
    pub(super) role: Role,
    pub(super) keys: IkeKeys,
    sealer: SkSealer,
    opener: SkOpener,
    next_request: u32,
    outstanding: Option<Outstanding>,
    expected_request: u32,
    answered: Option<(u32, Vec<Vec<u8>>)>,
    reassembly: [Option<Reassembly>; 2],
}

/// A request without answer, and when it is sent again.
pub(super) struct Outstanding {
    id: u32,
    exchange: ExchangeType,
    datagrams: Vec<Vec<u8>>,
    tries: u32,
    pub(super) due_ms: u64,
}

/// What became of a datagram.
pub(super) enum Received {
    /// A new request: answer it with [`Link::respond`].
    Request(Message),
    /// The answer to the outstanding request.
    Response(Message),
    /// A request that was answered: send this again.
    Again(Vec<Vec<u8>>),
    /// Old, foreign, incomplete or forged.
    Nothing,
}

/// What a retransmission timer led to.
pub(super) enum Tick {
    /// Not due.
    Wait,
    /// Send this again.
    Again(Vec<Vec<u8>>),
    /// The gateway does not answer.
    GiveUp,
}

impl Outstanding {
    /// Datagrams sent at `now_ms` for the first time.
    pub(super) fn new(now_ms: u64, id: u32, exchange: ExchangeType, datagrams: Vec<Vec<u8>>) -> Outstanding {
        Outstanding { id, exchange, datagrams, tries: 0, due_ms: now_ms + RETRANSMIT_MS }
    }

    /// Looks at the clock.
    pub(super) fn tick(&mut self, now_ms: u64) -> Tick {
        if now_ms < self.due_ms {
            return Tick::Wait;
        }
        if self.tries == RETRANSMIT_TRIES {
            return Tick::GiveUp;
        }
        self.tries += 1;
        self.due_ms = now_ms + (RETRANSMIT_MS << self.tries);
        Tick::Again(self.datagrams.clone())
    }
}

impl Link {
    /// An IKE SA whose first request of ours has the message ID `next_request`.
    pub(super) fn new(spis: (IkeSpi, IkeSpi), role: Role, keys: IkeKeys, next_request: u32) -> Option<Link> {
        let (sealer, opener) = keys.ends(role).ok()?;
        Some(Link {
            initiator_spi: spis.0,
            responder_spi: spis.1,
            role,
            keys,
            sealer,
            opener,
            next_request,
            outstanding: None,
            expected_request: 0,
            answered: None,
            reassembly: [None, None],
        })
    }

    /// Whether a datagram names this IKE SA.
    pub(super) fn owns(&self, header: &Header) -> bool {
        (header.initiator_spi, header.responder_spi) == (self.initiator_spi, self.responder_spi)
    }

    /// Whether a request waits for its answer.
    pub(super) fn is_waiting(&self) -> bool {
        self.outstanding.is_some()
    }

    /// When the outstanding request is sent again.
    pub(super) fn due_ms(&self) -> Option<u64> {
        self.outstanding.as_ref().map(|outstanding| outstanding.due_ms)
    }

    /// Looks at the clock.
    pub(super) fn tick(&mut self, now_ms: u64) -> Tick {
        self.outstanding.as_mut().map_or(Tick::Wait, |outstanding| outstanding.tick(now_ms))
    }

    /// Seals a request. There must be no other.
    pub(super) fn request(
        &mut self,
        now_ms: u64,
        exchange: ExchangeType,
        payloads: Vec<Payload>,
        rng: &mut Rng,
    ) -> Vec<Vec<u8>> {
        let id = self.next_request;
        self.next_request += 1;
        let datagrams = self.seal(exchange, false, id, payloads, rng);
        self.outstanding = Some(Outstanding::new(now_ms, id, exchange, datagrams.clone()));
        datagrams
    }

    /// Seals octets that are no payloads, as a request. There must be no other.
    pub(super) fn rogue_request(
        &mut self,
        now_ms: u64,
        exchange: ExchangeType,
        (first_payload, plaintext): (u8, &[u8]),
        rng: &mut Rng,
    ) -> Vec<Vec<u8>> {
        let id = self.next_request;
        self.next_request += 1;
        let sk_octets = (SK_HEADER_OCTETS + self.sealer.sealed_len(plaintext.len())) as u16;
        let flags = if self.role == Role::Initiator { FLAG_INITIATOR } else { 0 };
        let mut datagram = [self.initiator_spi.to_bytes(), self.responder_spi.to_bytes()].concat();
        datagram.extend_from_slice(&[PayloadType::Sk.number(), VERSION, exchange.number(), flags]);
        datagram.extend_from_slice(&id.to_be_bytes());
        datagram.extend_from_slice(&(u32::from(sk_octets) + HEADER_LEN as u32).to_be_bytes());
        datagram.extend_from_slice(&[first_payload, 0]);
        datagram.extend_from_slice(&sk_octets.to_be_bytes());
        if let Err(error) = self.sealer.seal(&mut datagram, plaintext, rng) {
            unreachable!("a client's message cannot be sealed: {error}");
        }
        let datagrams = vec![datagram];
        self.outstanding = Some(Outstanding::new(now_ms, id, exchange, datagrams.clone()));
        datagrams
    }

    /// Seals the answer to a request and keeps it.
    pub(super) fn respond(
        &mut self,
        request: &Header,
        payloads: Vec<Payload>,
        rng: &mut Rng,
    ) -> Vec<Vec<u8>> {
        let datagrams = self.seal(request.exchange, true, request.message_id, payloads, rng);
        self.answered = Some((request.message_id, datagrams.clone()));
        datagrams
    }

    /// Opens a datagram that names this IKE SA.
    pub(super) fn receive(&mut self, datagram: &[u8]) -> Received {
        let Ok(incoming) = Incoming::parse(datagram) else { return Received::Nothing };
        let header = *incoming.header();
        if header.from_initiator == (self.role == Role::Initiator) {
            return Received::Nothing;
        }
        if header.is_response {
            let fits = |out: &Outstanding| (out.id, out.exchange) == (header.message_id, header.exchange);
            if !self.outstanding.as_ref().is_some_and(fits) {
                return Received::Nothing;
            }
        } else if header.message_id != self.expected_request {
            return self.repeated(&incoming);
        }
        let Some(message) = self.open(&incoming) else { return Received::Nothing };
        if header.is_response {
            self.outstanding = None;
            return Received::Response(message);
        }
        self.expected_request += 1;
        Received::Request(message)
    }

    /// A request from before: its answer goes out again, for a fragmented one at its first fragment (RFC 7383 §2.6.1).
    fn repeated(&self, incoming: &Incoming<'_>) -> Received {
        let authentic = match incoming {
            Incoming::Encrypted(sealed) => sealed.open(&self.opener).is_ok(),
            Incoming::Fragment(sealed) => sealed.number == 1 && sealed.open(&self.opener).is_ok(),
            Incoming::Clear(_) => false,
        };
        match &self.answered {
            Some((id, datagrams)) if authentic && *id == incoming.header().message_id => {
                Received::Again(datagrams.clone())
            }
            _ => Received::Nothing,
        }
    }

    fn open(&mut self, incoming: &Incoming<'_>) -> Option<Message> {
        match incoming {
            Incoming::Encrypted(sealed) => sealed.open(&self.opener).ok(),
            Incoming::Fragment(sealed) => {
                let [requests, responses] = &mut self.reassembly;
                let slot = if sealed.header.is_response { responses } else { requests };
                let id = sealed.header.message_id;
                if slot.as_ref().is_none_or(|reassembly| reassembly.message_id() != id) {
                    *slot = Some(Reassembly::new(id));
                }
                slot.as_mut()?.push(sealed.header, sealed.open(&self.opener).ok()?).ok().flatten()
            }
            Incoming::Clear(_) => None,
        }
    }

    fn seal(
        &mut self,
        exchange: ExchangeType,
        is_response: bool,
        id: u32,
        payloads: Vec<Payload>,
        rng: &mut Rng,
    ) -> Vec<Vec<u8>> {
        let from_initiator = self.role == Role::Initiator;
        let header =
            Header::new(self.initiator_spi, self.responder_spi, exchange, from_initiator, is_response, id);
        match Message::new(header, payloads).seal_fragments(&mut self.sealer, rng, FRAGMENT_OCTETS) {
            Ok(datagrams) => datagrams,
            Err(error) => unreachable!("a client's message cannot be sealed: {error}"),
        }
    }
}
