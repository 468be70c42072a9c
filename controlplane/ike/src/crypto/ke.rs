//! Key exchange: P-256, P-384, P-521 (RFC 5903), Curve25519 (RFC 8031) and MODP-2048 (RFC 3526).
//!
//! Public values are as in a KE payload: `x | y` for the ECP groups, big-endian and full-length for MODP.

use aws_lc_rs::agreement::{
    Algorithm, ECDH_P256, ECDH_P384, ECDH_P521, PrivateKey, UnparsedPublicKey, X25519, agree,
};
use zeroize::Zeroizing;

use super::modp::ModpPrivate;
use super::{CryptoError, Random, Secret};
use crate::suite::Group;

/// Tries to hit a scalar below the group's order; each fails with a chance below one half (P-521) or 2^-32 (the others).
const MAX_SCALAR_TRIES: usize = 128;
/// First octet of an uncompressed point (SEC 1), which IKE leaves out.
const UNCOMPRESSED: u8 = 4;

/// Our half of a key exchange. Wiped by the library when dropped.
pub struct KePrivate {
    group: Group,
    key: Key,
}

enum Key {
    Curve(PrivateKey),
    Modp(ModpPrivate),
}

/// What both sides share: g^ir.
pub struct SharedSecret(Secret);

impl SharedSecret {
    /// The octets: the x coordinate, or the full-length residue.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    /// Takes octets from elsewhere, e.g. a test vector.
    pub fn new(octets: Secret) -> SharedSecret {
        SharedSecret(octets)
    }
}

impl KePrivate {
    /// Makes a key pair.
    ///
    /// # Errors
    /// When randomness or the library fails.
    pub fn generate(group: Group, random: &mut dyn Random) -> Result<KePrivate, CryptoError> {
        let key = match curve(group) {
            None => Key::Modp(ModpPrivate::generate(random)?),
            Some(algorithm) => Key::Curve(generate_scalar(group, algorithm, random)?),
        };
        Ok(KePrivate { group, key })
    }

    /// A key pair from its private scalar, for known-answer tests.
    #[cfg(test)]
    pub(crate) fn from_scalar(group: Group, scalar: &[u8]) -> Option<KePrivate> {
        let algorithm = curve(group)?;
        let key = Key::Curve(PrivateKey::from_private_key(algorithm, scalar).ok()?);
        Some(KePrivate { group, key })
    }

    /// The group.
    pub fn group(&self) -> Group {
        self.group
    }

    /// The public value for a KE payload.
    ///
    /// # Errors
    /// When the library fails.
    pub fn public(&self) -> Result<Vec<u8>, CryptoError> {
        match &self.key {
            Key::Modp(private) => private.public(),
            Key::Curve(private) => {
                let public = private.compute_public_key()?;
                let octets = public.as_ref();
                let octets = match self.group {
                    Group::Curve25519 => octets,
                    _ => octets.strip_prefix(&[UNCOMPRESSED]).ok_or(CryptoError::Library)?,
                };
                Ok(octets.to_vec())
            }
        }
    }

    /// The secret shared with the peer that sent `peer_public`.
    ///
    /// # Errors
    /// [`CryptoError::BadPublicValue`] when the value has a wrong length, is no member of the group (RFC 6989), or gives
    /// the all-zero secret (RFC 7748 §6.1).
    pub fn derive(&self, peer_public: &[u8]) -> Result<SharedSecret, CryptoError> {
        if peer_public.len() != self.group.public_len() {
            return Err(CryptoError::BadPublicValue);
        }
        let private = match &self.key {
            Key::Modp(private) => return private.derive(peer_public).map(SharedSecret),
            Key::Curve(private) => private,
        };
        let mut point = Vec::with_capacity(peer_public.len() + 1);
        if self.group != Group::Curve25519 {
            point.push(UNCOMPRESSED);
        }
        point.extend_from_slice(peer_public);
        let peer = UnparsedPublicKey::new(private.algorithm(), &point);
        agree(private, peer, CryptoError::BadPublicValue, |secret| {
            if secret.iter().fold(0, |bits, octet| bits | octet) == 0 {
                return Err(CryptoError::BadPublicValue);
            }
            Ok(SharedSecret(Secret::new(secret.to_vec())))
        })
    }
}

fn curve(group: Group) -> Option<&'static Algorithm> {
    match group {
        Group::Modp2048 => None,
        Group::Ecp256 => Some(&ECDH_P256),
        Group::Ecp384 => Some(&ECDH_P384),
        Group::Ecp521 => Some(&ECDH_P521),
        Group::Curve25519 => Some(&X25519),
    }
}

fn generate_scalar(
    group: Group,
    algorithm: &'static Algorithm,
    random: &mut dyn Random,
) -> Result<PrivateKey, CryptoError> {
    let octets = match group {
        Group::Ecp384 => 48,
        Group::Ecp521 => 66,
        _ => 32,
    };
    let mut scalar = Zeroizing::new(vec![0; octets]);
    for _ in 0..MAX_SCALAR_TRIES {
        random.fill(&mut scalar)?;
        if group == Group::Ecp521
            && let Some(first) = scalar.first_mut()
        {
            *first &= 1;
        }
        // Zero or not below the order: draw again, so that every scalar is equally likely.
        if let Ok(key) = PrivateKey::from_private_key(algorithm, &scalar) {
            return Ok(key);
        }
    }
    Err(CryptoError::NoRandomness)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::SystemRandom;
    use crate::crypto::testing::{FixedRandom, hex, unhex};

    /// Group, private value of i, public value of i, public value of r, shared secret:
    /// RFC 5903 §8.1 to §8.3 and RFC 7748 §6.1.
    const KNOWN: [(Group, &str, &str, &str, &str); 4] = [
        (
            Group::Ecp256,
            "C88F01F5 10D9AC3F 70A292DA A2316DE5 44E9AAB8 AFE84049 C62A9C57 862D1433",
            "DAD0B653 94221CF9 B051E1FE CA5787D0 98DFE637 FC90B9EF 945D0C37 72581180 5271A046 1CDB8252 D61F1C45
             6FA3E59A B1F45B33 ACCF5F58 389E0577 B8990BB3",
            "D12DFB52 89C8D4F8 1208B702 70398C34 2296970A 0BCCB74C 736FC755 4494BF63 56FBF3CA 366CC23E 8157854C
             13C58D6A AC23F046 ADA30F83 53E74F33 039872AB",
            "D6840F6B 42F6EDAF D13116E0 E1256520 2FEF8E9E CE7DCE03 812464D0 4B9442DE",
        ),
        (
            Group::Ecp384,
            "099F3C70 34D4A2C6 99884D73 A375A67F 7624EF7C 6B3C0F16 0647B674 14DCE655 E35B5380 41E649EE 3FAEF896
             783AB194",
            "667842D7 D180AC2C DE6F74F3 7551F557 55C7645C 20EF73E3 1634FE72 B4C55EE6 DE3AC808 ACB4BDB4 C88732AE
             E95F41AA 9482ED1F C0EEB9CA FC498462 5CCFC23F 65032149 E0E144AD A0241815 35A0F38E EB9FCFF3 C2C947DA
             E69B4C63 4573A81C",
            "E558DBEF 53EECDE3 D3FCCFC1 AEA08A89 A987475D 12FD950D 83CFA417 32BC509D 0D1AC43A 0336DEF9 6FDA41D0
             774A3571 DCFBEC7A ACF31964 72169E83 8430367F 66EEBE3C 6E70C416 DD5F0C68 759DD1FF F83FA401 42209DFF
             5EAAD96D B9E6386C",
            "11187331 C279962D 93D60424 3FD592CB 9D0A926F 422E4718 7521287E 7156C5C4 D6031355 69B9E9D0 9CF5D4A2
             70F59746",
        ),
        (
            Group::Ecp521,
            "0037ADE9 319A89F4 DABDB3EF 411AACCC A5123C61 ACAB57B5 393DCE47 608172A0 95AA85A3 0FE1C295 2C6771D9
             37BA9777 F5957B26 39BAB072 462F68C2 7A57382D 4A52",
            "0015417E 84DBF28C 0AD3C278 713349DC 7DF153C8 97A1891B D98BAB43 57C9ECBE E1E3BF42 E00B8E38 0AEAE57C
             2D107564 94188594 2AF5A7F4 601723C4 195D176C ED3E017C AE20B664 1D2EEB69 5786D8C9 46146239 D099E18E
             1D5A514C 739D7CB4 A10AD8A7 88015AC4 05D7799D C75E7B7D 5B6CF226 1A6A7F15 07438BF0 1BEB6CA3 926F9582",
            "00D0B397 5AC4B799 F5BEA16D 5E13E9AF 971D5E9B 984C9F39 728B5E57 39735A21 9B97C356 436ADC6E 95BB0352
             F6BE64A6 C2912D4E F2D0433C ED2B6171 640012D9 460F015C 68226383 956E3BD0 66E797B6 23C27CE0 EAC2F551
             A10C2C72 4D985207 7B87220B 6536C5C4 08A1D2AE BB8E86D6 78AE49CB 57091F47 32296579 AB44FCD1 7F0FC56A",
            "01144C7D 79AE6956 BC8EDB8E 7C787C45 21CB086F A64407F9 7894E5E6 B2D79B04 D1427E73 CA4BAA24 0A347868
             59810C06 B3C715A3 A8CC3151 F2BEE417 996D19F3 DDEA",
        ),
        (
            Group::Curve25519,
            "77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a",
            "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a",
            "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f",
            "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742",
        ),
    ];

    #[test]
    fn known_answers_of_the_rfcs() {
        for (group, private, public, peer, shared) in KNOWN {
            let key = KePrivate::from_scalar(group, &unhex(private)).unwrap();
            assert_eq!(hex(&key.public().unwrap()), hex(&unhex(public)), "{group:?}");
            assert_eq!(hex(key.derive(&unhex(peer)).unwrap().as_bytes()), hex(&unhex(shared)), "{group:?}");
        }
    }

    #[test]
    fn both_sides_agree_and_keys_differ() {
        for group in Group::ALL {
            let ours = KePrivate::generate(group, &mut SystemRandom).unwrap();
            let theirs = KePrivate::generate(group, &mut SystemRandom).unwrap();
            let (our_public, their_public) = (ours.public().unwrap(), theirs.public().unwrap());
            assert_eq!(our_public.len(), group.public_len());
            assert_ne!(our_public, their_public);
            let shared = ours.derive(&their_public).unwrap();
            assert_eq!(shared.as_bytes(), theirs.derive(&our_public).unwrap().as_bytes());
        }
    }

    #[test]
    fn the_same_randomness_makes_the_same_key() {
        for group in Group::ALL {
            let mut random = [0u8; 66];
            random.iter_mut().zip(1..).for_each(|(octet, value)| *octet = value);
            let key = |octets: &[u8]| {
                KePrivate::generate(group, &mut FixedRandom(octets.to_vec())).unwrap().public().unwrap()
            };
            assert_eq!(key(&random), key(&random));
            assert_eq!(
                KePrivate::generate(group, &mut FixedRandom(vec![])).err(),
                Some(CryptoError::NoRandomness)
            );
        }
    }

    #[test]
    fn a_scalar_above_the_order_is_drawn_again() {
        let mut octets = vec![0xff; 32];
        octets.extend(1..=32);
        let key = KePrivate::generate(Group::Ecp256, &mut FixedRandom(octets)).unwrap();
        let direct = KePrivate::generate(Group::Ecp256, &mut FixedRandom((1..=32).collect())).unwrap();
        assert_eq!(key.public().unwrap(), direct.public().unwrap());
    }

    #[test]
    fn public_values_outside_the_group_are_refused() {
        for group in Group::ALL {
            let key = KePrivate::generate(group, &mut SystemRandom).unwrap();
            let valid = key.public().unwrap();
            let mut off_curve = valid.clone();
            *off_curve.last_mut().unwrap() ^= 1;
            let mut bad =
                vec![vec![], vec![0; group.public_len()], valid[1..].to_vec(), [&valid[..], &[0]].concat()];
            match group {
                Group::Ecp256 | Group::Ecp384 | Group::Ecp521 => {
                    bad.push(off_curve);
                    bad.push(vec![0xff; group.public_len()]);
                }
                Group::Modp2048 => bad.push(vec![0xff; group.public_len()]),
                // RFC 7748 §6.1: points of small order give zero. 1 and a point of order 8.
                Group::Curve25519 => {
                    bad.push([&[1][..], &[0; 31]].concat());
                    bad.push(unhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"));
                }
            }
            for value in bad {
                let refused = key.derive(&value).err();
                assert_eq!(refused, Some(CryptoError::BadPublicValue), "{group:?} {}", hex(&value));
            }
        }
    }
}
