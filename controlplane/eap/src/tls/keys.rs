//! Keys that TLS-based methods export (RFC 5216 §2.3, RFC 5281 §8, RFC 9190 §2.3, RFC 9427 §2).
//!
//! Enters: a session whose handshake is done, the EAP type. Leaves: the MSK, and the challenge that TTLS implies.

use super::session::{TlsBroken, TlsSession};
use crate::mschapv2::crypto::CHALLENGE_OCTETS;
use crate::outcome::{MSK_OCTETS, Msk};
use crate::packet::EapType;

const TLS13_LABEL: &[u8] = b"EXPORTER_EAP_TLS_Key_Material";
const TLS12_LABEL: &[u8] = b"client EAP encryption";
const TTLS12_LABEL: &[u8] = b"ttls keying material";
const TTLS_CHALLENGE_LABEL: &[u8] = b"ttls challenge";
/// MSK and EMSK; under TLS 1.3 the length enters the derivation, so it is that of the whole.
const KEY_MATERIAL_OCTETS: usize = 128;

/// The MSK of a method of this type.
pub(crate) fn msk(session: &TlsSession, kind: EapType) -> Result<Msk, TlsBroken> {
    let material = if session.is_tls13() {
        session.export::<KEY_MATERIAL_OCTETS>(TLS13_LABEL, Some(&[kind.0]))?
    } else {
        let label = if kind == EapType::TTLS { TTLS12_LABEL } else { TLS12_LABEL };
        session.export::<KEY_MATERIAL_OCTETS>(label, None)?
    };
    let mut octets = zeroize::Zeroizing::new([0; MSK_OCTETS]);
    for (to, from) in octets.iter_mut().zip(material.iter()) {
        *to = *from;
    }
    Ok(Msk::new(*octets))
}

/// The challenge and identifier that MS-CHAP-V2 inside TTLS answers (RFC 5281 §11.1, §11.2.4).
pub(crate) fn ttls_challenge(session: &TlsSession) -> Result<([u8; CHALLENGE_OCTETS], u8), TlsBroken> {
    let material = session.export::<{ CHALLENGE_OCTETS + 1 }>(TTLS_CHALLENGE_LABEL, None)?;
    match (material.first_chunk::<CHALLENGE_OCTETS>(), material.last()) {
        (Some(challenge), Some(&identifier)) => Ok((*challenge, identifier)),
        _ => Err(TlsBroken),
    }
}
