//! The frame of EAP-MSCHAPv2: OpCode, MS-CHAPv2-ID, MS-Length, data (draft-kamath-pppext-eap-mschapv2 §2).
//!
//! Enters: Type-Data of an EAP packet of type 26. Leaves: a typed message, or the fact that it is none; and the reverse.
//! Responses to Success and Failure are the OpCode alone; some clients send more, which is ignored.

use super::crypto::{
    AUTHENTICATOR_RESPONSE_OCTETS, AuthenticatorResponse, CHALLENGE_OCTETS, Challenge, NT_RESPONSE_OCTETS,
    NtResponse,
};
use crate::packet::MAX_NAME_OCTETS;

const OP_CHALLENGE: u8 = 1;
const OP_RESPONSE: u8 = 2;
const OP_SUCCESS: u8 = 3;
const OP_FAILURE: u8 = 4;
/// PeerChallenge, eight reserved octets, NT-Response, Flags.
const RESPONSE_VALUE_OCTETS: u8 = 49;
const FRAME_OCTETS: usize = 4;
/// Octets of the longest text after OpCode 3 or 4 that is read.
const MAX_TEXT_OCTETS: usize = 1024;

/// What the server sends.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ServerMessage {
    /// OpCode 1.
    Challenge {
        /// MS-CHAPv2-ID.
        id: u8,
        /// The authenticator's challenge.
        challenge: Challenge,
        /// The server's name.
        name: Vec<u8>,
    },
    /// OpCode 3 with `S=`.
    Success {
        /// MS-CHAPv2-ID of the challenge.
        id: u8,
        /// The server's proof.
        proof: AuthenticatorResponse,
    },
    /// OpCode 4 with `E=`, `R=`, `C=`, `V=`, `M=`.
    Failure {
        /// MS-CHAPv2-ID of the challenge.
        id: u8,
        /// Error code: 691 is ERROR_AUTHENTICATION_FAILURE.
        error: u32,
        /// Whether the peer may try again.
        retry: bool,
        /// The challenge for a retry; present even if there is none.
        challenge: Challenge,
    },
}

/// What the peer sends.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PeerMessage {
    /// OpCode 2.
    Response {
        /// MS-CHAPv2-ID of the challenge.
        id: u8,
        /// The peer's challenge.
        peer_challenge: Challenge,
        /// The peer's proof.
        nt_response: NtResponse,
        /// User name, perhaps with `DOMAIN\`.
        name: Vec<u8>,
    },
    /// OpCode 3: the peer accepts our proof.
    SuccessAck,
    /// OpCode 4: the peer has seen our refusal, or refuses our proof.
    FailureAck,
}

impl ServerMessage {
    /// Writes the Type-Data.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            ServerMessage::Challenge { id, challenge, name } => {
                let mut body = vec![CHALLENGE_OCTETS as u8];
                body.extend_from_slice(challenge);
                body.extend_from_slice(name);
                frame(OP_CHALLENGE, *id, &body)
            }
            ServerMessage::Success { id, proof } => {
                frame(OP_SUCCESS, *id, format!("{} M=Welcome", success_text(proof)).as_bytes())
            }
            ServerMessage::Failure { id, error, retry, challenge } => {
                let text = format!(
                    "E={error} R={} C={} V=3 M=Authentication failed",
                    u8::from(*retry),
                    upper_hex(challenge)
                );
                frame(OP_FAILURE, *id, text.as_bytes())
            }
        }
    }

    /// Reads Type-Data of a request. `None`: malformed.
    pub fn decode(data: &[u8]) -> Option<ServerMessage> {
        let (op, id, body) = unframe(data)?;
        match op {
            OP_CHALLENGE => {
                let (&size, rest) = body.split_first()?;
                let (challenge, name) = rest.split_first_chunk::<CHALLENGE_OCTETS>()?;
                let fits = usize::from(size) == CHALLENGE_OCTETS && name.len() <= MAX_NAME_OCTETS;
                fits.then(|| ServerMessage::Challenge { id, challenge: *challenge, name: name.to_vec() })
            }
            OP_SUCCESS => Some(ServerMessage::Success { id, proof: ServerMessage::proof_of_text(body)? }),
            OP_FAILURE => {
                let value = |key: &str| fields(body)?.find_map(|field| field.strip_prefix(key));
                Some(ServerMessage::Failure {
                    id,
                    error: value("E=")?.parse().ok()?,
                    retry: value("R=")? == "1",
                    challenge: value("C=").and_then(from_hex::<CHALLENGE_OCTETS>)?,
                })
            }
            _ => None,
        }
    }
}

impl ServerMessage {
    /// The proof in a text with `S=` (RFC 2759 §5).
    pub(crate) fn proof_of_text(text: &[u8]) -> Option<AuthenticatorResponse> {
        let digits = fields(text)?.find_map(|field| field.strip_prefix("S="))?;
        from_hex::<AUTHENTICATOR_RESPONSE_OCTETS>(digits)
    }
}

/// The server's proof as text (RFC 2759 §5).
pub(crate) fn success_text(proof: &AuthenticatorResponse) -> String {
    format!("S={}", upper_hex(proof))
}

impl PeerMessage {
    /// Writes the Type-Data.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            PeerMessage::Response { id, peer_challenge, nt_response, name } => {
                let mut body = vec![RESPONSE_VALUE_OCTETS];
                body.extend_from_slice(peer_challenge);
                body.extend_from_slice(&[0; 8]);
                body.extend_from_slice(nt_response);
                body.push(0);
                body.extend_from_slice(name);
                frame(OP_RESPONSE, *id, &body)
            }
            PeerMessage::SuccessAck => vec![OP_SUCCESS],
            PeerMessage::FailureAck => vec![OP_FAILURE],
        }
    }

    /// Reads Type-Data of a response. `None`: malformed.
    pub fn decode(data: &[u8]) -> Option<PeerMessage> {
        match *data.first()? {
            OP_RESPONSE => {
                let (_, id, body) = unframe(data)?;
                let (&size, rest) = body.split_first()?;
                let (peer_challenge, rest) = rest.split_first_chunk::<CHALLENGE_OCTETS>()?;
                let (_reserved, rest) = rest.split_first_chunk::<8>()?;
                let (nt_response, rest) = rest.split_first_chunk::<NT_RESPONSE_OCTETS>()?;
                let (_flags, name) = rest.split_first()?;
                let fits = size == RESPONSE_VALUE_OCTETS && name.len() <= MAX_NAME_OCTETS;
                fits.then(|| PeerMessage::Response {
                    id,
                    peer_challenge: *peer_challenge,
                    nt_response: *nt_response,
                    name: name.to_vec(),
                })
            }
            OP_SUCCESS => Some(PeerMessage::SuccessAck),
            OP_FAILURE => Some(PeerMessage::FailureAck),
            _ => None,
        }
    }
}

/// MS-Length counts from OpCode on; EAP's own Length bounds it far below 65,536.
fn frame(op: u8, id: u8, body: &[u8]) -> Vec<u8> {
    let octets = (FRAME_OCTETS + body.len()).min(usize::from(u16::MAX)) as u16;
    let [high, low] = octets.to_be_bytes();
    let mut out = vec![op, id, high, low];
    out.extend_from_slice(body);
    out
}

/// Splits OpCode, MS-CHAPv2-ID and what follows. An MS-Length beyond the packet is refused; clients that write one too
/// small exist, so EAP's Length alone says where the data ends.
fn unframe(data: &[u8]) -> Option<(u8, u8, &[u8])> {
    let (&[op, id, high, low], body) = data.split_first_chunk::<FRAME_OCTETS>()?;
    (usize::from(u16::from_be_bytes([high, low])) <= data.len()).then_some((op, id, body))
}

/// The blank-separated `K=V` fields of a Success or Failure text, up to the free text after `M=`.
fn fields(text: &[u8]) -> Option<impl Iterator<Item = &str>> {
    let text = text.get(..text.len().min(MAX_TEXT_OCTETS))?;
    let end = text.windows(3).position(|w| w == b" M=").unwrap_or(text.len());
    Some(std::str::from_utf8(text.get(..end)?).ok()?.split(' '))
}

fn upper_hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02X}")).collect()
}

fn from_hex<const N: usize>(digits: &str) -> Option<[u8; N]> {
    let digits = digits.as_bytes();
    if digits.len() != 2 * N {
        return None;
    }
    let mut out = [0u8; N];
    for (octet, pair) in out.iter_mut().zip(digits.chunks_exact(2)) {
        let &[high, low] = pair else { return None };
        let nibble = |digit: u8| char::from(digit).to_digit(16);
        *octet = (nibble(high)? << 4 | nibble(low)?) as u8;
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_frames_are_the_drafts() {
        let challenge =
            ServerMessage::Challenge { id: 5, challenge: [0xaa; 16], name: b"gw".to_vec() }.encode();
        assert_eq!(challenge[..5], [1, 5, 0, 23, 16]);
        assert_eq!(challenge[21..], *b"gw");
        let failure =
            ServerMessage::Failure { id: 5, error: 691, retry: false, challenge: [0xab; 16] }.encode();
        assert_eq!(
            std::str::from_utf8(&failure[4..]).unwrap(),
            "E=691 R=0 C=ABABABABABABABABABABABABABABABAB V=3 M=Authentication failed"
        );
        let success = ServerMessage::Success { id: 5, proof: [0x0f; 20] }.encode();
        assert!(std::str::from_utf8(&success[4..]).unwrap().starts_with("S=0F0F0F0F0F0F0F0F0F0F"));
        let response = PeerMessage::Response {
            id: 5,
            peer_challenge: [1; 16],
            nt_response: [2; 24],
            name: b"CORP\\ann".to_vec(),
        }
        .encode();
        assert_eq!(response[..5], [2, 5, 0, 62, 49]);
        assert_eq!(response.len(), 62);
    }

    #[test]
    fn malformed_frames_are_refused() {
        let good = PeerMessage::Response {
            id: 1,
            peer_challenge: [1; 16],
            nt_response: [2; 24],
            name: vec![b'a'; 253],
        };
        let good = good.encode();
        assert!(PeerMessage::decode(&good).is_some());
        let mut too_long = good.clone();
        too_long.push(b'a');
        let mut ms_length = good.clone();
        ms_length[2] = 0xff;
        let mut value_size = good.clone();
        value_size[4] = 48;
        let mut op = good.clone();
        op[0] = 7;
        for bad in [&too_long, &ms_length, &value_size, &op, &good[..53].to_vec(), &vec![]] {
            assert_eq!(PeerMessage::decode(bad), None, "{bad:02x?}");
        }
        for text in ["S=00", "X=0", "S=zz", ""] {
            assert_eq!(ServerMessage::decode(&frame(OP_SUCCESS, 1, text.as_bytes())), None);
        }
    }

    proptest! {
        #[test]
        fn peer_messages_survive(id: u8, peer_challenge: [u8; 16], nt_response: [u8; 24], name in proptest::collection::vec(any::<u8>(), 0..=MAX_NAME_OCTETS)) {
            let message = PeerMessage::Response { id, peer_challenge, nt_response, name };
            prop_assert_eq!(PeerMessage::decode(&message.encode()), Some(message));
        }

        #[test]
        fn server_messages_survive(id: u8, challenge: [u8; 16], proof: [u8; 20], error: u32, retry: bool, name in proptest::collection::vec(any::<u8>(), 0..=MAX_NAME_OCTETS)) {
            for message in [
                ServerMessage::Challenge { id, challenge, name },
                ServerMessage::Success { id, proof },
                ServerMessage::Failure { id, error, retry, challenge },
            ] {
                prop_assert_eq!(ServerMessage::decode(&message.encode()), Some(message));
            }
        }

        #[test]
        fn any_octets_are_read_without_panic(data in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = PeerMessage::decode(&data);
            let _ = ServerMessage::decode(&data);
        }
    }
}
