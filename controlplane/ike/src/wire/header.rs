//! The IKE header (RFC 7296 §3.1).

use std::fmt;

use super::codec::Reader;
use super::{ExchangeType, WireError};

/// Octets of the IKE header.
pub const HEADER_LEN: usize = 28;
/// The major version that this implementation speaks.
pub const MAJOR_VERSION: u8 = 2;

const FLAG_INITIATOR: u8 = 0x08;
const FLAG_VERSION: u8 = 0x10;
const FLAG_RESPONSE: u8 = 0x20;

/// An IKE SPI; zero where the responder has not chosen one yet.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct IkeSpi(pub u64);

impl IkeSpi {
    /// No SPI yet.
    pub const ZERO: IkeSpi = IkeSpi(0);

    /// The eight octets on the wire.
    pub fn to_bytes(self) -> [u8; 8] {
        self.0.to_be_bytes()
    }

    /// Whether none was chosen.
    pub fn is_zero(self) -> bool {
        self.0 == 0
    }
}

impl fmt::Display for IkeSpi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for IkeSpi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// An IKE header without the fields that follow from the rest of the message (next payload, length).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// SPI of the IKE SA's original initiator.
    pub initiator_spi: IkeSpi,
    /// SPI of its responder.
    pub responder_spi: IkeSpi,
    /// Major version; [`super::Incoming::parse`] refuses all but 2.
    pub major_version: u8,
    /// Minor version, ignored.
    pub minor_version: u8,
    /// Exchange type.
    pub exchange: ExchangeType,
    /// I flag: the sender is the IKE SA's original initiator.
    pub from_initiator: bool,
    /// R flag: this answers a request.
    pub is_response: bool,
    /// V flag: the sender can speak a higher major version.
    pub higher_version: bool,
    /// Message ID.
    pub message_id: u32,
}

impl Header {
    /// A version 2.0 header.
    pub fn new(
        initiator_spi: IkeSpi,
        responder_spi: IkeSpi,
        exchange: ExchangeType,
        from_initiator: bool,
        is_response: bool,
        message_id: u32,
    ) -> Header {
        Header {
            initiator_spi,
            responder_spi,
            major_version: MAJOR_VERSION,
            minor_version: 0,
            exchange,
            from_initiator,
            is_response,
            higher_version: false,
            message_id,
        }
    }

    /// Reads the header of a datagram, of whatever version; the length field must equal the datagram's length.
    ///
    /// # Errors
    /// When the datagram is shorter than a header or its length is another.
    pub fn parse(datagram: &[u8]) -> Result<Header, WireError> {
        Self::parse_with_next(datagram).map(|(header, _)| header)
    }

    /// The header and the first payload's type.
    pub(super) fn parse_with_next(datagram: &[u8]) -> Result<(Header, u8), WireError> {
        let mut reader = Reader::new(datagram, "IKE header");
        let initiator_spi = IkeSpi(u64::from_be_bytes(reader.array()?));
        let responder_spi = IkeSpi(u64::from_be_bytes(reader.array()?));
        let next_payload = reader.u8()?;
        let version = reader.u8()?;
        let exchange = ExchangeType::from_number(reader.u8()?);
        let flags = reader.u8()?;
        let message_id = reader.u32()?;
        let length = reader.u32()?;
        if usize::try_from(length) != Ok(datagram.len()) {
            return Err(WireError::BadLength { what: "IKE header" });
        }
        let header = Header {
            initiator_spi,
            responder_spi,
            major_version: version >> 4,
            minor_version: version & 0x0f,
            exchange,
            from_initiator: flags & FLAG_INITIATOR != 0,
            is_response: flags & FLAG_RESPONSE != 0,
            higher_version: flags & FLAG_VERSION != 0,
            message_id,
        };
        Ok((header, next_payload))
    }

    /// Appends the header of a message of `total_octets`, whose first payload is `next_payload`.
    pub(super) fn emit(
        &self,
        next_payload: u8,
        total_octets: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), WireError> {
        let length = u32::try_from(total_octets).map_err(|_| WireError::TooLong { what: "message" })?;
        let flag = |set: bool, bit: u8| if set { bit } else { 0 };
        out.extend_from_slice(&self.initiator_spi.to_bytes());
        out.extend_from_slice(&self.responder_spi.to_bytes());
        out.push(next_payload);
        out.push(self.major_version << 4 | self.minor_version & 0x0f);
        out.push(self.exchange.number());
        out.push(
            flag(self.from_initiator, FLAG_INITIATOR)
                | flag(self.is_response, FLAG_RESPONSE)
                | flag(self.higher_version, FLAG_VERSION),
        );
        out.extend_from_slice(&self.message_id.to_be_bytes());
        out.extend_from_slice(&length.to_be_bytes());
        Ok(())
    }
}
