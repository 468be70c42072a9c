//! The hashes that say who made a packet: Request and Response Authenticator (RFC 2865 §3, RFC 2866 §3) and
//! Message-Authenticator (RFC 3579 §3.2).
//!
//! Enters: packets, the secret, the authenticator that they are bound to. Leaves: hashes, verdicts. Comparisons take the same
//! time whatever differs.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use hmac::{Hmac, KeyInit, Mac};
use md5::{Digest, Md5};

use crate::SharedSecret;
use crate::attribute::MESSAGE_AUTHENTICATOR;
use crate::packet::{Code, HEADER_OCTETS, Packet};

/// Octets of a Message-Authenticator.
const MAC_OCTETS: usize = 16;

/// What a Message-Authenticator is worth.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum MacVerdict {
    Right,
    Missing,
    Wrong,
}

/// Puts a packet together. With `sign`, its first attribute is a Message-Authenticator over `bound_to`.
pub(crate) fn assemble(
    code: Code,
    identifier: u8,
    bound_to: &[u8; 16],
    attributes: &[u8],
    sign: Option<&SharedSecret>,
) -> Vec<u8> {
    let mut octets = Vec::with_capacity(HEADER_OCTETS + MAC_OCTETS + 2 + attributes.len());
    octets.extend([code.number(), identifier, 0, 0]);
    octets.extend_from_slice(bound_to);
    if sign.is_some() {
        octets.extend([MESSAGE_AUTHENTICATOR.0, 18]);
        octets.extend([0; MAC_OCTETS]);
    }
    octets.extend_from_slice(attributes);
    // `AttributeList` holds no more than fits.
    let length = u16::try_from(octets.len()).unwrap_or(u16::MAX).to_be_bytes();
    if let Some(place) = octets.get_mut(2..4) {
        place.copy_from_slice(&length);
    }
    if let Some(secret) = sign {
        let mac = hmac_md5(secret, &[&octets]);
        let start = HEADER_OCTETS + 2;
        if let Some(place) = octets.get_mut(start..start + MAC_OCTETS) {
            place.copy_from_slice(&mac);
        }
    }
    octets
}

/// Writes the hash of the whole packet and the secret where the authenticator stands, which until then is what the hash is
/// bound to: that of the request for an answer, zeros for a request that is not Access-Request.
pub(crate) fn seal(octets: &mut [u8], secret: &SharedSecret) {
    let hash = md5(&[octets, secret.expose()]);
    if let Some(place) = octets.get_mut(4..HEADER_OCTETS) {
        place.copy_from_slice(&hash);
    }
}

/// Whether the packet's authenticator is the hash that [`seal`] makes of it.
pub(crate) fn is_sealed(packet: &Packet<'_>, bound_to: &[u8; 16], secret: &SharedSecret) -> bool {
    let octets = packet.octets();
    let (head, rest) = (octets.get(..4).unwrap_or(&[]), octets.get(HEADER_OCTETS..).unwrap_or(&[]));
    let hash = md5(&[head, bound_to, rest, secret.expose()]);
    verify_slices_are_equal(&hash, packet.authenticator()).is_ok()
}

/// Judges the Message-Authenticator of a packet. A second one, or one of another length, is wrong.
pub(crate) fn judge_mac(packet: &Packet<'_>, bound_to: &[u8; 16], secret: &SharedSecret) -> MacVerdict {
    let mut place = None;
    let mut at = HEADER_OCTETS;
    for (kind, value) in packet.attributes() {
        if kind == MESSAGE_AUTHENTICATOR.0 && (value.len() != MAC_OCTETS || place.replace(at).is_some()) {
            return MacVerdict::Wrong;
        }
        at = at.saturating_add(value.len()).saturating_add(2);
    }
    let Some(place) = place else { return MacVerdict::Missing };
    let octets = packet.octets();
    let (start, end) = (place.saturating_add(2), place.saturating_add(2 + MAC_OCTETS));
    let part = |range: std::ops::Range<usize>| octets.get(range).unwrap_or(&[]);
    let (head, before, after) = (part(0..4), part(HEADER_OCTETS..start), part(end..octets.len()));
    let mac = hmac_md5(secret, &[head, bound_to, before, &[0; MAC_OCTETS], after]);
    match verify_slices_are_equal(&mac, part(start..end)) {
        Ok(()) => MacVerdict::Right,
        Err(_) => MacVerdict::Wrong,
    }
}

pub(crate) fn md5(parts: &[&[u8]]) -> [u8; 16] {
    let mut hash = Md5::new();
    parts.iter().for_each(|part| hash.update(part));
    hash.finalize().into()
}

fn hmac_md5(secret: &SharedSecret, parts: &[&[u8]]) -> [u8; 16] {
    // HMAC takes keys of any length: there is no error to make.
    let Ok(mut mac) = Hmac::<Md5>::new_from_slice(secret.expose()) else { return [0; 16] };
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().into()
}
