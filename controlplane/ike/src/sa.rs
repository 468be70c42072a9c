//! One IKE SA on the wire: keys, message-ID windows, cached answers, retransmission, fragments
//! (RFC 7296 §2.1–2.3, RFC 7383).
//!
//! Enters: datagrams of this SA's SPIs, payloads to send. Leaves: opened messages that are new and in order, datagrams.
//! What the messages mean is not known here. Both windows have size 1.

mod snapshot;

pub(crate) use snapshot::{read_suite, write_suite};

use std::net::IpAddr;

use crate::api::{Datagram, Fragmentation, IkeSpis};
use crate::cisco;
use crate::counters::IkeCounter;
use crate::crypto::{CryptoError, IkeKeys, IntAuth, Random, Role, SkOpener, SkSealer};
use crate::env::Env;
use crate::error::IkeError;
use crate::policy::Timing;
use crate::time::Instant;
use crate::wire::{
    Content, ExchangeType, Header, IkeSpi, Incoming, Message, OpenError, Payload, Reassembly, WireError,
    rules,
};
use crate::world::Cx;

const IPV4_HEADER: usize = 20;
const IPV6_HEADER: usize = 40;
const UDP_HEADER: usize = 8;
const NON_ESP_MARKER: usize = 4;
/// Port of IKE with NAT traversal (RFC 7296 §2.23).
pub(crate) const NAT_T_PORT: u16 = 4500;
/// Smallest IKE datagram that fragments are cut to, whatever is configured.
const MIN_DATAGRAM: usize = 512;

/// Two UDP ends, as we see them.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Path {
    pub(crate) local: IpAddr,
    pub(crate) local_port: u16,
    pub(crate) peer: IpAddr,
    pub(crate) peer_port: u16,
}

impl Path {
    pub(crate) fn of(datagram: &Datagram) -> Path {
        let Datagram { local, local_port, peer, peer_port, .. } = *datagram;
        Path { local, local_port, peer, peer_port }
    }

    pub(crate) fn datagram(self, bytes: Vec<u8>) -> Datagram {
        let Path { local, local_port, peer, peer_port } = self;
        Datagram { local, local_port, peer, peer_port, bytes }
    }
}

/// Where NATs were detected (RFC 7296 §2.23).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Nat {
    /// Whether the peer speaks NAT traversal at all.
    pub(crate) traversal: bool,
    pub(crate) peer_behind: bool,
    pub(crate) local_behind: bool,
}

impl Nat {
    pub(crate) fn detected(self) -> bool {
        self.peer_behind || self.local_behind
    }
}

/// An IKE SA.
pub(crate) struct IkeSa {
    pub(crate) spis: IkeSpis,
    /// Initiator when we began it: then our messages carry the I flag.
    pub(crate) role: Role,
    pub(crate) keys: IkeKeys,
    pub(crate) path: Path,
    pub(crate) nat: Nat,
    pub(crate) fragmentation: Fragmentation,
    /// The IKE_INTERMEDIATE exchanges that have been.
    pub(crate) int_auth: IntAuth,
    opener: SkOpener,
    sealer: SkSealer,
    /// Opens repetitions of the request whose answer changed the keys.
    previous: Option<SkOpener>,
    /// Of the last message that was cut in Cisco's way.
    fragment_id: u16,
    inbound: Inbound,
    outbound: Outbound,
}

/// What begins an IKE SA.
pub(crate) struct IkeSaParameters {
    pub(crate) spis: IkeSpis,
    pub(crate) role: Role,
    pub(crate) keys: IkeKeys,
    pub(crate) path: Path,
    pub(crate) nat: Nat,
    pub(crate) fragmentation: Fragmentation,
    /// Message ID of the first request expected: 1 after IKE_SA_INIT, 0 after a rekey.
    pub(crate) first_request_id: u32,
}

/// The peer's requests.
struct Inbound {
    next_id: u32,
    working_on: Option<Pending>,
    answered: Option<Answer>,
    reassembly: Option<Reassembly>,
}

/// A request of the peer that has no answer yet.
#[derive(Clone, Copy)]
struct Pending {
    id: u32,
    exchange: ExchangeType,
    from: Path,
}

/// The last answer, kept for retransmitted requests.
struct Answer {
    id: u32,
    datagrams: Vec<Vec<u8>>,
}

/// Our requests.
struct Outbound {
    next_id: u32,
    outstanding: Option<Outstanding>,
    reassembly: Option<Reassembly>,
}

struct Outstanding {
    id: u32,
    exchange: ExchangeType,
    datagrams: Vec<Vec<u8>>,
    retry: Retry,
    resend_at: Instant,
}

/// How a request is sent again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Retry {
    tries_left: u32,
    interval_ms: u64,
    doubles: bool,
}

impl Retry {
    /// As the operator has it for every request.
    pub(crate) fn doubling(timing: &Timing) -> Retry {
        let Timing { retransmit_base_ms, retransmit_tries, .. } = *timing;
        Retry { tries_left: retransmit_tries, interval_ms: retransmit_base_ms, doubles: true }
    }

    /// At one pace.
    pub(crate) fn steady(interval_secs: u64, tries: u32) -> Retry {
        Retry { tries_left: tries, interval_ms: interval_secs.max(1).saturating_mul(1000), doubles: false }
    }
}

/// Where both windows stand.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct MessageIds {
    pub(crate) local_next: u32,
    pub(crate) local_outstanding: Option<u32>,
    pub(crate) peer_next: u32,
    pub(crate) peer_outstanding: Option<u32>,
}

/// What a datagram turned out to be.
pub(crate) enum Received {
    /// A new request, in order, legal for its exchange; it must be answered.
    Request(Message),
    /// The answer to our outstanding request, legal for its exchange.
    Response(Message),
    /// The answer to our outstanding request, but malformed.
    BadResponse(WireError),
    /// A new request that the peer itself malformed; it must be answered with an error.
    BadRequest(WireError),
    /// Nothing to do, and it proves nothing.
    Dropped(IkeCounter),
    /// A retransmitted request of the peer; its answer was sent again. The peer lives.
    AnsweredAgain,
    /// A fragment of a message whose others are missing. The peer lives.
    Collected,
}

/// What a timer led to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Resent {
    NotDue,
    Sent,
    Exhausted,
}

impl IkeSa {
    pub(crate) fn new(parameters: IkeSaParameters) -> Result<IkeSa, CryptoError> {
        let IkeSaParameters { spis, role, keys, path, nat, fragmentation, first_request_id } = parameters;
        let (sealer, opener) = keys.ends(role)?;
        Ok(IkeSa {
            spis,
            role,
            keys,
            path,
            nat,
            fragmentation,
            int_auth: IntAuth::default(),
            opener,
            sealer,
            previous: None,
            fragment_id: 0,
            inbound: Inbound {
                next_id: first_request_id,
                working_on: None,
                answered: None,
                reassembly: None,
            },
            outbound: Outbound { next_id: 0, outstanding: None, reassembly: None },
        })
    }

    /// From now on other keys protect what is sent and received; a repetition of the last request still has the old ones
    /// (RFC 9370 §2.2.2).
    pub(crate) fn change_keys(&mut self, keys: IkeKeys) -> Result<(), CryptoError> {
        let (sealer, opener) = keys.ends(self.role)?;
        self.sealer = sealer;
        self.previous = Some(std::mem::replace(&mut self.opener, opener));
        self.keys = keys;
        Ok(())
    }

    /// Our SPI: what the table of IKE SAs finds this one by.
    pub(crate) fn local_spi(&self) -> u64 {
        match self.role {
            Role::Initiator => self.spis.initiator,
            Role::Responder => self.spis.responder,
        }
    }

    pub(crate) fn message_ids(&self) -> MessageIds {
        MessageIds {
            local_next: self.outbound.next_id,
            local_outstanding: self.outbound.outstanding.as_ref().map(|request| request.id),
            peer_next: self.inbound.next_id,
            peer_outstanding: self.inbound.working_on.map(|request| request.id),
        }
    }

    /// Whether a request of ours has no answer yet.
    pub(crate) fn is_waiting(&self) -> bool {
        self.outbound.outstanding.is_some()
    }

    /// Waits no longer for the answer to our outstanding request: it does not matter any more.
    pub(crate) fn abandon_request(&mut self) {
        self.outbound.outstanding = None;
    }

    /// When [`IkeSa::on_timer`] has something to do.
    pub(crate) fn resend_at(&self) -> Option<Instant> {
        self.outbound.outstanding.as_ref().map(|request| request.resend_at)
    }

    /// Opens a datagram with this SA's SPIs. `allowed` says which exchanges the session's state takes; a message of
    /// another leaves no trace in the windows.
    pub(crate) fn receive(
        &mut self,
        cx: &mut Cx<'_>,
        datagram: &Datagram,
        allowed: impl Fn(ExchangeType, bool) -> bool,
    ) -> Received {
        let incoming = match Incoming::parse(&datagram.bytes) {
            Ok(incoming) => incoming,
            Err(_) => return Received::Dropped(IkeCounter::DropMalformed),
        };
        let header = *incoming.header();
        if header.initiator_spi.0 != self.spis.initiator
            || header.responder_spi.0 != self.spis.responder
            || header.from_initiator == (self.role == Role::Initiator)
        {
            return Received::Dropped(IkeCounter::DropUnknownSpi);
        }
        if matches!(incoming, Incoming::Clear(_)) {
            return Received::Dropped(IkeCounter::DropUnprotected);
        }
        if header.is_response {
            self.receive_response(header, incoming, allowed)
        } else {
            self.receive_request(cx, header, incoming, Path::of(datagram), allowed)
        }
    }

    fn receive_request(
        &mut self,
        cx: &mut Cx<'_>,
        header: Header,
        incoming: Incoming<'_>,
        from: Path,
        allowed: impl Fn(ExchangeType, bool) -> bool,
    ) -> Received {
        let answered = self.inbound.answered.as_ref().filter(|answer| answer.id == header.message_id);
        if let Some(answer) = answered {
            let opener = self.previous.as_ref().unwrap_or(&self.opener);
            let genuine = match &incoming {
                Incoming::Encrypted(message) => message.open(opener).is_ok(),
                // RFC 7383 §2.6.1: only the first fragment of a repeated request is answered.
                Incoming::Fragment(fragment) => fragment.number == 1 && fragment.open(opener).is_ok(),
                Incoming::Clear(_) => false,
            };
            if !genuine {
                return Received::Dropped(IkeCounter::DropWindow);
            }
            for bytes in &answer.datagrams {
                cx.transmit(from.datagram(bytes.clone()));
            }
            cx.count(IkeCounter::RetransmitsAnswered);
            return Received::AnsweredAgain;
        }
        if self.inbound.working_on.is_some() {
            return Received::Dropped(IkeCounter::DropBusy);
        }
        if header.message_id != self.inbound.next_id {
            return Received::Dropped(IkeCounter::DropWindow);
        }
        if !allowed(header.exchange, false) {
            return Received::Dropped(IkeCounter::DropWrongState);
        }
        let opened = match open(&self.opener, &mut self.inbound.reassembly, header, incoming) {
            Opened::Message(message, content) => {
                if let Some(content) = content.filter(|_| header.exchange == ExchangeType::IkeIntermediate) {
                    self.int_auth.add(Role::Initiator, &self.keys, &content);
                }
                rules::check(&message, true).map(|()| message)
            }
            Opened::Malformed(error) => Err(error),
            Opened::Incomplete => return Received::Collected,
            Opened::Refused(counter) => return Received::Dropped(counter),
        };
        self.previous = None;
        self.inbound.next_id = self.inbound.next_id.saturating_add(1);
        self.inbound.answered = None;
        self.inbound.reassembly = None;
        self.inbound.working_on = Some(Pending { id: header.message_id, exchange: header.exchange, from });
        match opened {
            Ok(message) => Received::Request(message),
            Err(error) => Received::BadRequest(error),
        }
    }

    fn receive_response(
        &mut self,
        header: Header,
        incoming: Incoming<'_>,
        allowed: impl Fn(ExchangeType, bool) -> bool,
    ) -> Received {
        let expected = self.outbound.outstanding.as_ref();
        if expected.is_none_or(|request| request.id != header.message_id) {
            return Received::Dropped(IkeCounter::DropWindow);
        }
        if expected.is_none_or(|request| request.exchange != header.exchange)
            || !allowed(header.exchange, true)
        {
            return Received::Dropped(IkeCounter::DropWrongState);
        }
        let opened = match open(&self.opener, &mut self.outbound.reassembly, header, incoming) {
            Opened::Message(message, _) => rules::check(&message, true).map(|()| message),
            Opened::Malformed(error) => Err(error),
            Opened::Incomplete => return Received::Collected,
            Opened::Refused(counter) => return Received::Dropped(counter),
        };
        self.outbound.outstanding = None;
        self.outbound.reassembly = None;
        match opened {
            Ok(message) => Received::Response(message),
            Err(error) => Received::BadResponse(error),
        }
    }

    /// Answers the request that is being worked on; the answer is kept for retransmissions.
    pub(crate) fn respond(&mut self, cx: &mut Cx<'_>, payloads: Vec<Payload>) -> Result<(), IkeError> {
        let Some(request) = self.inbound.working_on.take() else {
            return Err(IkeError::Bug("an answer without a request"));
        };
        let header = self.header(request.exchange, true, request.id);
        let message = Message::new(header, payloads);
        let datagrams = self.seal(cx, &message, request.from)?;
        if request.exchange == ExchangeType::IkeIntermediate {
            self.int_auth.add(Role::Responder, &self.keys, &message.content()?);
        }
        for bytes in &datagrams {
            cx.transmit(request.from.datagram(bytes.clone()));
        }
        self.inbound.answered = Some(Answer { id: request.id, datagrams });
        Ok(())
    }

    /// Sends a request; there must be none outstanding.
    pub(crate) fn request(
        &mut self,
        cx: &mut Cx<'_>,
        exchange: ExchangeType,
        payloads: Vec<Payload>,
    ) -> Result<(), IkeError> {
        let retry = Retry::doubling(&cx.world.config.timing);
        self.request_with(cx, exchange, payloads, retry)
    }

    /// As [`IkeSa::request`], sent again in its own way.
    pub(crate) fn request_with(
        &mut self,
        cx: &mut Cx<'_>,
        exchange: ExchangeType,
        payloads: Vec<Payload>,
        retry: Retry,
    ) -> Result<(), IkeError> {
        if self.is_waiting() {
            return Err(IkeError::Bug("a second request in a window of one"));
        }
        let id = self.outbound.next_id;
        let header = self.header(exchange, false, id);
        let datagrams = self.seal(cx, &Message::new(header, payloads), self.path)?;
        for bytes in &datagrams {
            cx.transmit(self.path.datagram(bytes.clone()));
        }
        self.outbound.next_id = id.checked_add(1).ok_or(IkeError::Resources("message IDs"))?;
        self.outbound.outstanding = Some(Outstanding {
            id,
            exchange,
            datagrams,
            retry,
            resend_at: cx.now.plus_millis(retry.interval_ms),
        });
        Ok(())
    }

    /// Sends the outstanding request again if that is due.
    pub(crate) fn on_timer(&mut self, cx: &mut Cx<'_>) -> Resent {
        let path = self.path;
        let Some(request) = self.outbound.outstanding.as_mut().filter(|r| r.resend_at <= cx.now) else {
            return Resent::NotDue;
        };
        let retry = &mut request.retry;
        let Some(tries_left) = retry.tries_left.checked_sub(1) else {
            return Resent::Exhausted;
        };
        retry.tries_left = tries_left;
        if retry.doubles {
            retry.interval_ms = retry.interval_ms.saturating_mul(2);
        }
        request.resend_at = cx.now.plus_millis(retry.interval_ms);
        for bytes in &request.datagrams {
            cx.transmit(path.datagram(bytes.clone()));
        }
        cx.count(IkeCounter::RetransmitsSent);
        Resent::Sent
    }

    fn header(&self, exchange: ExchangeType, is_response: bool, id: u32) -> Header {
        Header::new(
            IkeSpi(self.spis.initiator),
            IkeSpi(self.spis.responder),
            exchange,
            self.role == Role::Initiator,
            is_response,
            id,
        )
    }

    fn seal(&mut self, cx: &mut Cx<'_>, message: &Message, path: Path) -> Result<Vec<Vec<u8>>, IkeError> {
        let mut random = EnvRandom(cx.env);
        let marker = if path.local_port == NAT_T_PORT { NON_ESP_MARKER } else { 0 };
        let ip_header = if path.peer.is_ipv4() { IPV4_HEADER } else { IPV6_HEADER };
        let room = usize::from(cx.world.config.fragment_size)
            .saturating_sub(ip_header + UDP_HEADER + marker)
            .max(MIN_DATAGRAM);
        let failed = IkeError::Bug("a message could not be sealed");
        if self.fragmentation == Fragmentation::Ietf {
            let sealed = message.seal_fragments(&mut self.sealer, &mut random, room);
            return sealed.map_err(|_| failed);
        }
        let whole = message.seal(&mut self.sealer, &mut random).map_err(|_| failed)?;
        if self.fragmentation == Fragmentation::None || whole.len() <= room {
            return Ok(vec![whole]);
        }
        self.fragment_id = self.fragment_id.wrapping_add(1);
        cisco::cut(&whole, self.fragment_id, room).ok_or(failed)
    }
}

enum Opened {
    Message(Message, Option<Content>),
    Malformed(WireError),
    Incomplete,
    Refused(IkeCounter),
}

fn open(
    opener: &SkOpener,
    reassembly: &mut Option<Reassembly>,
    header: Header,
    incoming: Incoming<'_>,
) -> Opened {
    match incoming {
        Incoming::Clear(_) => Opened::Refused(IkeCounter::DropUnprotected),
        Incoming::Encrypted(message) => match message.open_with_content(opener) {
            Ok((message, content)) => Opened::Message(message, Some(content)),
            Err(OpenError::Malformed(error)) => Opened::Malformed(error),
            Err(OpenError::Integrity) => Opened::Refused(IkeCounter::DropIntegrity),
        },
        Incoming::Fragment(fragment) => {
            if reassembly.as_ref().is_none_or(|held| held.message_id() != header.message_id) {
                *reassembly = Some(Reassembly::new(header.message_id));
            }
            let Some(held) = reassembly.as_mut().filter(|held| held.wants(&fragment)) else {
                return Opened::Refused(IkeCounter::DropFragment);
            };
            match fragment.open(opener).map(|opened| held.push(header, opened)) {
                Ok(Ok(Some(message))) => Opened::Message(message, held.take_content()),
                Ok(Ok(None)) => Opened::Incomplete,
                Ok(Err(error)) | Err(OpenError::Malformed(error)) => Opened::Malformed(error),
                Err(OpenError::Integrity) => Opened::Refused(IkeCounter::DropIntegrity),
            }
        }
    }
}

/// The environment's randomness, as the crypto modules want it.
pub(crate) struct EnvRandom<'a>(pub(crate) &'a mut dyn Env);

impl Random for EnvRandom<'_> {
    fn fill(&mut self, out: &mut [u8]) -> Result<(), CryptoError> {
        self.0.random(out);
        Ok(())
    }
}
