//! The TLVs that end a PEAP conversation: result and crypto binding ([MS-PEAP] 2.2.8.1).
//!
//! Enters: a decrypted EAP packet of type 33, with its whole header. Leaves: what it says; and the reverse.

use crate::packet::{EapType, Message, Packet};

/// Octets of the nonce of a crypto binding.
pub const NONCE_OCTETS: usize = 32;
/// Octets of the compound MAC.
pub const MAC_OCTETS: usize = 20;

const MANDATORY: u16 = 0x8000;
const TYPE_MASK: u16 = 0x3fff;
const RESULT: u16 = 3;
const CRYPTO_BINDING: u16 = 12;
const HEADER_OCTETS: usize = 4;
const SUCCESS: u16 = 1;
const FAILURE: u16 = 2;
const BINDING_OCTETS: usize = 4 + NONCE_OCTETS + MAC_OCTETS;

/// Which way a crypto binding goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum BindingKind {
    /// From the server.
    Request = 0,
    /// From the peer.
    Response = 1,
}

/// A crypto binding TLV.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CryptoBinding {
    /// Which way it goes.
    pub kind: BindingKind,
    /// Randomness of who sends it.
    pub nonce: [u8; NONCE_OCTETS],
    /// MAC over the rest.
    pub mac: [u8; MAC_OCTETS],
}

/// What an Extensions packet says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Extensions {
    /// Whether the inner method has succeeded.
    pub success: bool,
    /// The binding, if there is one.
    pub binding: Option<CryptoBinding>,
}

impl CryptoBinding {
    /// The TLV: header, reserved, version, received version, sub-type, nonce, MAC.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEADER_OCTETS + BINDING_OCTETS);
        out.extend_from_slice(&CRYPTO_BINDING.to_be_bytes());
        out.extend_from_slice(&(BINDING_OCTETS as u16).to_be_bytes());
        out.extend_from_slice(&[0, 0, 0, self.kind as u8]);
        out.extend_from_slice(&self.nonce);
        out.extend_from_slice(&self.mac);
        out
    }

    fn decode(value: &[u8]) -> Option<CryptoBinding> {
        let (&[_reserved, version, received, kind], rest) = value.split_first_chunk::<4>()?;
        let (nonce, mac) = rest.split_first_chunk::<NONCE_OCTETS>()?;
        let kind = match kind {
            0 => BindingKind::Request,
            1 => BindingKind::Response,
            _ => return None,
        };
        // Version 0, and no other was received: these octets enter the MAC as we write them.
        let known = version == 0 && received == 0;
        known.then_some(CryptoBinding { kind, nonce: *nonce, mac: mac.try_into().ok()? })
    }
}

impl Extensions {
    /// Reads an Extensions packet. `None`: it is none, is malformed, says no result, or holds a mandatory TLV that is not
    /// known here.
    pub fn decode(octets: &[u8]) -> Option<Extensions> {
        let (Packet::Request(message) | Packet::Response(message)) = Packet::decode(octets).ok()? else {
            return None;
        };
        if message.kind != EapType::EXTENSIONS {
            return None;
        }
        let (mut rest, mut success, mut binding) = (message.data, None, None);
        while !rest.is_empty() {
            let (&[t0, t1, l0, l1], body) = rest.split_first_chunk::<HEADER_OCTETS>()?;
            let (kind, length) = (u16::from_be_bytes([t0, t1]), u16::from_be_bytes([l0, l1]));
            let (value, after) = body.split_at_checked(usize::from(length))?;
            match kind & TYPE_MASK {
                RESULT => {
                    success = Some(match u16::from_be_bytes(value.try_into().ok()?) {
                        SUCCESS => true,
                        FAILURE => false,
                        _ => return None,
                    });
                }
                CRYPTO_BINDING => binding = Some(CryptoBinding::decode(value)?),
                _ if kind & MANDATORY != 0 => return None,
                _ => {}
            }
            rest = after;
        }
        Some(Extensions { success: success?, binding })
    }

    /// Writes the packet.
    pub fn encode(&self, kind: BindingKind, identifier: u8) -> Vec<u8> {
        let result = if self.success { SUCCESS } else { FAILURE };
        let mut data = Vec::new();
        for field in [MANDATORY | RESULT, 2, result] {
            data.extend_from_slice(&field.to_be_bytes());
        }
        data.extend(self.binding.iter().flat_map(CryptoBinding::encode));
        let message = Message { identifier, kind: EapType::EXTENSIONS, data: &data };
        let packet = match kind {
            BindingKind::Request => Packet::Request(message),
            BindingKind::Response => Packet::Response(message),
        };
        // Below a hundred octets it cannot be too long.
        packet.encode().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_result_is_what_clients_know() {
        let success = Extensions { success: true, binding: None };
        let octets = [1, 9, 0, 11, 33, 0x80, 3, 0, 2, 0, 1];
        assert_eq!(success.encode(BindingKind::Request, 9), octets);
        assert_eq!(Extensions::decode(&octets), Some(success));
        let failure = Extensions { success: false, binding: None };
        assert_eq!(failure.encode(BindingKind::Response, 9), [2, 9, 0, 11, 33, 0x80, 3, 0, 2, 0, 2]);
        for (tail, read) in [
            // No result, an unknown result, a mandatory TLV of another kind, one that may be skipped, one cut short.
            (&[][..], None),
            (&[0x80, 3, 0, 2, 0, 3], None),
            (&[0x80, 3, 0, 2, 0, 1, 0x80, 7, 0, 0], None),
            (&[0, 7, 0, 1, 5, 0x80, 3, 0, 2, 0, 1], Some(success)),
            (&[0x80, 3, 0, 2, 0], None),
            (&[0x80, 3, 0, 1, 1], None),
        ] {
            let octets = [&[2, 9, 0, 5 + tail.len() as u8, 33], tail].concat();
            assert_eq!(Extensions::decode(&octets), read, "{tail:02x?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(success: bool, nonce: [u8; 32], mac: [u8; 20], identifier: u8, with: bool) {
            let binding = with.then_some(CryptoBinding { kind: BindingKind::Response, nonce, mac });
            let extensions = Extensions { success, binding };
            let octets = extensions.encode(BindingKind::Response, identifier);
            prop_assert_eq!(Extensions::decode(&octets), Some(extensions));
        }

        #[test]
        fn any_octets_are_read_without_panic(mut octets in proptest::collection::vec(any::<u8>(), 0..100)) {
            if octets.len() > 5 {
                (octets[0], octets[2], octets[3], octets[4]) = (2, 0, octets.len() as u8, 33);
            }
            let _ = Extensions::decode(&octets);
        }
    }
}
