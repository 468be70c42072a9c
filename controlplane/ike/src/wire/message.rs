//! Whole messages: a datagram in, a typed message out, in the clear or through SK and SKF (RFC 7296 §3.14, RFC 7383).
//!
//! A datagram is parsed to [`Incoming`]; an encrypted one is opened with the SA's [`SkOpener`], which verifies the
//! ICV before anything else is looked at. A [`Message`] to send is written in the clear, or sealed into as many
//! datagrams as its size needs.

use super::fragment::{FRAGMENT_HEADER_LEN, MAX_FRAGMENTS};
use super::header::HEADER_LEN;
use super::payload::{PAYLOAD_HEADER_LEN, emit_payloads, parse_chain, parse_payloads};
use super::{
    Auth, Configuration, Content, Header, Identification, Ke, MAJOR_VERSION, Nonce, Notify, NotifyType,
    Payload, PayloadType, Sa, TrafficSelector, WireError,
};
use crate::crypto::{CryptoError, Random, SkOpener, SkSealer};

/// Most octets of a message, in one piece or reassembled: what one UDP datagram can carry.
pub const MAX_MESSAGE: usize = 65_507;

/// A message whose payloads are known.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Message {
    /// Its header.
    pub header: Header,
    /// Its payloads; of an encrypted message those inside SK.
    pub payloads: Vec<Payload>,
}

/// A datagram, its outer structure checked.
pub enum Incoming<'a> {
    /// A message in the clear: nothing in it is authenticated.
    Clear(Message),
    /// A message in an SK payload.
    Encrypted(Encrypted<'a>),
    /// A fragment of a message, in an SKF payload.
    Fragment(EncryptedFragment<'a>),
}

/// An encrypted message, not opened.
pub struct Encrypted<'a> {
    /// Its header, unauthenticated until opened.
    pub header: Header,
    datagram: &'a [u8],
    body_offset: usize,
    first_inner: u8,
}

/// An encrypted fragment, not opened.
pub struct EncryptedFragment<'a> {
    /// Its header, unauthenticated until opened.
    pub header: Header,
    /// Its number, from 1 to `total`.
    pub number: u16,
    /// How many fragments there are, 1 to [`MAX_FRAGMENTS`].
    pub total: u16,
    datagram: &'a [u8],
    body_offset: usize,
    first_inner: u8,
}

/// A fragment whose ICV was right.
pub struct OpenedFragment {
    /// Its number, from 1 to `total`.
    pub number: u16,
    /// How many fragments there are.
    pub total: u16,
    /// Type of the message's first payload; only fragment 1 says it, the others have 0.
    pub first_inner: u8,
    /// Its piece of the payload chain.
    pub plaintext: Vec<u8>,
    /// Of fragment 1, the octets up to the end of the SKF payload's generic header; of the others none.
    pub(super) associated: Vec<u8>,
}

/// Why a message was not opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The ICV is wrong or the payload too short for one: forged or damaged; to be dropped without an answer.
    #[error("integrity check failed")]
    Integrity,
    /// The ICV was right, so the peer itself sent what is malformed: to be answered (RFC 7296 §2.21.2).
    #[error("authenticated, but {0}")]
    Malformed(#[from] WireError),
}

impl<'a> Incoming<'a> {
    /// Parses a datagram (without the non-ESP marker of UDP 4500).
    ///
    /// # Errors
    /// When header or clear payloads are malformed; nothing of it is authenticated, so an answer is optional.
    pub fn parse(datagram: &'a [u8]) -> Result<Incoming<'a>, WireError> {
        let (header, first) = Header::parse_with_next(datagram)?;
        if header.major_version != MAJOR_VERSION {
            return Err(WireError::UnsupportedMajorVersion(header.major_version));
        }
        let body = datagram.get(HEADER_LEN..).unwrap_or_default();
        let chain = parse_chain(first, body)?;
        let Some(encrypted) = chain.encrypted else {
            return Ok(Incoming::Clear(Message { header, payloads: chain.payloads }));
        };
        // Notifies, vendor ids and unknown payloads beside SK carry no decision and are dropped; the rest must be inside.
        let needs_encryption = |payload: &&Payload| {
            !matches!(payload, Payload::Notify(_) | Payload::Vendor(_) | Payload::Unknown { .. })
        };
        if let Some(payload) = chain.payloads.iter().find(needs_encryption) {
            return Err(WireError::NotEncrypted(payload.payload_type()));
        }
        let first_inner = encrypted.first_inner;
        if encrypted.kind == PayloadType::Sk {
            let body_offset = datagram.len() - encrypted.body.len();
            return Ok(Incoming::Encrypted(Encrypted { header, datagram, body_offset, first_inner }));
        }
        let (number, total) = fragment_numbers(encrypted.body)?;
        let body_offset = datagram.len() - encrypted.body.len() + FRAGMENT_HEADER_LEN;
        Ok(Incoming::Fragment(EncryptedFragment {
            header,
            number,
            total,
            datagram,
            body_offset,
            first_inner,
        }))
    }

    /// The header.
    pub fn header(&self) -> &Header {
        match self {
            Incoming::Clear(message) => &message.header,
            Incoming::Encrypted(message) => &message.header,
            Incoming::Fragment(fragment) => &fragment.header,
        }
    }
}

impl Encrypted<'_> {
    /// Verifies, decrypts and parses.
    ///
    /// # Errors
    /// [`OpenError`] says whether the peer or somebody else is at fault.
    pub fn open(&self, opener: &SkOpener) -> Result<Message, OpenError> {
        Ok(self.open_with_content(opener)?.0)
    }

    /// As [`Encrypted::open`], with what IKE_INTERMEDIATE authenticates.
    ///
    /// # Errors
    /// As [`Encrypted::open`].
    pub fn open_with_content(&self, opener: &SkOpener) -> Result<(Message, Content), OpenError> {
        let plaintext =
            opener.open(self.datagram, self.body_offset).map_err(|error| open_error(error, "SK payload"))?;
        let message =
            Message { header: self.header, payloads: parse_payloads(self.first_inner, &plaintext)? };
        let associated = self.datagram.get(..self.body_offset).unwrap_or_default().to_vec();
        Ok((message, Content::new(associated, plaintext)?))
    }
}

impl EncryptedFragment<'_> {
    /// Verifies and decrypts one fragment; ask [`super::Reassembly::wants`] first, it costs less.
    ///
    /// # Errors
    /// As [`Encrypted::open`].
    pub fn open(&self, opener: &SkOpener) -> Result<OpenedFragment, OpenError> {
        let plaintext =
            opener.open(self.datagram, self.body_offset).map_err(|error| open_error(error, "SKF payload"))?;
        if self.number > 1 && self.first_inner != 0 {
            return Err(WireError::BadValue { what: "next payload of a later fragment" }.into());
        }
        let before = self.body_offset.saturating_sub(FRAGMENT_HEADER_LEN);
        let associated =
            self.datagram.get(..before).filter(|_| self.number == 1).unwrap_or_default().to_vec();
        Ok(OpenedFragment {
            number: self.number,
            total: self.total,
            first_inner: self.first_inner,
            plaintext,
            associated,
        })
    }
}

impl Message {
    /// A message to send.
    pub fn new(header: Header, payloads: Vec<Payload>) -> Message {
        Message { header, payloads }
    }

    /// Writes the message in the clear.
    ///
    /// # Errors
    /// [`WireError::TooLong`] when something does not fit.
    pub fn emit_clear(&self) -> Result<Vec<u8>, WireError> {
        let (first, chain) = emit_payloads(&self.payloads)?;
        let total = check_size(HEADER_LEN + chain.len())?;
        let mut out = Vec::with_capacity(total);
        self.header.emit(first, total, &mut out)?;
        out.extend_from_slice(&chain);
        Ok(out)
    }

    /// What IKE_INTERMEDIATE authenticates of this message, sealed in whatever way.
    ///
    /// # Errors
    /// [`WireError::TooLong`] when something does not fit.
    pub fn content(&self) -> Result<Content, WireError> {
        let (first, chain) = emit_payloads(&self.payloads)?;
        let mut associated = Vec::with_capacity(HEADER_LEN + PAYLOAD_HEADER_LEN);
        self.header.emit(PayloadType::Sk.number(), 0, &mut associated)?;
        associated.extend_from_slice(&[first, 0, 0, 0]);
        Content::new(associated, chain)
    }

    /// Writes the message in one SK payload.
    ///
    /// # Errors
    /// [`SealError`] when it does not fit or the cipher fails.
    pub fn seal(&self, sealer: &mut SkSealer, random: &mut dyn Random) -> Result<Vec<u8>, SealError> {
        let (first, chain) = emit_payloads(&self.payloads)?;
        seal_one(&self.header, PayloadType::Sk, first, &[], &chain, sealer, random)
    }

    /// Writes the message in datagrams of at most `max_datagram` octets of IKE: one SK if it fits, else SKF fragments
    /// (RFC 7383 §2.5). `max_datagram` is the IP packet's size less IP header, UDP header and non-ESP marker.
    ///
    /// # Errors
    /// [`SealError::TooManyFragments`] when it takes more than [`MAX_FRAGMENTS`], else as [`Message::seal`].
    pub fn seal_fragments(
        &self,
        sealer: &mut SkSealer,
        random: &mut dyn Random,
        max_datagram: usize,
    ) -> Result<Vec<Vec<u8>>, SealError> {
        let (first, chain) = emit_payloads(&self.payloads)?;
        let sk_room = max_datagram.saturating_sub(HEADER_LEN + PAYLOAD_HEADER_LEN);
        if sealer.sealed_len(chain.len()) <= sk_room {
            let whole = seal_one(&self.header, PayloadType::Sk, first, &[], &chain, sealer, random)?;
            return Ok(vec![whole]);
        }
        let piece = sealer
            .largest_plaintext(sk_room.saturating_sub(FRAGMENT_HEADER_LEN))
            .filter(|octets| *octets > 0)
            .ok_or(SealError::TooManyFragments)?;
        let total = chain.len().div_ceil(piece);
        let total =
            u16::try_from(total).ok().filter(|t| *t <= MAX_FRAGMENTS).ok_or(SealError::TooManyFragments)?;
        (1..=total)
            .zip(chain.chunks(piece))
            .map(|(number, plaintext)| {
                let [n0, n1] = number.to_be_bytes();
                let [t0, t1] = total.to_be_bytes();
                let next = if number == 1 { first } else { 0 };
                let numbers = [n0, n1, t0, t1];
                seal_one(&self.header, PayloadType::Skf, next, &numbers, plaintext, sealer, random)
            })
            .collect()
    }
}

/// Why a message was not sealed: always a fault of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// Something does not fit its length field.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// More than [`MAX_FRAGMENTS`], or no room for a fragment at all.
    #[error("the message takes more than {MAX_FRAGMENTS} fragments")]
    TooManyFragments,
    /// The cipher or the random source failed.
    #[error(transparent)]
    Crypto(#[from] CryptoError),
}

fn seal_one(
    header: &Header,
    kind: PayloadType,
    first_inner: u8,
    fragment_header: &[u8],
    plaintext: &[u8],
    sealer: &mut SkSealer,
    random: &mut dyn Random,
) -> Result<Vec<u8>, SealError> {
    let payload_len = PAYLOAD_HEADER_LEN + fragment_header.len() + sealer.sealed_len(plaintext.len());
    let length = u16::try_from(payload_len).map_err(|_| WireError::TooLong { what: "SK payload" })?;
    let total = check_size(HEADER_LEN + payload_len)?;
    let mut out = Vec::with_capacity(total);
    header.emit(kind.number(), total, &mut out)?;
    out.extend_from_slice(&[first_inner, 0]);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(fragment_header);
    sealer.seal(&mut out, plaintext, random)?;
    Ok(out)
}

fn fragment_numbers(body: &[u8]) -> Result<(u16, u16), WireError> {
    let Some(([n0, n1, t0, t1], _)) = body.split_first_chunk::<FRAGMENT_HEADER_LEN>() else {
        return Err(WireError::Truncated { what: "SKF payload" });
    };
    let (number, total) = (u16::from_be_bytes([*n0, *n1]), u16::from_be_bytes([*t0, *t1]));
    if number == 0 || number > total {
        return Err(WireError::BadValue { what: "fragment number" });
    }
    if total > MAX_FRAGMENTS {
        return Err(WireError::TooMany { what: "fragments", max: usize::from(MAX_FRAGMENTS) });
    }
    Ok((number, total))
}

fn check_size(octets: usize) -> Result<usize, WireError> {
    if octets <= MAX_MESSAGE { Ok(octets) } else { Err(WireError::TooLong { what: "message" }) }
}

fn open_error(error: CryptoError, what: &'static str) -> OpenError {
    match error {
        CryptoError::BadPadding => OpenError::Malformed(WireError::BadLength { what }),
        _ => OpenError::Integrity,
    }
}

macro_rules! accessors {
    ($($(#[$meta:meta])* $name:ident: $variant:ident => $type:ty;)+) => {
        impl Message {
            $($(#[$meta])*
            pub fn $name(&self) -> Option<&$type> {
                self.payloads.iter().find_map(|payload| match payload {
                    Payload::$variant(inner) => Some(inner),
                    _ => None,
                })
            })+
        }
    };
}

accessors! {
    /// The SA payload.
    sa: Sa => Sa;
    /// The KE payload.
    ke: Ke => Ke;
    /// The nonce.
    nonce: Nonce => Nonce;
    /// IDi.
    id_i: IdI => Identification;
    /// IDr.
    id_r: IdR => Identification;
    /// The AUTH payload.
    auth: Auth => Auth;
    /// The CP payload.
    cp: Cp => Configuration;
    /// The EAP message.
    eap: Eap => Vec<u8>;
    /// TSi.
    ts_i: TsI => Vec<TrafficSelector>;
    /// TSr.
    ts_r: TsR => Vec<TrafficSelector>;
}

impl Message {
    /// Every notify, in order.
    pub fn notifies(&self) -> impl Iterator<Item = &Notify> {
        self.payloads.iter().filter_map(|payload| match payload {
            Payload::Notify(notify) => Some(notify),
            _ => None,
        })
    }

    /// The first notify of this type.
    pub fn notify(&self, kind: NotifyType) -> Option<&Notify> {
        self.notifies().find(|notify| notify.kind == kind)
    }

    /// The first error notify.
    pub fn error_notify(&self) -> Option<&Notify> {
        self.notifies().find(|notify| notify.kind.is_error())
    }
}
