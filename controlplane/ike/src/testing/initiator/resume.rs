//! The test initiator's tickets (RFC 5723): what it is given, and a login by one.
//!
//! Enters: TICKET_LT_OPAQUE in an answer, later the answer to IKE_SESSION_RESUME. Leaves: an [`InitiatorTicket`] with the state
//! that belongs to it, and the IKE SA that comes from both.

use super::*;
use crate::suite::IkeSuite;

/// A ticket, and what a client keeps beside it (RFC 5723 §4.2).
#[derive(Clone)]
pub struct InitiatorTicket {
    /// As it was given.
    pub ticket: Vec<u8>,
    /// Seconds for which it may be presented.
    pub lifetime_secs: u32,
    /// The suite of its IKE SA.
    pub suite: IkeSuite,
    /// SK_d of its IKE SA.
    pub sk_d: Vec<u8>,
}

impl Initiator {
    /// The last ticket that the gateway has given.
    pub fn ticket(&self) -> Option<&InitiatorTicket> {
        self.ticket.as_ref()
    }

    /// From now on it asks for a ticket with every rekey of the IKE SA.
    pub fn ask_with_rekeys(&mut self) {
        self.asks_with_rekeys = true;
    }

    /// Asks for a ticket.
    pub fn ask_for_ticket(&mut self) -> Result<Vec<Outgoing>, TestError> {
        let at = self.current()?;
        let request = vec![Payload::Notify(Notify::new(NotifyType::TicketRequest))];
        self.request(at, ExchangeType::Informational, request, About::Update)
    }

    /// IKE_SESSION_RESUME.
    pub(super) fn start_resumption(&mut self, ticket: &InitiatorTicket) -> Result<Vec<Outgoing>, TestError> {
        let notify = |kind, data| Payload::Notify(Notify::with_data(kind, data));
        let mut payloads: Vec<Payload> =
            self.cookie.iter().map(|cookie| notify(NotifyType::Cookie, cookie.clone())).collect();
        payloads.push(Payload::Nonce(self.ni.clone()));
        payloads.push(notify(NotifyType::TicketOpaque, ticket.ticket.clone()));
        let hash = |(address, port): (IpAddr, u16)| nat_detection_hash(self.spi, IkeSpi::ZERO, address, port);
        let source = if self.config.force_nat { vec![0; 20] } else { hash(self.config.local) };
        payloads.push(notify(NotifyType::NatDetectionSourceIp, source));
        payloads.push(notify(NotifyType::NatDetectionDestinationIp, hash(self.config.gateway)));
        if self.config.fragment.is_some() {
            payloads.push(notify(NotifyType::FragmentationSupported, Vec::new()));
        }
        let payloads = (self.config.arrange)(ExchangeType::IkeSessionResume, payloads);
        let header = Header::new(self.spi, IkeSpi::ZERO, ExchangeType::IkeSessionResume, true, false, 0);
        self.init_request = Message::new(header, payloads).emit_clear().map_err(|_| TestError::Wire)?;
        Ok(self.outgoing(vec![self.init_request.clone()]))
    }

    /// The answer to IKE_SESSION_RESUME.
    pub(super) fn on_resumption(&mut self, datagram: &[u8]) -> Result<Vec<Outgoing>, TestError> {
        let Ok(Incoming::Clear(message)) = Incoming::parse(datagram) else { return Err(TestError::Wire) };
        let AuthWith::Ticket(ticket) = &self.config.auth else { return Ok(Vec::new()) };
        if !self.sas.is_empty() || message.header.initiator_spi != self.spi {
            return Ok(Vec::new());
        }
        if let Some(cookie) = message.notify(NotifyType::Cookie) {
            self.notable.push_back(Notable::CookieAsked);
            self.cookie = Some(cookie.data.clone());
            return self.start();
        }
        let refused = message.notify(NotifyType::TicketNack).or(message.error_notify());
        if let Some(refused) = refused {
            self.notable.push_back(Notable::Refused(refused.kind));
            return Ok(Vec::new());
        }
        let nr = message.nonce().cloned().ok_or(TestError::Answer("no nonce"))?;
        let responder = message.header.responder_spi;
        let values = ExchangeValues {
            initiator_nonce: &self.ni,
            responder_nonce: &nr,
            initiator_spi: self.spi,
            responder_spi: responder,
        };
        let sk_d = crate::crypto::Secret::new(ticket.sk_d.clone());
        let keys = IkeKeys::resumed(ticket.suite, &sk_d, &values).map_err(|_| TestError::Crypto)?;
        let ietf = message.notify(NotifyType::FragmentationSupported).is_some();
        let fragment = self.config.fragment.filter(|_| ietf);
        self.init_payloads.clone_from(&message.payloads);
        self.nat = self.detect_nat(&message);
        self.nr = Some(nr);
        self.init_response = datagram.to_vec();
        self.sas.push(ClientSa::new(self.spi, responder, Role::Initiator, keys, 1, (fragment, false))?);
        self.first_auth()
    }

    /// Keeps a ticket that comes with an answer, for the IKE SA in use.
    pub(super) fn note_ticket(&mut self, message: &Message) -> Result<(), TestError> {
        let Some(notify) = message.notify(NotifyType::TicketLtOpaque) else { return Ok(()) };
        let (lifetime, ticket) = notify.data.split_first_chunk().ok_or(TestError::Answer("no lifetime"))?;
        let keys = &self.sas.get(self.current()?).ok_or(TestError::State("no IKE SA"))?.keys;
        self.ticket = Some(InitiatorTicket {
            ticket: ticket.to_vec(),
            lifetime_secs: u32::from_be_bytes(*lifetime),
            suite: keys.suite,
            sk_d: keys.sk_d.as_bytes().to_vec(),
        });
        Ok(())
    }
}
