//! A protected message as IKE_INTERMEDIATE authenticates it (RFC 9242 §3.3.2): the octets up to the Encrypted payload's generic
//! header, and the inner payloads, with lengths as if there were neither IV nor padding nor ICV, and no fragments.
//!
//! Enters: a datagram with an opened Encrypted payload, the first of an opened message's fragments, or a message to send. Leaves:
//! the two chunks that the PRF is computed over.

use super::header::HEADER_LEN;
use super::payload::PAYLOAD_HEADER_LEN;
use super::{PayloadType, WireError};

/// Where the header has the type of the first payload.
const FIRST_PAYLOAD_AT: usize = 16;
/// Where the header has the message's length.
const LENGTH_AT: usize = 24;

/// The two chunks, IntAuth_A and IntAuth_P.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Content {
    associated: Vec<u8>,
    inner: Vec<u8>,
}

impl Content {
    /// `associated` runs from the IKE header to the end of the Encrypted payload's generic header.
    ///
    /// # Errors
    /// [`WireError::Truncated`] when `associated` has no room for both headers, [`WireError::TooLong`] when a length does not fit.
    pub(super) fn new(mut associated: Vec<u8>, inner: Vec<u8>) -> Result<Content, WireError> {
        if associated.len() < HEADER_LEN + PAYLOAD_HEADER_LEN {
            return Err(WireError::Truncated { what: "IKE_INTERMEDIATE message" });
        }
        let too_long = WireError::TooLong { what: "IKE_INTERMEDIATE message" };
        let message_len = u32::try_from(associated.len() + inner.len()).map_err(|_| too_long)?;
        let payload_len = u16::try_from(PAYLOAD_HEADER_LEN + inner.len()).map_err(|_| too_long)?;
        if let Some(length) = associated.get_mut(LENGTH_AT..HEADER_LEN) {
            length.copy_from_slice(&message_len.to_be_bytes());
        }
        if let Some(length) = associated.last_chunk_mut::<2>() {
            *length = payload_len.to_be_bytes();
        }
        Ok(Content { associated, inner })
    }

    /// What the PRF takes, in order.
    pub fn chunks(&self) -> [&[u8]; 2] {
        [&self.associated, &self.inner]
    }
}

/// `associated` of a first fragment, which says SKF where the whole message would say SK.
pub(super) fn of_first_fragment(mut associated: Vec<u8>) -> Vec<u8> {
    let mut type_at = FIRST_PAYLOAD_AT;
    let mut payload_at = HEADER_LEN;
    while let Some(kind) = associated.get_mut(type_at) {
        if *kind == PayloadType::Skf.number() {
            *kind = PayloadType::Sk.number();
            break;
        }
        type_at = payload_at;
        let length = associated.get(payload_at + 2..payload_at + PAYLOAD_HEADER_LEN);
        let Some([high, low]) = length.and_then(|length| length.first_chunk()) else { break };
        payload_at += usize::from(u16::from_be_bytes([*high, *low])).max(PAYLOAD_HEADER_LEN);
    }
    associated
}
