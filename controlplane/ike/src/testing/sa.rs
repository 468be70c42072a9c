//! One IKE SA of the test initiator: sealing, opening, message IDs, the last answer.

use std::net::{IpAddr, Ipv4Addr};

use crate::api::Datagram;
use crate::cisco::{CiscoFragments, Pushed, cut, is_cisco_fragment};
use crate::crypto::{IkeKeys, IntAuth, Random, Role, SkOpener, SkSealer};
use crate::time::Instant;
use crate::wire::{ExchangeType, Header, IkeSpi, Incoming, Message, Payload, Reassembly};

use super::TestError;

pub(super) struct ClientSa {
    pub(super) initiator_spi: IkeSpi,
    pub(super) responder_spi: IkeSpi,
    pub(super) role: Role,
    pub(super) keys: IkeKeys,
    /// The IKE_INTERMEDIATE exchanges that have been.
    pub(super) int_auth: IntAuth,
    sealer: SkSealer,
    opener: SkOpener,
    next_request: u32,
    expected_request: u32,
    last_answer: Option<(u32, Vec<Vec<u8>>)>,
    requests: Option<Reassembly>,
    answers: Option<Reassembly>,
    /// Fragments of at most this many octets.
    pub(super) fragment: Option<usize>,
    /// Cuts and puts together in Cisco's way.
    pub(super) cisco: bool,
    pieces: CiscoFragments,
    fragment_id: u16,
}

/// What an opened datagram is.
pub(super) enum Opened {
    Request(Message),
    Answer(Message),
    /// A request that was answered before: the same answer again.
    Again(Vec<Vec<u8>>),
    Nothing,
}

impl ClientSa {
    pub(super) fn new(
        initiator_spi: IkeSpi,
        responder_spi: IkeSpi,
        role: Role,
        keys: IkeKeys,
        first_id: u32,
        (fragment, cisco): (Option<usize>, bool),
    ) -> Result<ClientSa, TestError> {
        let (sealer, opener) = keys.ends(role).map_err(|_| TestError::Crypto)?;
        Ok(ClientSa {
            initiator_spi,
            responder_spi,
            role,
            keys,
            int_auth: IntAuth::default(),
            sealer,
            opener,
            next_request: first_id,
            expected_request: 0,
            last_answer: None,
            requests: None,
            answers: None,
            fragment,
            cisco,
            pieces: CiscoFragments::default(),
            fragment_id: 0,
        })
    }

    /// From now on other keys protect both directions.
    pub(super) fn change_keys(&mut self, keys: IkeKeys) -> Result<(), TestError> {
        (self.sealer, self.opener) = keys.ends(self.role).map_err(|_| TestError::Crypto)?;
        self.keys = keys;
        Ok(())
    }

    pub(super) fn local_spi(&self) -> IkeSpi {
        match self.role {
            Role::Initiator => self.initiator_spi,
            Role::Responder => self.responder_spi,
        }
    }

    pub(super) fn request(
        &mut self,
        exchange: ExchangeType,
        payloads: Vec<Payload>,
        random: &mut dyn Random,
    ) -> Result<(u32, Vec<Vec<u8>>), TestError> {
        let id = self.next_request;
        self.next_request += 1;
        if exchange == ExchangeType::IkeIntermediate {
            let from_initiator = self.role == Role::Initiator;
            let (spi_i, spi_r) = (self.initiator_spi, self.responder_spi);
            let header = Header::new(spi_i, spi_r, exchange, from_initiator, false, id);
            let message = Message::new(header, payloads.clone());
            self.int_auth.add(Role::Initiator, &self.keys, &message.content().map_err(|_| TestError::Wire)?);
        }
        Ok((id, self.seal(exchange, false, id, payloads, random)?))
    }

    pub(super) fn answer(
        &mut self,
        request: &Message,
        payloads: Vec<Payload>,
        random: &mut dyn Random,
    ) -> Result<Vec<Vec<u8>>, TestError> {
        let header = request.header;
        let datagrams = self.seal(header.exchange, true, header.message_id, payloads, random)?;
        self.last_answer = Some((header.message_id, datagrams.clone()));
        Ok(datagrams)
    }

    /// Seals any message, legal or not.
    pub(super) fn seal(
        &mut self,
        exchange: ExchangeType,
        is_response: bool,
        id: u32,
        payloads: Vec<Payload>,
        random: &mut dyn Random,
    ) -> Result<Vec<Vec<u8>>, TestError> {
        let from_initiator = self.role == Role::Initiator;
        let header =
            Header::new(self.initiator_spi, self.responder_spi, exchange, from_initiator, is_response, id);
        let message = Message::new(header, payloads);
        if let Some(room) = self.fragment.filter(|_| self.cisco) {
            let whole = message.seal(&mut self.sealer, random).map_err(|_| TestError::Crypto)?;
            self.fragment_id = self.fragment_id.wrapping_add(1);
            return match whole.len() > room {
                true => cut(&whole, self.fragment_id, room).ok_or(TestError::Crypto),
                false => Ok(vec![whole]),
            };
        }
        match self.fragment {
            Some(size) => message.seal_fragments(&mut self.sealer, random, size),
            None => message.seal(&mut self.sealer, random).map(|whole| vec![whole]),
        }
        .map_err(|_| TestError::Crypto)
    }

    pub(super) fn open(&mut self, datagram: &[u8]) -> Result<Opened, TestError> {
        if is_cisco_fragment(datagram) {
            let here = IpAddr::from(Ipv4Addr::UNSPECIFIED);
            let bytes = datagram.to_vec();
            let piece = Datagram { local: here, local_port: 0, peer: here, peer_port: 0, bytes };
            return match self.pieces.push(Instant::from_millis(0), self.local_spi().0, &piece) {
                Pushed::Whole(whole) => self.open(&whole),
                Pushed::Held => Ok(Opened::Nothing),
                Pushed::Dropped => Err(TestError::Wire),
            };
        }
        let incoming = Incoming::parse(datagram).map_err(|_| TestError::Wire)?;
        let header = *incoming.header();
        let reassembly = if header.is_response { &mut self.answers } else { &mut self.requests };
        let (message, content) = match incoming {
            Incoming::Clear(_) => return Ok(Opened::Nothing),
            Incoming::Encrypted(message) => {
                let opened = message.open_with_content(&self.opener).map_err(|_| TestError::Wire)?;
                (opened.0, Some(opened.1))
            }
            Incoming::Fragment(fragment) => {
                if reassembly.as_ref().is_none_or(|held| held.message_id() != header.message_id) {
                    *reassembly = Some(Reassembly::new(header.message_id));
                }
                let opened = fragment.open(&self.opener).map_err(|_| TestError::Wire)?;
                let held = reassembly.as_mut().ok_or(TestError::Wire)?;
                match held.push(header, opened).map_err(|_| TestError::Wire)? {
                    Some(message) => (message, held.take_content()),
                    None => return Ok(Opened::Nothing),
                }
            }
        };
        if header.is_response {
            if let Some(content) = content.filter(|_| header.exchange == ExchangeType::IkeIntermediate) {
                self.int_auth.add(Role::Responder, &self.keys, &content);
            }
            return Ok(Opened::Answer(message));
        }
        if let Some((id, datagrams)) = &self.last_answer
            && *id == header.message_id
        {
            return Ok(Opened::Again(datagrams.clone()));
        }
        if header.message_id != self.expected_request {
            return Ok(Opened::Nothing);
        }
        self.expected_request += 1;
        Ok(Opened::Request(message))
    }
}
