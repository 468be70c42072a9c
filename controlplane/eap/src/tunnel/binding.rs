//! PEAP's crypto binding: proof that the ends of the tunnel and of the inner method are the same ([MS-PEAP] 3.1.5.5).
//!
//! Enters: the key of the tunnel, the key of the inner method. Leaves: the MAC of a binding, and the MSK that both keys make.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::tlv::{BindingKind, CryptoBinding, MAC_OCTETS, NONCE_OCTETS};
use crate::outcome::{MSK_OCTETS, Msk};
use crate::packet::EapType;

/// Whether PEAP's inner method is bound to its tunnel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Binding {
    /// It is not spoken of: some clients take nothing but a bare result.
    Off,
    /// It is offered; a client that does not answer logs in as well.
    Optional,
    /// A client that does not answer it does not log in.
    Required,
}

const IPMK_OCTETS: usize = 40;
const CMK_OCTETS: usize = 20;
const INNER_KEY_OCTETS: usize = 32;
const TEMPORARY_KEY_OCTETS: usize = 40;
const SHA1_OCTETS: usize = 20;
const COMPOUND_LABEL: &[u8] = b"Inner Methods Compound Keys";
/// With its terminating zero octet, unlike the other label.
const SESSION_LABEL: &[u8] = b"Session Key Generating Function\0";
/// Octets of compound session key that PRF+ makes; the MSK is their beginning.
const SESSION_KEY_OCTETS: usize = 128;

/// The keys that both sides make of tunnel and inner method.
#[derive(Zeroize, ZeroizeOnDrop)]
pub(crate) struct BoundKeys {
    ipmk: [u8; IPMK_OCTETS],
    cmk: [u8; CMK_OCTETS],
}

impl BoundKeys {
    /// `tunnel`: key material of the tunnel. `inner`: the inner method's MSK; a method without one counts as zeros.
    pub(crate) fn new(tunnel: &Msk, inner: Option<&Msk>) -> BoundKeys {
        let temporary = tunnel.as_bytes().get(..TEMPORARY_KEY_OCTETS).unwrap_or_default();
        let none = [0; INNER_KEY_OCTETS];
        let inner = inner.and_then(|msk| msk.as_bytes().get(..INNER_KEY_OCTETS)).unwrap_or(&none);
        let mut keys = BoundKeys { ipmk: [0; IPMK_OCTETS], cmk: [0; CMK_OCTETS] };
        let seed = Zeroizing::new([COMPOUND_LABEL, inner].concat());
        let mut both = Zeroizing::new([0; IPMK_OCTETS + CMK_OCTETS]);
        prf_plus(temporary, &seed, both.as_mut_slice());
        for (to, from) in keys.ipmk.iter_mut().chain(&mut keys.cmk).zip(both.iter()) {
            *to = *from;
        }
        keys
    }

    /// A binding with its MAC.
    pub(crate) fn bind(&self, kind: BindingKind, nonce: [u8; NONCE_OCTETS]) -> CryptoBinding {
        let bare = CryptoBinding { kind, nonce, mac: [0; MAC_OCTETS] };
        let mut octets = bare.encode();
        octets.push(EapType::PEAP.0);
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &self.cmk);
        let tag = hmac::sign(&key, &octets);
        let mut mac = [0; MAC_OCTETS];
        for (to, from) in mac.iter_mut().zip(tag.as_ref()) {
            *to = *from;
        }
        CryptoBinding { mac, ..bare }
    }

    /// Whether the other side's binding has the right MAC.
    pub(crate) fn verify(&self, binding: &CryptoBinding, kind: BindingKind) -> bool {
        let expected = self.bind(kind, binding.nonce);
        binding.kind == kind && verify_slices_are_equal(&expected.mac, &binding.mac).is_ok()
    }

    /// The MSK of a conversation that was bound.
    pub(crate) fn msk(&self) -> Msk {
        let mut session = Zeroizing::new([0; SESSION_KEY_OCTETS]);
        prf_plus(&self.ipmk, SESSION_LABEL, session.as_mut_slice());
        let mut octets = Zeroizing::new([0; MSK_OCTETS]);
        for (to, from) in octets.iter_mut().zip(session.iter()) {
            *to = *from;
        }
        Msk::new(*octets)
    }
}

/// T1 = HMAC-SHA1(K, S | 1 | 0 | 0), Tn = HMAC-SHA1(K, Tn-1 | S | n | 0 | 0).
fn prf_plus(key: &[u8], seed: &[u8], out: &mut [u8]) {
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, key);
    let mut last = Zeroizing::new(Vec::new());
    for (chunk, number) in out.chunks_mut(SHA1_OCTETS).zip(1u8..) {
        let input = Zeroizing::new([last.as_slice(), seed, &[number, 0, 0]].concat());
        let tag = hmac::sign(&key, &input);
        last = Zeroizing::new(tag.as_ref().to_vec());
        for (to, from) in chunk.iter_mut().zip(last.iter()) {
            *to = *from;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_has_both_keys_makes_the_mac() {
        let key = |octet| Msk::new([octet; MSK_OCTETS]);
        let keys = BoundKeys::new(&key(1), Some(&key(2)));
        let binding = keys.bind(BindingKind::Response, [7; NONCE_OCTETS]);
        assert!(keys.verify(&binding, BindingKind::Response));
        assert!(!keys.verify(&binding, BindingKind::Request), "a request is no answer");
        for other in [
            BoundKeys::new(&key(3), Some(&key(2))),
            BoundKeys::new(&key(1), Some(&key(3))),
            BoundKeys::new(&key(1), None),
        ] {
            assert!(!other.verify(&binding, BindingKind::Response));
            assert_ne!(other.msk().as_bytes(), keys.msk().as_bytes());
        }
        let mut forged = binding;
        forged.nonce[0] ^= 1;
        assert!(!keys.verify(&forged, BindingKind::Response));
    }
}
